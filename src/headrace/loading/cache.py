"""Fields that stay in memory for as long as a loader lives."""

import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.forks import run_in_each_process
from headrace.loading.timing import Ledger
from headrace.loading.view import View
from headrace.sources import Arrays, Read, ReadStats, StagedRead, empty_arrays, run_reads
from headrace.spec import Indices

Array = npt.NDArray[Any]

PIECE_BYTES = 1 << 22
"""As much of the cached fields is read at a time."""


class CachedFields:
    """Fields that stay in memory as a whole, for as long as the loader lives.

    Args:
        view: The rows.
        names: The fields.
        ledger: Counts their bytes.
        rows: The most to read at a time, unless a block has more: of rows of a byte, their
            numbers would take eight times as much memory.
    """

    def __init__(self, view: View, names: tuple[str, ...], ledger: Ledger, rows: int) -> None:
        self._view = view
        self._fields = [f for f in view.fields if f.name in names]
        self._ledger = ledger
        row_bytes = sum(f.nbytes for f in self._fields) or 1
        # What was fetched and not yet decoded is a block at most.
        self._step = 1 if view.fetches else max(1, min(rows, PIECE_BYTES // row_bytes))
        self.arrays: dict[str, Array] = {}
        self._complete = not self._fields
        run_in_each_process(self, CachedFields._begin_anew)

    def begin(self) -> list[Read]:
        """The reads that fill the arrays; none if they are filled.

        Waits for another iterator that is filling them. The caller calls `end` once none of the
        reads runs any more.
        """
        self._loading.acquire()
        try:
            if self._complete:
                self._loading.release()
                return []
            if not self.arrays:
                self.arrays = empty_arrays(self._fields, len(self._view))
                self._ledger.take(nbytes_of(self.arrays))
            return list(self._reads())
        except BaseException:
            self._loading.release()
            raise

    def _reads(self) -> Iterator[Read]:
        """Cuts fields whose blocks lie alike between blocks, so that each block is read once."""
        alike: dict[bytes, tuple[Indices, list[str]]] = {}
        for field in self._fields:
            offsets = self._view.block_offsets([field.name])
            alike.setdefault(offsets.tobytes(), (offsets, []))[1].append(field.name)
        for offsets, names in alike.values():
            ends = np.arange(self._step, offsets[-1] + self._step, self._step)
            wanted = np.searchsorted(offsets, ends)
            cuts = np.unique(offsets[np.minimum(wanted, len(offsets) - 1)]).tolist()
            for start, stop in itertools.pairwise([0, *cuts]):
                reads = partial(self._reads_of, names, start, stop)
                if self._view.fetches:
                    yield StagedRead(partial(_fetch_all, reads), run_reads)
                else:
                    yield partial(_run_all, reads)

    def _reads_of(self, names: list[str], start: int, stop: int) -> list[Read]:
        out = {name: self.arrays[name][start:stop] for name in names}
        return self._view.reads(np.arange(start, stop), out)

    def _begin_anew(self) -> None:
        """The thread that was filling the arrays does not exist in a forked child."""
        self._loading = threading.Lock()
        if not self._complete and self.arrays:
            # The parent's thread may have been writing to them; what it holds is its own copy.
            self._ledger.give(nbytes_of(self.arrays))
            self.arrays = {}

    def end(self, complete: bool) -> None:
        """Ends what `begin` began; `complete` says whether every read ran."""
        self._complete = complete
        self._loading.release()


def nbytes_of(arrays: Arrays) -> int:
    """Bytes of some arrays."""
    return sum(array.nbytes for array in arrays.values())


def _run_all(reads: Callable[[], list[Read]]) -> ReadStats:
    """Runs reads that are made only now: the numbers of their rows take memory."""
    return run_reads(reads())


def _fetch_all(reads: Callable[[], list[Read]]) -> list[Read]:
    """Makes reads, and fetches those that can be fetched by themselves."""
    made = reads()
    for read in made:
        if isinstance(read, StagedRead):
            read.fetch()
    return made
