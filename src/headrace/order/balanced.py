"""Orders of balanced epochs, in which each class has a fixed share.

Each class has a fixed permutation of its rows that the epochs consume cyclically: in epoch e, a
class with a quota of q samples uses the entries e q to (e + 1) q - 1, modulo its size. So each
epoch has exactly q samples of the class, and over any number of successive epochs, the counts of
rows within a class differ by at most one.

The orders of `orders.py` number the samples of an epoch; the classes here map samples to rows.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.order.orders import Order, RowOrder, SequentialOrder, Window, WindowOrder
from headrace.order.permutation import Permutations, stream_key
from headrace.order.selection import STEP
from headrace.order.shares import Ranks
from headrace.spec import Indices

_PIECE = 1 << 15
"""Rows that are processed at a time: their arrays fit the processor's cache."""

_RUN = 1 << 10
"""Rows between stored sample counts, where single rows are read in row order."""


class BalancedSampler:
    """Determines how often each row occurs in each epoch.

    Takes one or two bytes per row for its class, and four bytes per row (eight beyond 4 billion
    rows) for each of two tables: one for orders of single rows in random order, and one for all
    other orders. A table is made when an order first needs it.

    Args:
        codes: The class of each row, uint8 or uint16, shape `(n,)`.
        quotas: Samples of each class in an epoch, int64, shape `(classes,)`; 0 for a class
            without rows.
        seed: The seed of the permutations of the classes.

    Attributes:
        length: Samples in an epoch.
    """

    def __init__(self, codes: npt.NDArray[Any], quotas: Indices, seed: int) -> None:
        self.codes = codes
        self.quotas = quotas
        self.length = int(quotas.sum())
        self._seed = seed

    def __getstate__(self) -> dict[str, Any]:
        # Receiving processes compute the tables again if they need them.
        return {name: self.__dict__[name] for name in ("codes", "quotas", "length", "_seed")}

    @cached_property
    def digest(self) -> str:
        """A short text that identifies the samples of all epochs."""
        digest = blake2b(f"{self._seed} {self.quotas.tolist()}".encode(), digest_size=8)
        digest.update(self.codes.tobytes())
        return digest.hexdigest()

    @cached_property
    def sizes(self) -> Indices:
        """Rows of each class."""
        sizes = np.zeros(len(self.quotas), np.int64)
        for start in range(0, len(self.codes), STEP):
            sizes += np.bincount(self.codes[start : start + STEP], minlength=len(sizes))
        return sizes

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint32 if len(self.codes) <= 1 << 32 else np.uint64)

    @cached_property
    def places(self) -> npt.NDArray[Any]:
        """The index of each row in the permutation of its class, shape `(n,)`."""
        places = np.empty(len(self.codes), self._dtype)
        permuted = Permutations(self.sizes, stream_key(self._seed, "balance"))
        ranks = Ranks(len(self.sizes))
        for start in range(0, len(places), _PIECE):
            codes = self.codes[start : start + _PIECE]
            places[start : start + _PIECE] = permuted(codes, ranks(codes))
        return places

    @cached_property
    def rows(self) -> npt.NDArray[Any]:
        """The permutations of all classes, concatenated: row numbers, shape `(n,)`."""
        rows = np.empty(len(self.codes), self._dtype)
        firsts = np.cumsum(self.sizes) - self.sizes
        permuted = Permutations(self.sizes, stream_key(self._seed, "balance"))
        ranks = Ranks(len(self.sizes))
        for start in range(0, len(rows), _PIECE):
            codes = self.codes[start : start + _PIECE]
            places = permuted(codes, ranks(codes))
            rows[firsts[codes] + places] = np.arange(start, start + len(codes))
        return rows


