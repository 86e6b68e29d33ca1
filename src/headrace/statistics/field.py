"""Accumulates the statistics of one field from pieces of its rows."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.spec import Field
from headrace.statistics import tally
from headrace.statistics.distinct import Distinct, Values, one_hot, values_of
from headrace.statistics.moments import Moments, moments_of, relative
from headrace.statistics.tally import Tally

Array = npt.NDArray[Any]
Counted = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

MOST_TALLIES = 256
"""Channels whose values are counted one by one; of more, the values of all are counted together."""

MOST_CHANNELS = 1 << 16
"""Channels whose mean is known; a piece of more would hardly be larger than its statistics."""

FIRST_ROWS = 64
"""Rows from which centers are chosen."""

_FAR = 2
"""Values this many times larger than their spread lie in less than 64 bins."""

_LARGEST_CENTER = 1e290
"""Less than half of the last bit of the largest float, which so stays finite without it."""

BLOCK = 1 << 16
"""Values that are worked on at a time: in float64 they stay in the processor's cache."""


@dataclass(frozen=True)
class PartialStats:
    """What a piece of a field comes to.

    Attributes:
        rows: Of the piece.
        moments: Of each channel; None where the counts tell them, and for what is no number.
        keys: Of the values, `channel * span + key`.
        counts: Of the keys.
        near: Keys and counts of the same values less the field's centers.
        values: The distinct values; None if they are not counted, or too many.
        ones: How often each element is the 1 of a one-hot row; None if a row is none.
    """

    rows: int
    moments: Moments | None = None
    keys: npt.NDArray[np.int64] | None = None
    counts: npt.NDArray[np.int64] | None = None
    near: Counted | None = None
    values: Values | None = None
    ones: npt.NDArray[np.int64] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        known = [self.moments, self.keys, self.counts, self.values, self.ones, *(self.near or ())]
        return sum(array.nbytes for array in known if array is not None)


class FieldWork:
    """Turns pieces of a field into parts, and adds parts up.

    `part` may be called in any thread, `add` in one.

    Args:
        field: Whose.
        limit: How many distinct values are counted.
        first: The first rows of it, from which centers are chosen.

    Attributes:
        field: Whose.
        native: The dtype in which its values are worked on.
        rows: Added up so far.
        channels: Size of the last axis, 1 without one.
        exact: Whether values are of 8 or 16 bits, which are counted one by one.
        span: Keys of a channel.
        tallies: Channels whose values are counted apart; 1 if all are counted together.
        tally: The counts.
        moments: Of each channel, or of all together; None as in `PartialStats`.
        centers: What values of some channels lie near to, by channel: close enough that bins which
            grow with the value would be coarse. Those are counted by their distance as well.
        near: The counts of the distances.
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
        self.span = tally.SMALL_KEYS if self.exact else tally.FLOAT_KEYS
        self.tallies = self.channels if self.channels <= MOST_TALLIES else 1
        self.tally = Tally(self.tallies * self.span)
        self.moments: Moments | None = None
        self.centers: dict[int, Any] = {}
        if first is not None and self.number and not self.exact and self.tallies == self.channels:
            self.centers = _centers(self._columns(first.astype(self.native)))
        self.near = Tally(len(self.centers) * tally.FLOAT_KEYS)
        single = field.shape in ((), (1,)) and (self.number or kind in "SU")
        self.distinct = Distinct(limit) if single else None
        self._hot = self.number and len(field.shape) == 1 and self.channels > 1
        self.ones: npt.NDArray[np.int64] | None = None

    def part(self, array: Array) -> PartialStats:
        """What a piece `(rows, *shape)` of the field comes to."""
        array = np.ascontiguousarray(array, self.native)
        rows = len(array)
        values = None
        if not self.number:
            if self.distinct is not None and not self.distinct.too_many:
                values = values_of(array.reshape(-1), self.distinct.limit)
            return PartialStats(rows, values=values)
        ones = one_hot(array) if self._hot else None
        if self.exact:
            keys, counts = tally.count_small(array.reshape(-1, self.tallies).T)
            # With a tally for each channel, the counts tell the moments, and exactly.
            if self.tallies == self.channels or self.channels > MOST_CHANNELS:
                return PartialStats(rows, None, keys, counts, ones=ones)
            return PartialStats(rows, column_moments(self._columns(array)), keys, counts, ones=ones)
        columns = self._columns(array)
        moments = column_moments(columns)
        keys, counts, values = self._count_large(columns, moments)
        if values is None and self.distinct is not None and not self.distinct.too_many:
            values = values_of(array.reshape(-1), self.distinct.limit)
        return PartialStats(rows, moments, keys, counts, self._near(columns, moments), values, ones)

    def add(self, part: PartialStats) -> None:
        """Adds a part; parts come in the order of their rows."""
        first = not self.rows
        self.rows += part.rows
        if part.moments is not None:
            self.moments = part.moments if first else self.moments.merged(part.moments)  # type: ignore[union-attr]
        if part.keys is not None and part.counts is not None:
            self.tally.add(part.keys, part.counts)
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

    def _count_large(self, columns: Array, moments: Moments) -> tuple[Any, Any, Values | None]:
        """Keys and their counts; and the distinct values, if they are known as well."""
        low, high = moments.low, moments.high
        if self.tallies != len(columns):
            columns = columns.reshape(self.tallies, -1)
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        if columns.dtype.kind == "f" or not _near(low, high):
            others = columns.size - int(moments.count.sum())
            return *tally.count_floats(columns, others), None
        # Integers that lie close together are sorted by their distance, in 16 bits.
        column, key, counts = tally.runs((columns - low[:, None]).astype(np.uint16))
        values = low[column] + key.astype(low.dtype)
        distinct = None
        if self.distinct is not None and len(values) <= self.distinct.limit:
            distinct = Values(values, counts)
        return column * self.span + tally.bins_of(values), counts, distinct

    def _near(self, columns: Array, moments: Moments) -> Counted | None:
        """Counts of distances to the centers."""
        if not self.centers:
            return None
        some = list(self.centers)
        centers = np.array(list(self.centers.values()), columns.dtype)
        apart = relative(columns[some], centers, moments.low[some], moments.high[some])
        return tally.count_floats(apart, apart.size - int(moments.count[some].sum()))


def _centers(columns: Array) -> dict[int, Any]:
    """The least value of each row of an array, if all are far larger than their spread."""
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
    """The moments of each row of an array, some of it at a time."""
    step = max(1, BLOCK // len(columns))
    starts = range(0, columns.shape[1], step)
    return reduce(Moments.merged, (moments_of(columns[:, a : a + step]) for a in starts))


def _near(low: Array, high: Array) -> bool:
    """Whether integers are less than 2**16 apart; differences wrap around, and are right."""
    return bool((high.astype(np.uint64) - low.astype(np.uint64) < tally.SMALL_KEYS).all())
