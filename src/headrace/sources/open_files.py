"""A pool of open files, bounded by what the system allows."""

import heapq
import io
import itertools
import mmap
import os
import threading
import weakref
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

import numpy as np

from headrace.forks import run_in_each_process
from headrace.resources import open_files_limit

_LARGEST_READ = 1 << 30
"""Some systems refuse reads of 2 GiB and more."""

_FEWEST_OPEN = 8


class OpenFile:
    """A file that is open for reading, closed once nothing refers to it any more.

    A reader keeps it open by referring to it. Its descriptor is not given out: the
    number may be another file's as soon as this one is closed.

    Args:
        path: The file.

    Attributes:
        address: Where it is mapped, or None.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._raw = io.FileIO(path)
        self._mapping: mmap.mmap | None = None
        self.address: int | None = None
        weakref.finalize(self, self._raw.close)

    def usable(self) -> bool:
        """Whether this process may read from it; a fork shares it, since no read moves it."""
        return True

    def status(self) -> os.stat_result:
        """Its status, whatever is at its path by now."""
        return os.fstat(self._raw.fileno())

    can_fetch = hasattr(os, "posix_fadvise")
    """Whether the system can fetch announced bytes in the background."""

    def will_need(self, offset: int, size: int) -> None:
        """Has the system fetch these bytes, and does not wait for them."""
        # Where that cannot be done, reads alone will say why.
        with suppress(OSError):
            os.posix_fadvise(self._raw.fileno(), offset, size, os.POSIX_FADV_WILLNEED)

    def in_memory(self, offset: int) -> bool:
        """Whether the byte at `offset` is in the page cache; False if the system does not tell."""
        try:
            os.preadv(self._raw.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT)
        except (OSError, AttributeError):
            return False
        return True

    def read_at(self, offset: int, target: memoryview) -> int:
        """Reads bytes at `offset` into `target`, in any number of threads; returns how many."""
        return os.preadv(self._raw.fileno(), [target[:_LARGEST_READ]], offset)

    def map(self, size: int) -> bool:
        """Maps its first `size` bytes at `address`, under a lock; False if that cannot be."""
        if self.address is None:
            try:
                self._mapping = mmap.mmap(self._raw.fileno(), size, prot=mmap.PROT_READ)
            except (OSError, ValueError):
                # It is shorter now, its file system maps nothing, or addresses are rationed.
                return False
            if hasattr(mmap, "MADV_RANDOM"):
                self._mapping.madvise(mmap.MADV_RANDOM)
            self.address = np.frombuffer(self._mapping, np.uint8).ctypes.data
        return True


class SeekingFile(OpenFile):
    """The same on systems that cannot read at an offset: one reads at a time."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._process = os.getpid()
        run_in_each_process(self, SeekingFile._make_lock)

    def _make_lock(self) -> None:
        self._reading = threading.Lock()

    def usable(self) -> bool:
        return self._process == os.getpid()

    def read_at(self, offset: int, target: memoryview) -> int:
        with self._reading:
            self._raw.seek(offset)
            return self._raw.readinto(target[:_LARGEST_READ])


open_file: type[OpenFile] = OpenFile if hasattr(os, "preadv") else SeekingFile
"""How files are opened on this system."""


class Holder(Protocol):
    """Something that holds a file open, and can open it again."""

    last_use: int

    def close(self) -> None:
        """Lets go of the file; it is opened again when it is needed."""


_uses = itertools.count()


def next_use() -> int:
    """A number above those given before: the clock of `Holder.last_use`."""
    return next(_uses)


class Pool:
    """The holders of open files; the least recently used one is closed first.

    Args:
        share: The part of the files that this process may have open which are for the pool.
        lock: A re-entrant lock of a library that sees to forks; None for one of its own.

    Attributes:
        lock: To be held around every call, and while files are opened.
    """

    def __init__(self, share: float, lock: AbstractContextManager[Any] | None = None) -> None:
        self._share = share
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        if lock is None:
            run_in_each_process(self, Pool._make_lock)
        else:
            self.lock = lock

    def _make_lock(self) -> None:
        self.lock = threading.RLock()

    def add(self, holder: Holder) -> None:
        """Takes in one that is about to open its file, and makes room for it."""
        most = max(_FEWEST_OPEN, int(open_files_limit() * self._share))
        over = len(self._holders) + 1 - most
        if over > 0:
            for other in heapq.nsmallest(over, self._holders, key=lambda one: one.last_use):
                self._holders.discard(other)
                other.close()
        self._holders.add(holder)