class EpochSamples:
    """The samples of one epoch.

    Args:
        sampler: The sampler.
        epoch: The number of the epoch, from 0.
    """

    def __init__(self, sampler: BalancedSampler, epoch: int) -> None:
        self._sampler = sampler
        self._sizes = sampler.sizes
        sizes = np.maximum(sampler.sizes, 1)
        # Every row of a class occurs `whole` times, and `more` of its rows once more.
        self._whole, self._more = np.divmod(sampler.quotas, sizes)
        self._first = epoch * sampler.quotas % sizes
        self._ends = np.cumsum(sampler.quotas)

    def times(self, start: int, stop: int) -> Indices:
        """How often each of the rows `start .. stop - 1` occurs, int64."""
        codes = self._sampler.codes[start:stop]
        place = self._sampler.places[start:stop].astype(np.int64) - self._first[codes]
        place += np.where(place < 0, self._sizes[codes], 0)
        times: Indices = self._whole[codes] + (place < self._more[codes])
        return times

    def before(self, rows: Indices) -> Indices:
        """For each of `rows` (ascending), the number of samples of lower rows."""
        before = np.empty(len(rows), np.int64)
        total = 0
        n = len(self._sampler.codes)
        for start in range(0, n + 1, _PIECE):
            ends = np.cumsum(self.times(start, min(start + _PIECE, n)))
            low, high = np.searchsorted(rows, [start, start + _PIECE])
            before[low:high] = total + np.append(0, ends)[rows[low:high] - start]
            total += int(ends[-1]) if len(ends) else 0
        return before

    def by_class(self, samples: Indices) -> Indices:
        """The rows of samples, if samples are numbered class by class."""
        codes = np.searchsorted(self._ends, samples, side="right")
        sizes = self._sizes[codes]
        place = samples - (self._ends - self._sampler.quotas)[codes] + self._first[codes]
        firsts = (np.cumsum(self._sizes) - self._sizes)[codes]
        rows: Indices = self._sampler.rows[firsts + place % sizes].astype(np.int64)
        return rows


class RowCounts(NamedTuple):
    """Ascending rows, and how often each occurs."""

    rows: Indices
    times: Indices

    def repeated(self) -> Indices:
        """The rows, each repeated as often as it occurs."""
        return np.repeat(self.rows, self.times)


