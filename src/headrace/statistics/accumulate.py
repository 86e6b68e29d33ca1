"""`FieldAccumulator`: statistics of one field's pieces, computed in any thread, merged in order."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.spec import Field
from headrace.statistics import key_counts
from headrace.statistics.distinct import DistinctCounts, ValueCounts, one_hot, values_of
from headrace.statistics.key_counts import KeyCounts
from headrace.statistics.moments import Moments, moments_of, relative

Array = npt.NDArray[Any]
Counted = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

MOST_COUNTED_CHANNELS = 256
"""Most channels that are counted separately; beyond that, one count covers all channels."""

MOST_CHANNELS = 1 << 16
"""Most channels with moments; with more, statistics would be as large as a piece of data."""

FIRST_ROWS = 64
"""Rows from which centers are chosen."""

_FAR = 2
"""Values this many times larger than their range lie in fewer than 64 bins."""

_LARGEST_CENTER = 1e290
"""Less than half the last bit of the largest float: subtracting it never overflows."""

BLOCK = 1 << 16
"""Values per step: as float64 they fit in the processor's cache."""


@dataclass(frozen=True)
class PartialStats:
    """The statistics of one piece of a field.

    Attributes:
        rows: Rows of the piece.
        moments: Moments of each channel; None where exact counts give them, and for non-numbers.
        keys: Keys of the values, `channel * span + key`.
        counts: How often each key came.
        near: Keys and counts of the values minus the field's centers.
        values: The distinct values; None if they are not counted, or too many.
        ones: How often each element is the 1 of a one-hot row; None if a row is none.
    """

    rows: int
    moments: Moments | None = None
    keys: npt.NDArray[np.int64] | None = None
    counts: npt.NDArray[np.int64] | None = None
    near: Counted | None = None
    values: ValueCounts | None = None
    ones: npt.NDArray[np.int64] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        known = [self.moments, self.keys, self.counts, self.values, self.ones, *(self.near or ())]
        return sum(array.nbytes for array in known if array is not None)


