"""Iterators that several threads may share: each batch goes to one of them."""

import threading
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from headrace.errors import HeadraceError
from headrace.forks import run_in_each_process


class SharedIterator(Iterator[Any]):
    """An iterator that gives one batch at a time to any thread; it ends after an error."""

    def __init__(self) -> None:
        self._closed = False
        run_in_each_process(self, SharedIterator._make_lock)

    def _make_lock(self) -> None:
        # Reentrant, so that a signal handler that asks for a batch gets an error.
        self._taking = threading.RLock()
        self._busy = False

    def __next__(self) -> Any:
        with self._taking:
            if self._busy:
                raise HeadraceError("This iterator is asked for a batch while it is fetching one.")
            self._busy = True
            try:
                return self._take()
            except BaseException:
                self.close()
                raise
            finally:
                self._busy = False
                if self._closed:
                    self._stop()

    def _check_open(self) -> None:
        """Makes sure that no other thread has closed this meanwhile."""
        if self._closed:
            raise HeadraceError("This iterator was closed by another thread. Start a new one.")

    @abstractmethod
    def _take(self) -> Any:
        """The next batch; called by one thread at a time."""

    @abstractmethod
    def close(self) -> None:
        """Ends this; may be called in any thread."""

    @abstractmethod
    def _stop(self) -> None:
        """Releases threads and batches; may be called again."""
