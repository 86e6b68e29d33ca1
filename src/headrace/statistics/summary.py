"""`Summary`, `FieldStats` and `Histogram`, computed from counts and moments."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import printable
from headrace.statistics.moments import Moments

Array = npt.NDArray[Any]
Number = int | float

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Histogram:
    """Counts of values that lie in ascending bins.

    Attributes:
        low: Lower bound of each bin: the least value that it may hold.
        high: Upper bound of each bin; equal to `low` where it holds one value.
        counts: Values in it.
        whole: Whether the values are whole numbers, and so `low` and `high`.
        values: The value of each bin in its own dtype, where each bin holds one value; else None.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    whole: bool
    values: Array | None = None

    def __repr__(self) -> str:
        return f"<Histogram of {int(self.counts.sum()):,} values in {len(self.counts):,} bins>"

    @classmethod
    def of_values(cls, values: Array, counts: npt.NDArray[np.int64], whole: bool) -> "Histogram":
        """A histogram with one bin for each of the ascending values."""
        floats = values.astype(np.float64)
        return cls(floats, floats, counts, whole, values)

    def at(self, rank: int) -> tuple[float, float]:
        """Bounds of the value at a rank, counted from 1."""
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        return float(self.low[place]), float(self.high[place])

    def in_bins(self, edges: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Counts between `edges`, `(bins + 1,)`; a bin across an edge is divided evenly."""
        total = int(self.counts.sum())
        # An integer stands for the interval of all values that round to it.
        half = 0.5 if self.whole else 0.0
        low, size = self.low - half, self.high - self.low + 2 * half
        below = []
        for edge in edges.tolist():
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                share = np.where(size > 0, (edge - low) / size, low < edge)
            below.append(float(np.clip(share, 0, 1) @ self.counts))
        # The last bin includes its upper edge.
        below[-1] = total
        return np.diff(np.rint(below)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Statistics of some numbers.

    `min`, `max`, `mean`, `std` and `quantiles` are those of the finite values; they are None, or
    empty, where there are none, and for fields that are not numbers.

    Attributes:
        count: Values that are there: all but `missing`.
        missing: Values that are NaN.
        infinite: Values that are infinite, of `count`.
        min: The least value: an int for integers, else a float.
        max: The largest value, likewise.
        mean: Their mean.
        std: Their standard deviation, as NumPy gives it: of the values themselves (`ddof=0`).
        quantiles: For shares such as 0.5, the median, the least value that so many are not above
            (NumPy's `inverted_cdf`). Exact for values of 8 and 16 bits, and where all distinct
            values were counted; else within 0.4 % of the value. Where the first samples lie close
            together, such as times, within 0.4 % of the distance to them, if that is less (or the
            last bit of a float64).
        histogram: The finite values in the bins that they were counted in; None where there are no
            quantiles.
    """

    count: int
    missing: int = 0
    infinite: int = 0
    min: Number | None = None
    max: Number | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: Mapping[float, Number] = field(default_factory=dict)
    histogram: Histogram | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Summary of {self._numbers()}>"

    def _numbers(self) -> str:
        """Count, mean, standard deviation and range in one line."""
        some = f"{self.count:,} value{'s' * (self.count != 1)}"
        some += f", {self.missing:,} missing" if self.missing else ""
        if self.mean is None:
            return some
        return f"{some}: mean {self.mean:.4g}, std {self.std:.4g}, {self.min} to {self.max}"


@dataclass(frozen=True, kw_only=True)
class FieldStats(Summary):
    """Statistics of one field, over all its values; see `Summary` for the numbers.

    Attributes:
        name: The field's name.
        shape: Shape of one sample.
        dtype: Name of its dtype.
        rows: Samples.
        channels: A `Summary` for each index of the last axis: the channels of images, the features
            of vectors. Empty for fields without an axis, and for more than 65,536 channels;
            without quantiles for more than 256.
        classes: How often each value came, ascending, for fields with one value a sample, which
            may be text (bytes); NaN is left out. For one-hot rows, how often each class came, also
            never. None for other fields, and where there are too many values.
        distinct: How many values, or classes, came; None where `classes` is.
        more_than: The limit, where there are more distinct values than that; else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    rows: int
    channels: tuple[Summary, ...] = ()
    classes: Mapping[Any, int] | None = None
    distinct: int | None = None
    more_than: int | None = None

    def __repr__(self) -> str:
        name = printable(f"{self.name} {self.shape} {self.dtype}")
        return f"<FieldStats of {name}, {self._numbers()}>"


def of_counts(values: Sequence[Number], counts: Sequence[int], scale: int = 1) -> dict[str, Any]:
    """`min`, `max`, `mean` and `std` of ascending values with their counts, exactly.

    Args:
        values: Finite; integers when multiplied with `scale`.
        counts: How often each comes.
        scale: A power of two.
    """
    count = sum(counts)
    if not count:
        return {}
    whole = [int(value * scale) for value in values]
    total = sum(value * times for value, times in zip(whole, counts, strict=True))
    squares = sum(value * value * times for value, times in zip(whole, counts, strict=True))
    variance = Fraction(count * squares - total * total, (count * scale) ** 2)
    return {
        # Adding 0 makes 0.0 of -0.0.
        "min": values[0] + 0,
        "max": values[-1] + 0,
        "mean": float(Fraction(total, count * scale)),
        "std": math.sqrt(variance),
    }


def of_moments(moments: Moments, channel: int) -> dict[str, Any]:
    """`min`, `max`, `mean` and `std` from moments."""
    count = int(moments.count[channel])
    if not count:
        return {}
    return {
        "min": moments.low[channel].item() + 0,
        "max": moments.high[channel].item() + 0,
        "mean": float(moments.mean[channel] + moments.rest[channel]),
        "std": math.sqrt(float(moments.squares[channel]) / count),
    }


def quantiles_of(
    histogram: Histogram, known: Mapping[str, Any], other: Histogram | None = None
) -> dict[float, Number]:
    """The value at each of `QUANTILES`, between the least and the largest value.

    Args:
        histogram: Of the values.
        known: Their `min` and `max`.
        other: The same values in other bins, which may be narrower here or there.
    """
    count = int(histogram.counts.sum())
    found: dict[float, Number] = {}
    for share in QUANTILES if count else ():
        # As a fraction, since 0.95 * 20 need not be 19 in floating point.
        rank = max(1, math.ceil(Fraction(repr(share)) * count))
        if histogram.values is not None:
            place = int(np.searchsorted(np.cumsum(histogram.counts), rank))
            found[share] = histogram.values[place].item()
            continue
        low, high = histogram.at(rank)
        if other is not None:
            least, most = other.at(rank)
            low, high = max(low, least), min(high, most)
        middle = (int(low) + int(high)) // 2 if histogram.whole else low + (high - low) / 2
        found[share] = min(max(middle, known["min"]), known["max"])
    return found
