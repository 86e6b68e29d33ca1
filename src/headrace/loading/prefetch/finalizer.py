"""Ends the threads of an iterator that was dropped, also from within a garbage collection."""

import gc
import threading
import weakref
from collections.abc import Callable

from headrace.loading.prefetch.threads import Prefetch

# Says of each thread whether it is in the middle of a garbage collection: a finalizer that is
# called then may wait for nothing, while one that is called because the last reference went may.
_collecting = threading.local()


def _note_collection(phase: str, _: object) -> None:
    _collecting.now = phase == "start"


gc.callbacks.append(_note_collection)


def _end(prefetch: Prefetch) -> None:
    """Stops `prefetch`; in a garbage collection without waiting, which could deadlock."""
    if getattr(_collecting, "now", False):
        prefetch.abandon()
    else:
        prefetch.stop()


def stop_with(owner: object, prefetch: Prefetch) -> Callable[[], object]:
    """Stops `prefetch` when `owner` is gone, or the interpreter ends."""
    return weakref.finalize(owner, _end, prefetch)
