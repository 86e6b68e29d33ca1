"""Windows in memory: rows are read into them, and batches are gathered from them."""

import contextlib
from abc import ABC, abstractmethod
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.loading.cache import CachedFields, nbytes_of
from headrace.loading.timing import Ledger
from headrace.loading.view import View
from headrace.order import Window
from headrace.sources import Read, ReadAhead, ReadStats, empty_arrays
from headrace.spec import Field, Indices

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


class Buffers:
    """Memory of windows, reused for later ones: fresh memory costs a page fault for each page.

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
        self._ledger.take(nbytes_of(arrays))
        return arrays

    def give(self, arrays: Arrays) -> None:
        """Takes back arrays that nothing writes to or reads from any more."""
        if len(self._free) < 2:
            self._free.append(arrays)
        else:
            self.forget(arrays)

    def forget(self, arrays: Arrays) -> None:
        """Forgets arrays that a read may still write to."""
        self._ledger.give(nbytes_of(arrays))


class LoadedWindow(ABC):
    """A window from which batches are gathered, once its reads have run."""

    def __init__(self, window: Window, reads: list[Read], nbytes: int) -> None:
        self.window = window
        self.reads = reads
        self.nbytes = nbytes

    @abstractmethod
    def positions(self, start: int, stop: int) -> Indices:
        """The positions of the rows at places `start .. stop - 1` of the epoch."""

    @abstractmethod
    def gather(self, start: int, stop: int, out: Arrays) -> ReadStats:
        """Fills `out` with the rows at places `start .. stop - 1` of the epoch.

        Returns what was read for it.
        """

    def close(self, idle: bool = True) -> None:  # noqa: B027 - nothing to give back by default
        """Gives back its memory; `idle` says that no thread is reading into it any more."""


class DecodedWindow(LoadedWindow):
    """A window whose rows are decoded in memory; they leave in the window's order."""

    def __init__(
        self,
        window: Window,
        rows: int,
        view: View,
        fields: list[Field],
        cached: CachedFields,
        buffers: Buffers,
    ) -> None:
        positions = window.positions()
        self._buffers = buffers
        self._memory = buffers.take(rows)
        self._arrays = {name: array[: len(positions)] for name, array in self._memory.items()}
        reads = view.reads(positions, {f.name: self._arrays[f.name] for f in fields})
        for name, values in cached.arrays.items():
            np.take(values, positions, axis=0, out=self._arrays[name], mode="clip")
        self._positions = positions
        numbers = positions.nbytes + (0 if window.order is None else window.order.nbytes)
        super().__init__(window, reads, numbers)

    def positions(self, start: int, stop: int) -> Indices:
        low, high = start - self.window.start, stop - self.window.start
        if self.window.order is None:
            return self._positions[low:high]
        return self._positions[self.window.order[low:high]]

    def close(self, idle: bool = True) -> None:
        if idle:
            self._buffers.give(self._memory)
        else:
            self._buffers.forget(self._memory)

    def gather(self, start: int, stop: int, out: Arrays) -> ReadStats:
        low, high = start - self.window.start, stop - self.window.start
        for name, values in self._arrays.items():
            if self.window.order is None:
                out[name][:] = values[low:high]
            else:
                # "clip" keeps take from copying through a buffer of its own.
                order = self.window.order[low:high]
                np.take(values, order, axis=0, out=out[name], mode="clip")
        return ReadStats()


class AddressedWindow(LoadedWindow):
    """A window that holds only row numbers: rows are read when a batch needs them."""

    def __init__(
        self,
        window: Window,
        positions: Indices,
        view: View,
        fields: list[Field],
        cached: CachedFields,
    ) -> None:
        self._positions = positions
        self._view = view
        self._names = [f.name for f in fields]
        self._cached = cached
        self._ahead: ReadAhead | None = None
        if self._names and view.addressable(self._names):
            announce = partial(view.announce, names=self._names)
            nbytes = sum(f.nbytes for f in fields)
            self._ahead = ReadAhead(announce, self._positions, nbytes, len(fields))
        super().__init__(window, [], self._positions.nbytes)

    def positions(self, start: int, stop: int) -> Indices:
        return self._positions[start - self.window.start : stop - self.window.start]

    def gather(self, start: int, stop: int, out: Arrays) -> ReadStats:
        positions = self.positions(start, stop)
        for name, values in self._cached.arrays.items():
            np.take(values, positions, axis=0, out=out[name], mode="clip")
        if not self._names:
            return ReadStats()
        if self._ahead is not None:
            self._ahead.reach(start - self.window.start)
            return self._view.read_rows(positions, {name: out[name] for name in self._names})
        arrays, cost = self._view.read_any(positions, self._names)
        for name, array in arrays.items():
            out[name][:] = array
        return cost
