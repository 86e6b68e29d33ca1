"""Counts of integer keys: exact for values of 8 and 16 bits, logarithmic bins for all others.

A value of 8 or 16 bits is its own key. All others are counted under sign, exponent and the
first 7 bits of the mantissa of their float64: a histogram whose bins grow with the value, as in
DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019). Counts add up, so nothing depends on the order of merging.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Keys = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]

SMALL_KEYS = 1 << 16
"""Keys of values of 16 bits."""

FLOAT_KEYS = 1 << 19
"""Keys of all others."""

_MANTISSA_BITS = 7
_SHIFT = 52 - _MANTISSA_BITS
_SIGN = FLOAT_KEYS >> 1
_PAGE_BITS = 8
_PAGE = 1 << _PAGE_BITS

# Upper bits of float32, unsigned: of the least value that has a full mantissa, and of infinity.
_SIZE, _NORMAL, _INFINITE = 0x7FFF, 0x0080, 0x7F80


class KeyCounts:
    """Counts per key, stored in pages of 256 keys, of which only those in use are allocated.

    Args:
        keys: How many keys there are: `0 .. keys - 1`.
    """

    def __init__(self, keys: int) -> None:
        self._page_of = np.full(-(-keys // _PAGE), -1, np.int64)
        self._counts = np.zeros((0, _PAGE), np.int64)
        self._pages = 0

    def add(self, keys: Keys, counts: Counts) -> None:
        """Adds counts; a key may come more than once."""
        pages = keys >> _PAGE_BITS
        places = self._page_of[pages]
        if (places < 0).any():
            new = np.unique(pages[places < 0])
            needed = self._pages + len(new)
            if needed > len(self._counts):
                grown = np.zeros((max(needed, 2 * len(self._counts)), _PAGE), np.int64)
                grown[: self._pages] = self._counts[: self._pages]
                self._counts = grown
            self._page_of[new] = np.arange(self._pages, needed)
            self._pages = needed
            places = self._page_of[pages]
        np.add.at(self._counts.reshape(-1), (places << _PAGE_BITS) + (keys & _PAGE - 1), counts)

    def between(self, start: int, stop: int) -> tuple[Keys, Counts]:
        """The keys `start .. stop - 1` that were counted, ascending, and their counts.

        Both are multiples of 256.
        """
        pages = np.arange(start // _PAGE, stop // _PAGE)
        pages = pages[self._page_of[pages] >= 0]
        counts = self._counts[self._page_of[pages]]
        page, place = np.nonzero(counts)
        return pages[page] * _PAGE + place, counts[page, place]


def runs(keys: npt.NDArray[Any]) -> tuple[Keys, Keys, Counts]:
    """Counts equal keys in each row of an array `(columns, values)`, which is sorted in place.

    NumPy sorts 8 and 16 bits by radix, in a time that does not depend on the values, and without
    the GIL, which `bincount` would hold.

    Args:
        keys: `uint8` or `uint16`.

    Returns:
        Columns, keys and counts.
    """
    keys.sort(axis=1, kind="stable")
    columns, values = keys.shape
    flat = keys.reshape(-1)
    last = np.empty(flat.shape, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=last[:-1])
    last[values - 1 :: values] = True
    ends = np.flatnonzero(last)
    inside = np.searchsorted(ends, np.arange(1, columns + 1) * values)
    column = np.repeat(np.arange(columns), np.diff(inside, prepend=0))
    return column, flat[ends].astype(np.int64), np.diff(ends, prepend=-1)


def count_small(columns: Array) -> tuple[Keys, Counts]:
    """Counts the values of each row of an array `(columns, values)` of 8 or 16 bits.

    Returns:
        Keys `column * SMALL_KEYS + bits`, and counts.
    """
    bits = np.dtype(f"u{columns.dtype.itemsize}")
    column, key, counts = runs(np.array(columns.view(bits), order="C"))
    return column * SMALL_KEYS + key, counts


def count_floats(columns: Array, others: int) -> tuple[Keys, Counts]:
    """Counts the finite values of each row of an array `(columns, values)` in bins.

    Args:
        columns: Numbers of more than 16 bits.
        others: How many of them are not finite.

    Returns:
        Keys `column * FLOAT_KEYS + bin`, and counts.
    """
    column, key, counts = runs(_upper_bits(columns))
    if _beyond_singles(columns, key & _SIZE, counts, others):
        return _count_any(columns)
    return _in_bins(column, key, counts)


def _upper_bits(columns: Array) -> npt.NDArray[np.uint16]:
    """Sign, exponent and the first 7 bits of the mantissa, as float32 has them."""
    with np.errstate(over="ignore"):
        singles = columns.astype(np.float32, copy=False)
    return np.array(singles.view("<u2")[:, 1::2], np.uint16, order="C")


def _in_bins(column: Keys, key: Keys, counts: Counts) -> tuple[Keys, Counts]:
    """Converts upper bits to keys; values that are not finite are left out."""
    size = key & _SIZE
    kept = size < _INFINITE
    bins = np.where(size < _NORMAL, 0, size + (1023 - 127 << _MANTISSA_BITS)) + (key >> 15) * _SIGN
    return (column * FLOAT_KEYS + bins)[kept], counts[kept]


def _beyond_singles(columns: Array, size: Keys, counts: Counts, others: int) -> bool:
    """Whether there are finite values that float32 does not hold with all bits of its mantissa."""
    if columns.dtype.kind != "f":
        return False
    if int(counts[size >= _INFINITE].sum()) != others:
        return True
    small = int(counts[size < _NORMAL].sum())
    return bool(small and small != columns.size - np.count_nonzero(columns))


def _count_any(columns: Array) -> tuple[Keys, Counts]:
    """As `count_floats`, for values of any size."""
    finite = np.isfinite(columns)
    size = np.abs(columns)
    beyond = finite & (((size < 2.0**-126) & (size > 0)) | (size > np.finfo(np.float32).max))
    keys = _upper_bits(columns)
    # Marked as infinite, which _in_bins leaves out.
    keys[beyond] = _INFINITE
    found, counts = _in_bins(*runs(keys))
    where, _ = np.nonzero(beyond)
    odd = where * FLOAT_KEYS + bins_of(columns[beyond])
    return np.append(found, odd), np.append(counts, np.ones(len(odd), np.int64))


def bins_of(values: Array) -> Keys:
    """The bin of each finite value."""
    bits = np.ascontiguousarray(values, np.float64).view(np.int64)
    bins = bits >> _SHIFT & _SIGN - 1
    return np.where(bits < 0, bins + _SIGN, bins)


def bounds_of(bins: Keys) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The lower and upper bound of each bin; the bin of 0 holds only 0."""
    size = bins % _SIGN
    near = (size << _SHIFT).view(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.where(size == 0, 0.0, (size + 1 << _SHIFT).view(np.float64))
    negative = bins >= _SIGN
    return np.where(negative, -far, near), np.where(negative, -near, far)
