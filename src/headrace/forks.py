"""Recreates locks in a forked child, where the thread that held one does not exist."""

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_owners: "weakref.WeakKeyDictionary[Any, Callable[[Any], None]]" = weakref.WeakKeyDictionary()


def run_in_each_process(owner: T, make_locks: Callable[[T], None]) -> None:
    """Calls `make_locks(owner)` now, and in each child forked while `owner` lives.

    Every object of the package that has a lock creates it in this way, except objects that refuse
    to work in a child.

    Args:
        owner: A hashable object, which is not kept alive. Each owner has one function.
        make_locks: Creates the locks, and restores state that a thread may have left inconsistent.
    """
    _owners[owner] = make_locks
    make_locks(owner)


def _after_fork() -> None:
    for owner, make_locks in list(_owners.items()):
        make_locks(owner)
    if sys.version_info < (3, 12):
        _renew_cached_properties()


def _renew_cached_properties() -> None:
    """Gives each `cached_property` of the package a new lock; Python 3.12 removed these locks."""
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != package:
            continue
        for kind in list(vars(module).values()):
            for value in list(vars(kind).values()) if isinstance(kind, type) else ():
                if isinstance(value, functools.cached_property):
                    value.lock = threading.RLock()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
