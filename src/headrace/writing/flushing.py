"""A thread that flushes a file to the disk while it is being written."""

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

STEP_BYTES = 1 << 26
"""Bytes after which to flush: the system itself would wait for gigabytes."""


class Flusher:
    """A thread that flushes written bytes to the disk, each time some megabytes were written.

    The thread holds no reference to the flusher, and ends when the flusher is garbage, even if an
    interrupt prevented `close()`.

    Args:
        flush: Flushes to the disk.
        seconds: Time after which fewer bytes are flushed, too; None for never.
        ended: Called by the thread when it ends.
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
        """Counts bytes that were written.

        Raises:
            OSError: The error of an earlier flush.
        """
        self._work.note(nbytes)

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the thread; the caller has to `fsync` bytes that are not on the disk yet.

        Args:
            last: Called by the thread before it ends.

        Raises:
            OSError: The error of a flush.
        """
        self._work.end(last)
        # An interrupt inside a finalizer is lost.
        self._forgotten.detach()
        # The garbage collector may call this in the flushing thread.
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if self._work.error is not None:
            raise self._work.error


class _Work:
    """The state that a flusher shares with its thread.

    It has no lock, which an interrupt or the garbage collector could find held: a `SimpleQueue` is
    reentrant.
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
        # If two threads change the count at once, it may be too low: then a flush comes later.
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
                # After an error the thread only waits for the end.
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
    """A thread that flushes a file to the disk while it is written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        file = path.open("r+b", buffering=0)
        super().__init__(lambda: sync_data(file.fileno()), ended=file.close)


def sync_data(descriptor: int) -> None:
    """Flushes the data of a file to the disk, and drops them from the page cache.

    A file larger than memory would evict everything else from the cache, and pages that are reused
    cost less than new ones.
    """
    getattr(os, "fdatasync", os.fsync)(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