class SamplesByRow:
    """Numbers the samples of an epoch in the order of the rows, block by block.

    Args:
        epoch_samples: The samples of the epoch.
        offsets: The first rows of the blocks, then the number of rows: shape `(blocks + 1,)`.
        in_turn: If True, samples cycle through the rows of a block, so that parts of a block have
            similar rows; else all samples of a row are adjacent.
    """

    def __init__(
        self, epoch_samples: EpochSamples, offsets: Indices, in_turn: bool = False
    ) -> None:
        self._epoch_samples = epoch_samples
        self._block_offsets = offsets
        self._in_turn = in_turn
        self._before = epoch_samples.before(offsets)

    def block_offsets(self, capacity: int) -> Indices:
        """The first samples of the blocks, then the number of samples; omits empty blocks.

        A block is cut into equal parts if it has more samples than a window holds. With `in_turn`,
        it is also cut if it has more than twice the rows of the largest block, so that windows mix
        enough blocks. This at most doubles the bytes that are decoded per sample.

        Args:
            capacity: Rows that a window may hold, at least the largest block.
        """
        most = capacity
        if self._in_turn:
            largest = int(np.diff(self._block_offsets).max())
            most = min(2 * largest, max(largest, capacity // 8))
        sizes = np.diff(self._before)
        parts = -(-sizes // most)
        number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
        starts = np.repeat(self._before[:-1], parts)
        starts += number * np.repeat(sizes, parts) // np.repeat(parts, parts)
        return np.append(starts, self._before[-1])

    def between(self, start: int, stop: int) -> RowCounts:
        """The rows of samples `start .. stop - 1`."""
        first = int(np.searchsorted(self._before, start, side="right")) - 1
        last = int(np.searchsorted(self._before, stop, side="left"))
        row = int(self._block_offsets[first])
        times = self._epoch_samples.times(row, int(self._block_offsets[last]))
        # The first and last block may only partly belong to the range.
        if stop < self._before[last]:
            here = times[int(self._block_offsets[last - 1]) - row :]
            here[:] = self._up_to(here, stop - int(self._before[last - 1]))
        if start > self._before[first]:
            here = times[: int(self._block_offsets[first + 1]) - row]
            whole = self._epoch_samples.times(row, int(self._block_offsets[first + 1]))
            here -= self._up_to(whole, start - int(self._before[first]))
        present = np.flatnonzero(times)
        return RowCounts(present + row, times[present])

    def _up_to(self, times: Indices, count: int) -> Indices:
        """How often each row of a block occurs among its first `count` samples."""
        if not self._in_turn:
            return np.diff(np.minimum(np.cumsum(times), count), prepend=0)
        turns = _turns(times, count)
        done = np.minimum(times, turns)
        again = np.flatnonzero(times > turns)[: count - int(done.sum())]
        done[again] += 1
        return done


def _turns(times: Indices, count: int) -> int:
    """How many full cycles through the rows the first `count` samples of a block contain."""
    low, high = 0, int(times.max())
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(times, middle).sum()) <= count:
            low = middle
        else:
            high = middle - 1
    return low


class BalancedRowOrder(RowOrder):
    """The order of a balanced epoch whose rows are read singly.

    Args:
        order: The order of the sample numbers.
        epoch_samples: The samples of the epoch.
        n: Number of rows of the data.
    """

    def __init__(self, order: RowOrder, epoch_samples: EpochSamples, n: int) -> None:
        self.n = order.n
        self.starts = order.starts
        self._order = order
        self._epoch_samples = epoch_samples
        self._in_order: SamplesByRow | None = None
        if not order.by_itself:
            self._in_order = SamplesByRow(epoch_samples, np.append(np.arange(0, n, _RUN), n))

    def places(self, start: int, stop: int) -> Indices:
        samples = self._order.places(start, stop)
        if self._in_order is None:
            return self._epoch_samples.by_class(samples)
        breaks = np.flatnonzero(np.diff(samples) != 1) + 1
        runs = itertools.pairwise([0, *breaks.tolist(), len(samples)])
        return np.concatenate(
            [
                self._in_order.between(int(samples[a]), int(samples[b - 1]) + 1).repeated()
                for a, b in runs
            ]
        )


@dataclass(frozen=True)
class BalancedWindow(Window):
    """A window of samples, which holds each row once and yields it as often as it occurs.

    Attributes:
        spans: The sample numbers, as in `Window`.
        rows: The rows of these samples, ascending: the positions that are read.
    """

    rows: Indices

    def positions(self) -> Indices:
        return self.rows


class BalancedWindowOrder(Order):
    """The order of a balanced epoch that is read in windows.

    Args:
        order: The order of the sample numbers.
        samples: The samples; each block of `order` is a block of them or a part of one.
    """

    def __init__(self, order: WindowOrder | SequentialOrder, samples: SamplesByRow) -> None:
        self._order = order
        self._samples = samples

    @cached_property
    def starts(self) -> Indices:  # type: ignore[override]
        return self._order.starts

    def window(self, index: int) -> Window:
        window = self._order.window(index)
        found = [self._samples.between(a, b) for a, b in window.spans.tolist()]
        held = RowCounts(*map(np.concatenate, zip(*found, strict=True)))
        if np.any(np.diff(held.rows) <= 0):
            # The window has separate parts of one block, which may share rows.
            rows, place = np.unique(held.rows, return_inverse=True)
            held = RowCounts(rows, np.bincount(place, weights=held.times).astype(np.int64))
        order = RowCounts(np.arange(len(held.rows)), held.times).repeated()
        leaving = order if window.order is None else order[window.order]
        return BalancedWindow(window.start, window.spans, leaving, held.rows)

    def mixed(self, index: int) -> int:
        if not isinstance(self._order, WindowOrder):
            return 1
        sizes = self._order.sizes(index).astype(np.float64)
        return max(1, int(sizes.sum() ** 2 / (sizes**2).sum()))
