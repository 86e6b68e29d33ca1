"""Brings a file to the disk while it is being written, so that its end need not wait for all."""

import os
import threading
from pathlib import Path

STEP_BYTES = 1 << 26
"""The system itself begins much later, with gigabytes."""


class Flusher:
    """A thread that has the system write what a file was given.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        self._waiting = 0
        self._closed = False
        self._error: OSError | None = None
        self._work = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="penstock-flush", daemon=True)
        self._thread.start()

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

    def close(self) -> None:
        """Ends the thread; what is not on the disk yet has to be brought there by `fsync`.

        Raises:
            OSError: What went wrong.
        """
        with self._work:
            self._closed = True
            self._work.notify()
        self._thread.join()
        os.close(self._descriptor)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._closed or self._waiting >= STEP_BYTES)
                if self._closed:
                    return
                self._waiting = 0
            try:
                getattr(os, "fdatasync", os.fsync)(self._descriptor)
            except OSError as error:
                with self._work:
                    self._error = error
                return
