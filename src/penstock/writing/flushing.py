"""Brings a file to the disk while it is being written, so that its end need not wait for all."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from penstock.forks import run_in_each_process

STEP_BYTES = 1 << 26
"""The system itself begins much later, with gigabytes."""


class Flusher:
    """A thread that has what was written brought to the disk, every so many bytes.

    Args:
        flush: Brings it there.
        seconds: After how long it is also done for fewer bytes; None for never.
    """

    def __init__(self, flush: Callable[[], None], seconds: float | None = None) -> None:
        self._flush = flush
        self._seconds = seconds
        self._waiting = 0
        self._closed = False
        self._last: Callable[[], None] | None = None
        self._error: OSError | None = None
        run_in_each_process(self, Flusher._make_lock)
        self._thread = threading.Thread(target=self._run, name="penstock-flush", daemon=True)
        self._thread.start()

    def _make_lock(self) -> None:
        self._work = threading.Condition()

    def note(self, nbytes: int) -> None:
        """Notes that so many more bytes were written.

        Raises:
            OSError: What went wrong with those before.
        """
        with self._work:
            if self._error is not None:
                raise self._error
            self._waiting += nbytes
            if self._waiting >= STEP_BYTES:
                self._work.notify()

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the thread; what is not on the disk yet has to be brought there by `fsync`.

        Args:
            last: What the thread does before it ends.

        Raises:
            OSError: What went wrong.
        """
        with self._work:
            self._closed = True
            self._last = last
            self._work.notify()
        # The garbage collector may run this in the thread itself.
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while self._wait():
            try:
                self._flush()
            except OSError as error:
                with self._work:
                    self._error = error
                    self._work.wait_for(lambda: self._closed)
        if self._last is not None:
            self._last()

    def _wait(self) -> bool:
        """Waits for something to do; False at the end."""
        with self._work:
            while not self._closed:
                due = self._work.wait_for(
                    lambda: self._closed or self._waiting >= STEP_BYTES, self._seconds
                )
                if not self._closed and (due or self._waiting):
                    self._waiting = 0
                    return True
        return False


class FileFlusher(Flusher):
    """A thread that brings a file to the disk while it is written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        super().__init__(lambda: sync_data(self._descriptor))

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the thread, as `Flusher.close` does."""
        try:
            super().close(last)
        finally:
            os.close(self._descriptor)


def sync_data(descriptor: int) -> None:
    """Brings the data of a file to the disk, and lets them leave the page cache.

    A file larger than memory would push out everything else; and memory that is used again costs
    less than fresh memory does.
    """
    getattr(os, "fdatasync", os.fsync)(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
