"""`ReadAhead`: announces rows, so that the system fetches them in advance."""

import mmap
import threading
from collections.abc import Callable

from headrace.forks import run_in_each_process
from headrace.spec import Indices

FETCH_BYTES = 16 << 20
"""Bytes announced ahead: enough to keep a fast disk busy, and little enough to stay in the page
cache of a machine that is short of memory."""


class ReadAhead:
    """Announces rows before they are read, until it meets rows that are in memory already.

    Safe in any thread.

    Args:
        announce: Tells the system to fetch rows; returns False if they are in memory.
        rows: Row numbers, in the order in which they will be read.
        nbytes: Approximate bytes of a row on disk.
        places: How many separate places on disk hold parts of a row, each on its own pages; 0
            if adjacent rows are contiguous on disk.
    """

    def __init__(
        self,
        announce: Callable[[Indices], bool],
        rows: Indices,
        nbytes: float,
        places: int = 0,
    ) -> None:
        self._announce = announce
        self._rows = rows
        self._step = max(2, int(FETCH_BYTES / 2 / (nbytes + places * mmap.PAGESIZE)))
        self._announced = 0
        run_in_each_process(self, ReadAhead._make_lock)
        self.reach(0)

    def _make_lock(self) -> None:
        self._lock = threading.Lock()

    def reach(self, place: int) -> None:
        """Announces more rows if needed; to be called when the rows before `place` are read."""
        target = min(place + 2 * self._step, len(self._rows))
        with self._lock:
            start = self._announced
            enough = self._step if target < len(self._rows) else 1
            if target - start < enough:
                return
            self._announced = target
        if not self._announce(self._rows[start:target]):
            # These rows are in memory, so the rest is expected to be there as well.
            self._announced = len(self._rows)
