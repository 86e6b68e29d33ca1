"""Open files, and a pool that limits how many are open at once."""

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
    """A file that is open for reading, and is closed with the last reference to this object.

    Its descriptor stays private: once the file is closed, the system may reuse the number.

    Args:
        path: The file.

    Attributes:
        address: The address at which it is mapped, or None.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._raw = io.FileIO(path)
        self._mapping: mmap.mmap | None = None
        self.address: int | None = None
        weakref.finalize(self, self._raw.close)

    def usable(self) -> bool:
        """Whether this process may read from it. Forks may: positional reads move no offset."""
        return True

    def status(self) -> os.stat_result:
        """Its status, even if its path now leads to another file."""
        return os.fstat(self._raw.fileno())

    can_fetch = hasattr(os, "posix_fadvise")
    """Whether the system can fetch announced bytes in the background."""

    def will_need(self, offset: int, size: int) -> None:
        """Tells the system to fetch these bytes in the background."""
        # The read that follows reports any error.
        with suppress(OSError):
            os.posix_fadvise(self._raw.fileno(), offset, size, os.POSIX_FADV_WILLNEED)

    def in_memory(self, offset: int) -> bool:
        """Whether the byte at `offset` is in the page cache; False if that is unknown."""
        try:
            os.preadv(self._raw.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT)
        except (OSError, AttributeError):
            return False
        return True

    def read_at(self, offset: int, target: memoryview) -> int:
        """Reads bytes at `offset` into `target`; returns how many. Safe in any thread."""
        return os.preadv(self._raw.fileno(), [target[:_LARGEST_READ]], offset)

    def map(self, size: int) -> bool:
        """Maps its first `size` bytes at `address`; returns False if that fails.

        The caller holds the lock of the pool.
        """
        if self.address is None:
            try:
                self._mapping = mmap.mmap(self._raw.fileno(), size, prot=mmap.PROT_READ)
            except (OSError, ValueError):
                # The file is shorter now, its file system cannot map files, or RLIMIT_AS is hit.
                return False
            if hasattr(mmap, "MADV_RANDOM"):
                self._mapping.madvise(mmap.MADV_RANDOM)
            self.address = np.frombuffer(self._mapping, np.uint8).ctypes.data
        return True


class SeekingFile(OpenFile):
    """An open file on systems without `preadv`: a lock serializes seek and read."""

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
"""The class that opens files on this system."""


class Holder(Protocol):
    """An object that holds a file open, and can open it again."""

    last_use: int

    def close(self) -> None:
        """Closes the file; the holder opens it again at its next read."""


_uses = itertools.count()


def next_use() -> int:
    """A number above all earlier ones: the clock of `Holder.last_use`."""
    return next(_uses)


class Pool:
    """The holders of open files; the least recently used one is closed first.

    Args:
        share: The pool's share of the process's limit of open files, from 0 to 1.
        lock: A re-entrant, fork-safe lock of another library; None to create one.

    Attributes:
        lock: The lock that callers hold during every call, and while they open files.
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
        """Adds a holder that is about to open its file; closes others if the pool is full."""
        most = max(_FEWEST_OPEN, int(open_files_limit() * self._share))
        over = len(self._holders) + 1 - most
        if over > 0:
            for other in heapq.nsmallest(over, self._holders, key=lambda one: one.last_use):
                self._holders.discard(other)
                other.close()
        self._holders.add(holder)
