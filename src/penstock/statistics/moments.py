"""Count, mean and squared deviations of columns of numbers, in parts that merge."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_APART = 2.0**62
"""Integers of 64 bits that are less far apart than this are subtracted exactly."""


@dataclass(frozen=True)
class Moments:
    """What is known of the finite values of some columns.

    Means are kept relative to a value of the column itself where float64 does not hold all values,
    as for integers near 2**63. Parts are merged by the pairwise update of Chan, Golub and LeVeque,
    "Updating formulae and a pairwise algorithm for computing sample variances" (1979), which
    does not cancel where a sum of squares would.

    Attributes:
        count: Finite values, `(columns,)` like all others.
        missing: Values that are NaN.
        infinite: Values that are infinite.
        low: The least finite value, in the dtype of the values.
        high: The largest finite value.
        pivot: What `mean` is relative to, for integers of 64 bits; None stands for 0.
        mean: Mean of the finite values; 0 where there are none.
        squares: Sum of squared deviations from the mean.
    """

    count: Counts
    missing: Counts
    infinite: Counts
    low: Array
    high: Array
    pivot: Array | None
    mean: Floats
    squares: Floats

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if array is not None)

    def merged(self, other: "Moments") -> "Moments":
        """The moments of the values of both."""
        count = self.count + other.count
        step = other.mean - self.mean
        if self.pivot is not None and other.pivot is not None:
            step = step + distance(self.pivot, other.pivot)
        some = np.maximum(count, 1)
        both = (self.count > 0) & (other.count > 0)
        with np.errstate(over="ignore", invalid="ignore"):
            between = np.where(both, step * step * (self.count * (other.count / some)), 0.0)
            return Moments(
                count=count,
                missing=self.missing + other.missing,
                infinite=self.infinite + other.infinite,
                low=np.minimum(self.low, other.low),
                high=np.maximum(self.high, other.high),
                pivot=self.pivot,
                mean=self.mean + step * (other.count / some),
                squares=self.squares + other.squares + between,
            )

    def together(self) -> "Moments":
        """The moments of all columns as one."""
        count = self.count.sum(keepdims=True)
        some = np.maximum(count, 1)
        mean, pivot = self.mean, None
        if self.pivot is not None:
            pivot = self.pivot[:1]
            mean = mean + distance(pivot, self.pivot)
        # Relative to the first column that has values, so that large means do not cancel.
        base = mean[np.argmax(self.count > 0)]
        with np.errstate(over="ignore", invalid="ignore"):
            step = np.where(self.count > 0, mean - base, 0.0)
            ahead = (step * (self.count / some)).sum(keepdims=True)
            between = self.count * (step - ahead) ** 2
            squares = (self.squares + np.where(self.count > 0, between, 0.0)).sum(keepdims=True)
        return Moments(
            count=count,
            missing=self.missing.sum(keepdims=True),
            infinite=self.infinite.sum(keepdims=True),
            low=self.low.min(keepdims=True),
            high=self.high.max(keepdims=True),
            pivot=pivot,
            mean=base + ahead,
            squares=squares,
        )


def moments_of(columns: Array) -> Moments:
    """The moments of each row of an array `(columns, values)` of integers or floats."""
    if columns.dtype.kind != "f" and columns.dtype.itemsize == 8:
        low, high = columns.min(axis=1), columns.max(axis=1)
        pivot = columns[:, 0].copy()
        values = relative(columns, pivot, low, high)
        return _of_finite(values, low, high, pivot)
    values = columns.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum(axis=1)
    if not np.isfinite(total).all():
        return _of_any(columns, values)
    return _of_finite(values, columns.min(axis=1), columns.max(axis=1), None, total)


def _of_finite(
    values: Floats, low: Array, high: Array, pivot: Array | None, total: Floats | None = None
) -> Moments:
    """Moments where every value is finite; `values` is written to."""
    columns, rows = values.shape
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (values.sum(axis=1) if total is None else total) / rows
        values -= mean[:, None]
    nothing = np.zeros(columns, np.int64)
    count = np.full(columns, rows, np.int64)
    left, squares = _around_mean(values, count)
    return Moments(count, nothing, nothing, low, high, pivot, mean + left, squares)


def _of_any(columns: Array, values: Floats) -> Moments:
    """Moments of the finite values among others; `values` is written to."""
    finite = np.isfinite(values)
    missing = np.isnan(values).sum(axis=1)
    count = finite.sum(axis=1)
    some = np.maximum(count, 1)
    values[~finite] = 0
    with np.errstate(over="ignore", invalid="ignore"):
        # Divided first: the sum of values near the largest float would be infinite.
        mean = (values / some[:, None]).sum(axis=1)
        values -= mean[:, None]
        values[~finite] = 0
    left, squares = _around_mean(values, some)
    return Moments(
        count=count,
        missing=missing,
        infinite=columns.shape[1] - count - missing,
        low=columns.min(axis=1, where=finite, initial=np.inf),
        high=columns.max(axis=1, where=finite, initial=-np.inf),
        pivot=None,
        mean=mean + left,
        squares=squares,
    )


def _around_mean(values: Floats, count: Counts) -> tuple[Floats, Floats]:
    """What rounding left of the mean of values less their mean, and the sum of their squares."""
    with np.errstate(over="ignore", invalid="ignore"):
        left = values.sum(axis=1) / count
        squares = np.einsum("ij,ij->i", values, values) - count * left * left
    # Values that are further apart than the largest float have no mean that could be corrected.
    left[~np.isfinite(left)] = 0
    squares[np.isnan(squares)] = np.inf
    return left, np.maximum(squares, 0)


def relative(columns: Array, pivot: Array, low: Array, high: Array) -> Floats:
    """Columns less their pivots, as float64.

    Args:
        columns: `(columns, values)`.
        pivot: Of each column, of the same dtype.
        low: The least value of each.
        high: The largest.
    """
    whole = columns.dtype.kind != "f" and columns.dtype.itemsize == 8
    if whole:
        least, most = np.minimum(low, pivot), np.maximum(high, pivot)
        if (most.astype(np.float64) - least.astype(np.float64) < _APART).all():
            # Differences that fit are right although the subtraction may wrap around.
            apart: Floats = (columns - pivot[:, None]).view(np.int64).astype(np.float64)
            return apart
    floats: Floats = columns.astype(np.float64)
    with np.errstate(over="ignore"):
        return floats - pivot.astype(np.float64)[:, None]


def distance(a: Array, b: Array) -> Floats:
    """`b - a` of integers of 64 bits, as float64."""
    far = b.astype(np.float64) - a.astype(np.float64)
    near = (b - a).view(np.int64).astype(np.float64)
    return np.where(np.abs(far) < _APART, near, far)
