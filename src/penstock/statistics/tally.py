"""Values counted under whole-number keys: exactly where they are small, else in fine bins.

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

_MANTISSA = 7
_SHIFT = 52 - _MANTISSA
_SIGN = FLOAT_KEYS >> 1
_PAGE = 256

_LEAST = np.float32(2.0**-126)
"""Smaller float32 values have fewer bits of mantissa than others."""


class Tally:
    """Counts of keys, in memory for those pages of 256 keys that were met.

    Args:
        keys: How many keys there are: `0 .. keys - 1`.
    """

    def __init__(self, keys: int) -> None:
        self._page_of = np.full(-(-keys // _PAGE), -1, np.int32)
        self._counts = np.zeros((0, _PAGE), np.int64)
        self._pages = 0

    def add(self, keys: Keys, counts: Counts) -> None:
        """Adds counts; a key may come more than once."""
        pages = keys // _PAGE
        new = np.unique(pages[self._page_of[pages] < 0])
        if len(new):
            needed = self._pages + len(new)
            if needed > len(self._counts):
                grown = np.zeros((max(needed, 2 * len(self._counts)), _PAGE), np.int64)
                grown[: self._pages] = self._counts[: self._pages]
                self._counts = grown
            self._page_of[new] = np.arange(self._pages, needed)
            self._pages = needed
        places = self._page_of[pages].astype(np.int64) * _PAGE + keys % _PAGE
        np.add.at(self._counts.reshape(-1), places, counts)

    def between(self, start: int, stop: int) -> tuple[Keys, Counts]:
        """The keys `start .. stop - 1` that were counted, ascending, and their counts.

        Both are multiples of 256.
        """
        pages = np.arange(start // _PAGE, stop // _PAGE)
        pages = pages[self._page_of[pages] >= 0]
        counts = self._counts[self._page_of[pages]]
        page, place = np.nonzero(counts)
        return pages[page] * _PAGE + place, counts[page, place]


def runs(keys: npt.NDArray[np.uint16]) -> tuple[Keys, Keys, Counts]:
    """Counts equal keys in each row of an array `(columns, values)`, which is sorted in place.

    NumPy sorts 16 bits by radix, without the GIL, several times as fast as other types.

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
    return ends // values, flat[ends].astype(np.int64), np.diff(ends, prepend=-1)


def count_bytes(flat: npt.NDArray[np.uint8], columns: int) -> tuple[Keys, Counts]:
    """Counts bytes that belong to columns in turn: byte i to column `i % columns`.

    Two neighbours are sorted as one number of 16 bits, which halves the work.

    Returns:
        Keys `column * 65536 + byte`, and counts.
    """
    # After as many pairs, the columns of both bytes come again.
    period = columns if columns % 2 else columns // 2
    whole = len(flat) // (2 * period) * 2 * period
    table = np.zeros(columns * _PAGE, np.int64)
    if whole:
        pairs = flat[:whole].view("<u2").reshape(-1, period)
        place, pair, counts = runs(np.ascontiguousarray(pairs.T, np.uint16))
        for byte, values in enumerate((pair & 255, pair >> 8)):
            np.add.at(table, (2 * place + byte) % columns * _PAGE + values, counts)
    rest = flat[whole:].astype(np.int64)
    np.add.at(table, np.arange(len(rest)) % columns * _PAGE + rest, 1)
    found = np.flatnonzero(table)
    return found // _PAGE * SMALL_KEYS + found % _PAGE, table[found]


def count_floats(columns: Array) -> tuple[Keys, Counts]:
    """Counts the finite values of each row of an array `(columns, values)` in bins.

    Returns:
        Keys `column * FLOAT_KEYS + bin`, and counts.
    """
    with np.errstate(over="ignore"):
        singles = columns.astype(np.float32)
    keys = np.ascontiguousarray(singles.view("<u2")[:, 1::2], np.uint16)
    odd = np.flatnonzero(_beyond_singles(columns, singles))
    # A key that is left out, as those of what is not finite.
    keys.reshape(-1)[odd] = 0x7F80
    column, key, counts = runs(keys)
    size = key & 0x7FFF
    kept = size < 0x7F80
    bins = np.where(size < 0x80, 0, size + (1023 - 127 << _MANTISSA)) + (key >> 15) * _SIGN
    found, counts = (column * FLOAT_KEYS + bins)[kept], counts[kept]
    if not len(odd):
        return found, counts
    others = odd // columns.shape[1] * FLOAT_KEYS + bins_of(columns.reshape(-1)[odd])
    return np.append(found, others), np.append(counts, np.ones(len(odd), np.int64))


def _beyond_singles(columns: Array, singles: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which finite values float32 would not hold with all bits of its mantissa."""
    if columns.dtype.kind != "f":
        return np.zeros(0, np.bool_)
    small = np.abs(singles) < _LEAST
    if np.count_nonzero(small) == columns.size - np.count_nonzero(columns):
        if columns.dtype == np.float32 or np.count_nonzero(np.isinf(singles)) == 0:
            return np.zeros(0, np.bool_)
        small[:] = False
    else:
        small &= columns != 0
    if columns.dtype != np.float32:
        small |= np.isinf(singles) & np.isfinite(columns)
    return small.reshape(-1)


def bins_of(values: Array) -> Keys:
    """The bin of each finite value."""
    bits = np.ascontiguousarray(values, np.float64).view(np.int64)
    bins = bits >> _SHIFT & _SIGN - 1
    return np.where(bits < 0, bins + _SIGN, bins)


def bounds_of(bins: Keys) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The values between which each bin lies; that of 0 is 0 alone."""
    size = bins % _SIGN
    near = (size << _SHIFT).view(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.where(size == 0, 0.0, (size + 1 << _SHIFT).view(np.float64))
    negative = bins >= _SIGN
    return np.where(negative, -far, near), np.where(negative, -near, far)
