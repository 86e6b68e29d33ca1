"""Rows on their way in: fields that stay in memory, and windows that batches are gathered from."""

import contextlib
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.forks import run_in_each_process
from headrace.loading.timing import Ledger
from headrace.loading.view import View
from headrace.order import Window
from headrace.sources import Cost, Read, ReadAhead, empty_arrays, run_reads
from headrace.spec import Field, Indices

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


PIECE_BYTES = 1 << 22
"""As much of the resident fields is read at a time."""


class Resident:
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
        self._step = max(1, min(rows, PIECE_BYTES // row_bytes))
        self.arrays: Arrays = {}
        self._complete = not self._fields
        run_in_each_process(self, Resident._begin_anew)

    def begin(self) -> list[Read]:
        """The reads that fill the arrays; none if they are filled.

        Waits for another iterator that is filling them. Whoever gets reads calls `end` once none
        of them runs any more.
        """
        self._loading.acquire()
        try:
            if self._complete:
                self._loading.release()
                return []
            if not self.arrays:
                self.arrays = empty_arrays(self._fields, len(self._view))
                self._ledger.take(_nbytes(self.arrays))
            return list(self._reads())
        except BaseException:
            self._loading.release()
            raise

    def _reads(self) -> Iterator[Read]:
        """Cuts fields whose blocks lie alike between blocks, so that each block is read once."""
        alike: dict[bytes, tuple[Indices, list[str]]] = {}
        for field in self._fields:
            edges = self._view.edges([field.name])
            alike.setdefault(edges.tobytes(), (edges, []))[1].append(field.name)
        for edges, names in alike.values():
            ends = np.arange(self._step, edges[-1] + self._step, self._step)
            wanted = np.searchsorted(edges, ends)
            cuts = np.unique(edges[np.minimum(wanted, len(edges) - 1)]).tolist()
            for start, stop in itertools.pairwise([0, *cuts]):
                yield partial(self._read, names, start, stop)

    def _read(self, names: list[str], start: int, stop: int) -> Cost:
        out = {name: self.arrays[name][start:stop] for name in names}
        return run_reads(self._view.reads(np.arange(start, stop), out))

    def _begin_anew(self) -> None:
        """The thread that was filling the arrays does not exist in a forked child."""
        self._loading = threading.Lock()
        if not self._complete and self.arrays:
            # The parent's thread may have been writing to them; what it holds is its own copy.
            self._ledger.give(_nbytes(self.arrays))
            self.arrays = {}

    def end(self, complete: bool) -> None:
        """Ends what `begin` began; `complete` says whether every read ran."""
        self._complete = complete
        self._loading.release()


class Buffers:
    """Memory of windows, used again for the next one: fresh memory costs a page fault a page.

    Nothing in it is ever handed out. It is kept for as long as the loader lives.
    """

    def __init__(self, fields: tuple[Field, ...], ledger: Ledger) -> None:
        self._fields = fields
        self._ledger = ledger
        self._free: list[Arrays] = []

    def take(self, rows: int) -> Arrays:
        """Arrays for `rows` rows or more."""
        with contextlib.suppress(IndexError):
            while True:
                arrays = self._free.pop()
                if rows <= len(next(iter(arrays.values()))) <= rows * 1.1:
                    return arrays
                self.forget(arrays)
        arrays = empty_arrays(self._fields, rows)
        self._ledger.take(_nbytes(arrays))
        return arrays

    def give(self, arrays: Arrays) -> None:
        """Takes back arrays that nothing writes to or reads from any more."""
        if len(self._free) < 2:
            self._free.append(arrays)
        else:
            self.forget(arrays)

    def forget(self, arrays: Arrays) -> None:
        """Lets go of arrays that something may still write to."""
        self._ledger.give(_nbytes(arrays))


class LoadedWindow(ABC):
    """A window from which batches are gathered, once its reads have run."""

    def __init__(self, window: Window, reads: list[Read], nbytes: int) -> None:
        self.window = window
        self.reads = reads
        self.nbytes = nbytes

    @abstractmethod
    def gather(self, start: int, stop: int, out: Arrays) -> Cost:
        """Fills `out` with the rows at places `start .. stop - 1` of the epoch.

        Returns what was read for it.
        """

    def close(self, idle: bool = True) -> None:  # noqa: B027 - nothing to give back by default
        """Gives back its memory; `idle` says that no thread is reading into it any more."""


class HeldWindow(LoadedWindow):
    """Rows held decoded in memory; they leave in the window's order."""

    def __init__(
        self,
        window: Window,
        rows: int,
        view: View,
        fields: list[Field],
        resident: Resident,
        buffers: Buffers,
    ) -> None:
        positions = window.positions()
        self._buffers = buffers
        self._memory = buffers.take(rows)
        self._arrays = {name: array[: len(positions)] for name, array in self._memory.items()}
        reads = view.reads(positions, {f.name: self._arrays[f.name] for f in fields})
        for name, values in resident.arrays.items():
            np.take(values, positions, axis=0, out=self._arrays[name], mode="clip")
        numbers = positions.nbytes + (0 if window.order is None else window.order.nbytes)
        super().__init__(window, reads, numbers)

    def close(self, idle: bool = True) -> None:
        if idle:
            self._buffers.give(self._memory)
        else:
            self._buffers.forget(self._memory)

    def gather(self, start: int, stop: int, out: Arrays) -> Cost:
        low, high = start - self.window.start, stop - self.window.start
        for name, values in self._arrays.items():
            if self.window.order is None:
                out[name][:] = values[low:high]
            else:
                # "clip" keeps take from copying through a buffer of its own.
                order = self.window.order[low:high]
                np.take(values, order, axis=0, out=out[name], mode="clip")
        return Cost()


class AddressedWindow(LoadedWindow):
    """Rows read one by one when a batch needs them; holds only where they are."""

    def __init__(
        self,
        window: Window,
        positions: Indices,
        view: View,
        fields: list[Field],
        resident: Resident,
    ) -> None:
        self._positions = positions
        self._view = view
        self._names = [f.name for f in fields]
        self._resident = resident
        self._ahead: ReadAhead | None = None
        if self._names and view.addressable(self._names):
            announce = partial(view.announce, names=self._names)
            nbytes = sum(f.nbytes for f in fields)
            self._ahead = ReadAhead(announce, self._positions, nbytes, len(fields))
        super().__init__(window, [], self._positions.nbytes)

    def gather(self, start: int, stop: int, out: Arrays) -> Cost:
        positions = self._positions[start - self.window.start : stop - self.window.start]
        for name, values in self._resident.arrays.items():
            np.take(values, positions, axis=0, out=out[name], mode="clip")
        if not self._names:
            return Cost()
        if self._ahead is not None:
            self._ahead.reach(start - self.window.start)
            return self._view.read_rows(positions, {name: out[name] for name in self._names})
        arrays, cost = self._view.read_any(positions, self._names)
        for name, array in arrays.items():
            out[name][:] = array
        return cost


def _nbytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
