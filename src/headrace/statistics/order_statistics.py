"""Exact order statistics (values at given ranks) of data larger than memory, by radix selection.

Two or three passes: each one counts the next bits of those values whose leading bits equal those
of a wanted value, for many ranks at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError
from headrace.resources import check_memory
from headrace.statistics.key_counts import runs
from headrace.statistics.scan import Arrays, Scan

Keys = npt.NDArray[np.uint32]
Ranks = npt.NDArray[np.int64]

_SIGN = np.uint32(1 << 31)
_FIRST_BITS = 16


@dataclass(frozen=True)
class _Counts:
    """Keys of a piece and their counts."""

    keys: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.keys.nbytes + self.counts.nbytes


def values_at(scan: Scan, name: str, ranks: Sequence[int], room: int) -> npt.NDArray[np.float32]:
    """The values of those ranks, from 0, among all values of a field as float32.

    Args:
        scan: Reads the field.
        name: Its name.
        ranks: Ascending.
        room: Bytes that counts may take; with more of them two passes are enough.

    Raises:
        DataError: If a value is NaN, which has no rank.
    """
    left = np.array(ranks, np.int64)
    first = np.zeros(1 << _FIRST_BITS, np.int64)
    for found in scan.run(lambda arrays: _count_first(arrays[name], name), "Ranks"):
        first[found.keys] += found.counts
    prefixes, left = _find(np.arange(len(first)), first[None], np.zeros(len(left), np.int64), left)
    bits = _FIRST_BITS
    wide = 8 << 16
    steps = (16,) if len(np.unique(prefixes)) * wide <= room else (8, 8)
    for step in steps:
        bits += step
        wanted, place = np.unique(prefixes, return_inverse=True)
        check_memory(
            len(wanted) * 8 << step,
            f"Counting around {len(wanted):,} values at a time",
            "A larger epsilon= of the layer looks for fewer.",
        )
        table = np.zeros((len(wanted), 1 << step), np.int64)
        for found in scan.run(_counting(name, wanted, bits, step), "Ranks"):
            table.reshape(-1)[found.keys] += found.counts
        keys = (wanted[:, None] << step) + np.arange(1 << step)
        prefixes, left = _find(keys.reshape(-1), table, place, left)
    return _values_of(prefixes.astype(np.uint32))


def _find(keys: Any, table: Any, place: Any, ranks: Ranks) -> tuple[Any, Ranks]:
    """For each rank the key at it, and its rank among the values of that key.

    Args:
        keys: Of all counts in `table`, flat.
        table: Counts, `(prefixes, keys)`.
        place: The row of each rank.
        ranks: Within their rows.
    """
    width = table.shape[1]
    ends = np.cumsum(table, axis=1)
    column = np.array(
        [np.searchsorted(ends[p], r, "right") for p, r in zip(place, ranks, strict=True)]
    )
    before = ends[place, column] - table[place, column]
    return keys[place * width + column], ranks - before


def _count_first(values: Any, name: str) -> _Counts:
    """Counts the first bits of the values."""
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    if missing:
        raise DataError(
            f"Field {name!r} holds missing values (NaN, {missing:,} of them in one piece), which "
            "have no rank. Leave those samples out, or fill them with map()."
        )
    upper = (_keys_of(values) >> (32 - _FIRST_BITS)).astype(np.uint16)
    _, keys, counts = runs(upper[None])
    return _Counts(keys, counts)


def _counting(name: str, wanted: Any, bits: int, step: int) -> Any:
    """Counts the next `step` bits, up to `bits`, of values whose bits before are `wanted`."""

    def count(arrays: Arrays) -> _Counts:
        keys = (_keys_of(arrays[name]) >> (32 - bits)).astype(np.int64)
        before = keys >> step
        place = np.minimum(np.searchsorted(wanted, before), len(wanted) - 1)
        there = wanted[place] == before
        found = (place[there] << step) + (keys[there] & (1 << step) - 1)
        return _Counts(*np.unique(found, return_counts=True))

    return count


def _keys_of(values: Any) -> Keys:
    """Integers that sort in the same order as the values as float32."""
    with np.errstate(over="ignore"):
        # Adding 0 makes one value of 0.0 and -0.0.
        singles = values.reshape(-1).astype(np.float32) + np.float32(0)
    bits = singles.view(np.uint32)
    keys: Keys = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return keys


def _values_of(keys: Keys) -> npt.NDArray[np.float32]:
    """The values of keys."""
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).astype(np.uint32).view(np.float32)
