"""Counts of distinct values, exact up to a limit, and detection of one-hot rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_FIRST = 1 << 12
"""Values that are looked at first, to detect too many distinct ones early."""

_FIRST_ROWS = 16
"""Rows that are looked at first, to detect early that they are not one-hot."""


@dataclass(frozen=True)
class ValueCounts:
    """Distinct values, ascending, and how often each came."""

    values: Array
    counts: npt.NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.values.nbytes + self.counts.nbytes


class DistinctCounts:
    """Counts of the distinct values of a field.

    Attributes:
        limit: Most distinct values that are counted.
        too_many: Whether there are more. Once True it stays True, so other threads may read it
            at any time and stop counting.
        counts: How often each value came.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.too_many = False
        self.counts: dict[Any, int] = {}

    def add(self, found: ValueCounts | None) -> None:
        """Adds the counts of a piece; None if it has too many distinct values."""
        if found is not None and not self.too_many:
            for value, count in zip(found.values.tolist(), found.counts.tolist(), strict=True):
                self.counts[value] = self.counts.get(value, 0) + count
        if found is None or len(self.counts) > self.limit:
            self.too_many = True
            self.counts.clear()


def values_of(flat: Array, limit: int) -> ValueCounts | None:
    """The distinct values of an array `(values,)`, NaN left out; None if more than `limit`."""
    if len(np.unique(flat[:_FIRST], equal_nan=True)) > limit + 1:
        return None
    if flat.dtype.kind == "f":
        # Adding 0 makes one value of 0.0 and -0.0.
        flat = flat[~np.isnan(flat)] + flat.dtype.type(0)
    values, counts = np.unique(flat, return_counts=True)
    return ValueCounts(values, counts) if len(values) <= limit else None


def one_hot(rows: Array) -> npt.NDArray[np.int64] | None:
    """How often each element of an array `(rows, elements)` is the 1 of its row.

    None, unless each row is a 1 among zeros.
    """
    for some in (rows[:_FIRST_ROWS], rows):
        ones = some == 1
        if np.count_nonzero(some) != len(some) or not (np.count_nonzero(ones, axis=1) == 1).all():
            return None
    counts: npt.NDArray[np.int64] = np.count_nonzero(ones, axis=0).astype(np.int64)
    return counts