class FieldAccumulator:
    """Computes statistics of pieces of a field, and merges them.

    `part` may be called in any thread, `add` in one.

    Args:
        field: The field.
        limit: How many distinct values are counted.
        first: The first rows of the field, from which centers are chosen.

    Attributes:
        field: The field.
        native: The dtype in which statistics are computed.
        rows: Rows that were added so far.
        channels: Size of the last axis, 1 without one.
        exact: Whether values are of 8 or 16 bits, which are counted one by one.
        span: How many keys a channel has.
        count_groups: Channels that are counted separately; 1 if one count covers all.
        key_counts: How often each key came.
        moments: Moments of each channel, or of all as one; None as in `PartialStats`.
        centers: For channels whose values lie so close to a large number that logarithmic bins are
            coarse: that number. Distances to it are counted as well.
        near: Key counts of those distances.
        distinct: The distinct values, for fields of one value a sample.
        ones: How often each element is the 1 of a one-hot row; None if not all rows are one-hot.
    """

    def __init__(self, field: Field, limit: int, first: Array | None = None) -> None:
        self.field = field
        self.rows = 0
        kind, size = field.dtype.kind, field.dtype.itemsize
        # Floats of more bits than 64 lose the last of them.
        self.native = np.dtype(np.float64) if kind == "f" and size > 8 else field.dtype
        self.native = self.native.newbyteorder("=")
        self.number = kind in "biuf" and field.nbytes > 0
        self.channels = field.shape[-1] if field.shape else 1
        self.exact = self.number and size <= 2
        self.span = key_counts.SMALL_KEYS if self.exact else key_counts.FLOAT_KEYS
        self.count_groups = self.channels if self.channels <= MOST_COUNTED_CHANNELS else 1
        self.key_counts = KeyCounts(self.count_groups * self.span)
        self.moments: Moments | None = None
        self.centers: dict[int, Any] = {}
        if (
            first is not None
            and self.number
            and not self.exact
            and self.count_groups == self.channels
        ):
            self.centers = _centers(self._columns(first.astype(self.native)))
        self.near = KeyCounts(len(self.centers) * key_counts.FLOAT_KEYS)
        single = field.shape in ((), (1,)) and (self.number or kind in "SU")
        self.distinct = DistinctCounts(limit) if single else None
        self._hot = self.number and len(field.shape) == 1 and self.channels > 1
        self.ones: npt.NDArray[np.int64] | None = None

    def part(self, array: Array) -> PartialStats:
        """The statistics of a piece `(rows, *shape)` of the field."""
        array = np.ascontiguousarray(array, self.native)
        rows = len(array)
        values = None
        if not self.number:
            if self.distinct is not None and not self.distinct.too_many:
                values = values_of(array.reshape(-1), self.distinct.limit)
            return PartialStats(rows, values=values)
        ones = one_hot(array) if self._hot else None
        if self.exact:
            keys, counts = key_counts.count_small(array.reshape(-1, self.count_groups).T)
            # With counts for each channel, exact moments follow from them.
            if self.count_groups == self.channels or self.channels > MOST_CHANNELS:
                return PartialStats(rows, None, keys, counts, ones=ones)
            return PartialStats(rows, column_moments(self._columns(array)), keys, counts, ones=ones)
        columns = self._columns(array)
        moments = column_moments(columns)
        keys, counts, values = self._count_large(columns, moments)
        if values is None and self.distinct is not None and not self.distinct.too_many:
            values = values_of(array.reshape(-1), self.distinct.limit)
        return PartialStats(rows, moments, keys, counts, self._near(columns, moments), values, ones)

    def add(self, part: PartialStats) -> None:
        """Merges the statistics of a piece; pieces come in row order."""
        first = not self.rows
        self.rows += part.rows
        if part.moments is not None:
            self.moments = part.moments if first else self.moments.merged(part.moments)  # type: ignore[union-attr]
        if part.keys is not None and part.counts is not None:
            self.key_counts.add(part.keys, part.counts)
        if part.near is not None:
            self.near.add(*part.near)
        if self.distinct is not None and not self.exact:
            self.distinct.add(part.values)
        if self._hot:
            self._hot = part.ones is not None
            if part.ones is None or first:
                self.ones = part.ones
            else:
                self.ones = self.ones + part.ones  # type: ignore[operator]

    def _columns(self, array: Array) -> Array:
        """A piece as `(channels, values)`."""
        channels = self.channels if self.channels <= MOST_CHANNELS else 1
        return np.ascontiguousarray(array.reshape(-1, channels).T)

    def _count_large(self, columns: Array, moments: Moments) -> tuple[Any, Any, ValueCounts | None]:
        """Keys and their counts; and the distinct values where they are a by-product."""
        low, high = moments.low, moments.high
        if self.count_groups != len(columns):
            columns = columns.reshape(self.count_groups, -1)
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        if columns.dtype.kind == "f" or not _near(low, high):
            others = columns.size - int(moments.count.sum())
            return *key_counts.count_floats(columns, others), None
        # Integers in a narrow range are sorted as 16-bit distances from the least one.
        column, key, counts = key_counts.runs((columns - low[:, None]).astype(np.uint16))
        values = low[column] + key.astype(low.dtype)
        distinct = None
        if self.distinct is not None and len(values) <= self.distinct.limit:
            distinct = ValueCounts(values, counts)
        return column * self.span + key_counts.bins_of(values), counts, distinct

    def _near(self, columns: Array, moments: Moments) -> Counted | None:
        """Key counts of the distances to the centers."""
        if not self.centers:
            return None
        some = list(self.centers)
        centers = np.array(list(self.centers.values()), columns.dtype)
        apart = relative(columns[some], centers, moments.low[some], moments.high[some])
        return key_counts.count_floats(apart, apart.size - int(moments.count[some].sum()))


def _centers(columns: Array) -> dict[int, Any]:
    """The least value of each row whose values are all far larger than their range."""
    found = {}
    for channel, values in enumerate(columns):
        finite = values[np.isfinite(values)]
        if len(finite):
            low, high = float(finite.min()), float(finite.max())
            near, far = sorted((abs(low), abs(high)))
            if near > _FAR * (high - low) and far < _LARGEST_CENTER:
                found[channel] = finite.min()
    return found


def column_moments(columns: Array) -> Moments:
    """The moments of each row of an array, computed blockwise."""
    step = max(1, BLOCK // len(columns))
    starts = range(0, columns.shape[1], step)
    return reduce(Moments.merged, (moments_of(columns[:, a : a + step]) for a in starts))


def _near(low: Array, high: Array) -> bool:
    """Whether integers span less than 2**16; unsigned differences wrap around correctly."""
    return bool((high.astype(np.uint64) - low.astype(np.uint64) < key_counts.SMALL_KEYS).all())
