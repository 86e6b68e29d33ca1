"""Mergeable moments of columns of numbers: count, mean and squared deviations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_APART = 2.0**62
"""64-bit integers with a range below this are subtracted exactly."""

_TAIL = 2047
"""Mask of the low bits of a 64-bit integer; without them float64 holds it exactly."""


@dataclass(frozen=True)
class Moments:
    """Moments of the finite values of each column.

    Parts are merged by the pairwise update of Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances" (1979), which does not cancel where a
    sum of squares would. Means are sums of two floats (Dekker, "A floating-point technique for
    extending the available precision", 1971): one float could not tell
    apart the means of two parts that are close to each other, as with integers near 2**63.

    Attributes:
        count: Finite values, `(columns,)` like all others.
        missing: Values that are NaN.
        infinite: Values that are infinite.
        low: The least finite value, in the dtype of the values.
        high: The largest finite value.
        mean: Mean of the finite values, to float64 precision; 0 where there are none.
        rest: Correction to add to `mean`, its rounding error.
        squares: Sum of squared deviations from the mean.
    """

    count: Counts
    missing: Counts
    infinite: Counts
    low: Array
    high: Array
    mean: Floats
    rest: Floats
    squares: Floats

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values())

    def merged(self, other: "Moments") -> "Moments":
        """The moments of the values of both."""
        count = self.count + other.count
        both = (self.count > 0) & (other.count > 0)
        with np.errstate(over="ignore", invalid="ignore"):
            share = other.count / np.maximum(count, 1)
            step = (other.mean - self.mean) + (other.rest - self.rest)
            mean, rest = _two_sum(self.mean, step * share)
            between = np.where(both, step * step * (self.count * share), 0.0)
        return Moments(
            count=count,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            mean=mean,
            rest=self.rest + rest,
            squares=self.squares + other.squares + between,
        )

    def combined(self) -> "Moments":
        """The moments of all columns as one."""
        count = self.count.sum(keepdims=True)
        some = np.maximum(count, 1)
        there = self.count > 0
        # Relative to the first column that has values, so that large means do not cancel.
        first = np.argmax(there)
        with np.errstate(over="ignore", invalid="ignore"):
            step = (self.mean - self.mean[first]) + (self.rest - self.rest[first])
            step = np.where(there, step, 0.0)
            ahead = (step * (self.count / some)).sum(keepdims=True)
            between = np.where(there, self.count * (step - ahead) ** 2, 0.0)
            mean, rest = _two_sum(self.mean[first], ahead)
        return Moments(
            count=count,
            missing=self.missing.sum(keepdims=True),
            infinite=self.infinite.sum(keepdims=True),
            low=self.low.min(keepdims=True),
            high=self.high.max(keepdims=True),
            mean=mean,
            rest=self.rest[first] + rest,
            squares=(self.squares + between).sum(keepdims=True),
        )


def moments_of(columns: Array) -> Moments:
    """The moments of each row of an array `(columns, values)` of integers or floats."""
    if _is_long(columns):
        return _of_long(columns)
    values = columns.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = values.sum(axis=1) / columns.shape[1]
    if not np.isfinite(mean).all():
        return _of_any(columns, values)
    count = np.full(len(columns), columns.shape[1], np.int64)
    rest, squares = _around(values, mean, count)
    low, high = columns.min(axis=1), columns.max(axis=1)
    nothing = np.zeros(len(columns), np.int64)
    return Moments(count, nothing, nothing, low, high, mean, rest, squares)


def _of_long(columns: Array) -> Moments:
    """Moments of integers of 64 bits, of which float64 does not hold all."""
    low, high = columns.min(axis=1), columns.max(axis=1)
    pivot = columns[:, 0].copy()
    values = relative(columns, pivot, low, high)
    count = np.full(len(columns), columns.shape[1], np.int64)
    apart = values.sum(axis=1) / count
    rest, squares = _around(values, apart, count)
    tail = pivot & pivot.dtype.type(_TAIL)
    mean, error = _two_sum((pivot - tail).astype(np.float64), apart)
    nothing = np.zeros(len(columns), np.int64)
    rest = rest + error + tail
    return Moments(count, nothing, nothing, low, high, mean, rest, squares)


def _of_any(columns: Array, values: Floats) -> Moments:
    """Moments of the finite values among others; `values` is written to."""
    finite = np.isfinite(values)
    missing = np.isnan(values).sum(axis=1)
    count = finite.sum(axis=1)
    some = np.maximum(count, 1)
    values[~finite] = 0
    # Divided first: the sum of values near the largest float would be infinite.
    mean = (values / some[:, None]).sum(axis=1)
    rest, squares = _around(values, mean, some, finite)
    return Moments(
        count=count,
        missing=missing,
        infinite=columns.shape[1] - count - missing,
        low=columns.min(axis=1, where=finite, initial=np.inf),
        high=columns.max(axis=1, where=finite, initial=-np.inf),
        mean=mean,
        rest=rest,
        squares=squares,
    )


def _around(
    values: Floats, mean: Floats, count: Counts, used: npt.NDArray[np.bool_] | None = None
) -> tuple[Floats, Floats]:
    """The rounding error of the means, and the squared deviations from the corrected means.

    Args:
        values: `(columns, values)`; they are written to.
        mean: Of each column.
        count: Values in each.
        used: Which values count; all by default.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values -= mean[:, None]
        if used is not None:
            values[~used] = 0
        rest = values.sum(axis=1) / count
        squares = np.einsum("ij,ij->i", values, values) - count * rest * rest
    # Values that are further apart than the largest float have no mean that could be corrected.
    rest[~np.isfinite(rest)] = 0
    squares[np.isnan(squares)] = np.inf
    return rest, np.maximum(squares, 0)


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded sum and its rounding error (Knuth, 1969)."""
    total = a + b
    part = total - a
    return total, np.nan_to_num((a - (total - part)) + (b - part))


def relative(columns: Array, pivot: Array, low: Array, high: Array) -> Floats:
    """Columns minus their pivots, as float64.

    Args:
        columns: `(columns, values)`.
        pivot: Of each column, of the same dtype.
        low: The least value of each.
        high: The largest.
    """
    if _is_long(columns):
        least, most = np.minimum(low, pivot), np.maximum(high, pivot)
        if (most.astype(np.float64) - least.astype(np.float64) < _APART).all():
            # Differences that fit are right although the subtraction may wrap around.
            apart: Floats = (columns - pivot[:, None]).view(np.int64).astype(np.float64)
            return apart
    floats: Floats = columns.astype(np.float64)
    with np.errstate(over="ignore"):
        floats -= pivot.astype(np.float64)[:, None]
    return floats


def _is_long(columns: Array) -> bool:
    return columns.dtype.kind in "iu" and columns.dtype.itemsize == 8
