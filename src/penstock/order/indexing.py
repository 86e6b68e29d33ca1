"""The rows that an index names, as NumPy would take them."""

from typing import Any

import numpy as np

from penstock.spec import Indices


def positions_of(index: Any, n: int) -> tuple[Indices, bool]:
    """The rows of `n` that NumPy would take for `index`, and whether it names a single one.

    Raises:
        IndexError: If a row is out of range, or the index is of another kind.
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(n)), False
    if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
        if not -n <= index < n:
            raise IndexError(f"row {index} is out of range for {n} rows")
        return np.array([index % n], np.int64), True
    array = np.asarray(index)
    if isinstance(index, tuple) or array.ndim != 1:
        raise IndexError(
            "Expected an integer, a slice, a list or array of integers, or a boolean mask. "
            f"Received: {index!r}"
        )
    if array.dtype == bool:
        if len(array) != n:
            raise IndexError(f"The mask has {len(array)} values for {n} rows")
        return np.flatnonzero(array), False
    if len(array) == 0:
        return np.empty(0, np.int64), False
    if array.dtype.kind not in "iu":
        raise IndexError(f"Expected integers as row numbers. Received: {array.dtype}")
    outside = array[(array < -n) | (array >= n)]
    if len(outside):
        raise IndexError(f"row {outside[0]} is out of range for {n} rows")
    array = array.astype(np.int64)
    return np.where(array < 0, array + n, array), False
