"""A thread that brings a file to the disk while it is being written."""

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

STEP_BYTES = 1 << 26
"""The system itself begins much later, with gigabytes."""


class Flusher:
    """A thread that has what was written brought to the disk, every so many bytes.

    The thread does not refer to the flusher, and ends when nothing else does any more, also where
    an interrupt came before it could be closed.

    Args:
        flush: Brings it there.
        seconds: After how long it is also done for fewer bytes; None for never.
        ended: What the thread does last of all.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        seconds: float | None = None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        self._work = _Work(flush, seconds, ended)
        self._thread = threading.Thread(target=self._work.run, name="headrace-flush", daemon=True)
        self._forgotten = weakref.finalize(self, self._work.end)
        self._forgotten.atexit = False
        try:
            self._thread.start()
        except BaseException:
            self._work.end()
            if ended is not None and not self._thread.is_alive():
                ended()
            raise

    def note(self, nbytes: int) -> None:
        """Notes that so many more bytes were written.

        Raises:
            OSError: What went wrong with those before.
        """
        self._work.note(nbytes)

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the thread; what is not on the disk yet has to be brought there by `fsync`.

        Args:
            last: What the thread does before it ends.

        Raises:
            OSError: What went wrong.
        """
        self._work.end(last)
        # An interrupt in the midst of a finalizer is lost.
        self._forgotten.detach()
        # The garbage collector may run this in the thread itself.
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if self._work.error is not None:
            raise self._work.error


class _Work:
    """What a flusher shares with its thread.

    It has no lock that an interrupt, or the garbage collector, could come in the midst of: a
    `SimpleQueue` may be used anywhere.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        seconds: float | None,
        ended: Callable[[], None] | None,
    ) -> None:
        self.error: OSError | None = None
        self._flush = flush
        self._seconds = seconds
        self._ended = ended
        self._last: Callable[[], None] | None = None
        # A count that two threads change at once may be too low: then a flush comes later.
        self._waiting = 0
        self._orders: SimpleQueue[str] = SimpleQueue()

    def note(self, nbytes: int) -> None:
        if self.error is not None:
            raise self.error
        self._waiting += nbytes
        if self._waiting >= STEP_BYTES and self._orders.empty():
            self._orders.put("flush")

    def end(self, last: Callable[[], None] | None = None) -> None:
        self._last = last or self._last
        self._orders.put("end")

    def run(self) -> None:
        try:
            self._run_until_end()
            if self._last is not None:
                self._last()
        finally:
            if self._ended is not None:
                self._ended()

    def _run_until_end(self) -> None:
        while True:
            try:
                # After an error there is nothing to do but to wait for the end.
                order = self._orders.get(timeout=None if self.error else self._seconds)
            except Empty:
                order = "flush"
            if order == "end":
                return
            if not self._waiting or self.error is not None:
                continue
            self._waiting = 0
            try:
                self._flush()
            except OSError as error:
                self.error = error


class FileFlusher(Flusher):
    """A thread that brings a file to the disk while it is written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        file = path.open("r+b", buffering=0)
        super().__init__(lambda: sync_data(file.fileno()), ended=file.close)


def sync_data(descriptor: int) -> None:
    """Brings the data of a file to the disk, and lets them leave the page cache.

    A file larger than memory would push out everything else; and memory that is used again costs
    less than fresh memory does.
    """
    getattr(os, "fdatasync", os.fsync)(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
