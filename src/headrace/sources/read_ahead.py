"""Tells the system which rows will be read soon, so that it fetches them."""

import mmap
import threading
from collections.abc import Callable

from headrace.forks import run_in_each_process
from headrace.spec import Indices

FETCH_BYTES = 16 << 20
"""What is fetched ahead: enough to keep a fast disk busy, with little of it at a time in the page
cache of a machine that has no room to spare."""


class ReadAhead:
    """Announces rows before they are read, for as long as that is of use.

    Safe in any thread.

    Args:
        announce: Has the system fetch some rows; returns False if they are in memory.
        rows: In the order in which they will be read.
        nbytes: Bytes on disk of a row, about.
        places: How many places on disk a row is scattered over, each of them in pages of its own; 0
            where neighbouring rows lie together.
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
        """Goes on announcing, because the rows before `place` are being read."""
        target = min(place + 2 * self._step, len(self._rows))
        with self._lock:
            start = self._announced
            enough = self._step if target < len(self._rows) else 1
            if target - start < enough:
                return
            self._announced = target
        if not self._announce(self._rows[start:target]):
            # They are in memory; so will be those that follow.
            self._announced = len(self._rows)
