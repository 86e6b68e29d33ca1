"""Assigns keys to parts by their hash, and warns about uneven parts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.order import STEP, stream_key, unit_hashes
from headrace.spec import Indices
from headrace.splits.grouping import Grouping, Values

FAR = 0.05 + 1e-9
"""The difference between the actual and the wanted share of a part that causes a warning."""

_MOST_KEYS = 10_000
"""The most keys for which a better seed is searched."""

_SEEDS = 100
"""The number of seeds in that search."""


def parts_of_keys(values: Values, ends: Sequence[float], seed: int) -> Indices:
    """The part of each key, which depends on its hash alone.

    Args:
        values: Keys, as `Grouping.one_each` returns them.
        ends: The cumulated shares of the parts; the last is 1.
        seed: The seed of the hash.
    """
    hashes = unit_hashes(values, stream_key(seed, "split by key"))
    found: Indices = np.searchsorted(ends[:-1], hashes, side="right")
    return found


def about_uneven_parts(rows: Sequence[int], ends: Sequence[float], column: Grouping) -> str | None:
    """The warning about uneven parts, with wanted and actual shares; None if they agree.

    Args:
        rows: The number of rows of each part.
        ends: The cumulated shares of the parts; the last is 1.
        column: The keys.
    """
    asked = np.diff([0.0, *ends])
    off = _off(rows, asked)
    if not sum(rows) or (off < FAR and all(rows)):
        return None
    name = column.name if column.is_field else "the array"
    counts = _counted(column)
    if counts is None:
        why = f"{name} has more than {_MOST_KEYS:,} values, of which some have many rows"
        better = ""
    else:
        number = len(counts)
        why = (
            f"{name} has {number:,} value{'s' * (number != 1)}, one of them with "
            f"{max(counts.values()) / sum(rows):.0%} of the rows"
        )
        better = _better_seed(counts, ends, rows)
    return (
        f"Splitting by {name} made parts of {_listed(rows)} of the rows, where "
        f"{_listed(asked)} were asked for: all rows of a value go to one part, and {why}. "
        f"{better or 'Another seed may do better, or not.'} Or make a field that names the part "
        "of each row, and split by that."
    )


def _off(rows: Sequence[float], asked: npt.NDArray[np.float64]) -> float:
    """The largest difference between the actual and the wanted share of a part."""
    return float(np.abs(np.asarray(rows) / max(sum(rows), 1) - asked).max())


def _listed(rows: Any) -> str:
    """Shares in percent: "90 % and 10 %"."""
    shares = [f"{share / sum(rows):.0%}" for share in rows]
    return " and ".join(part for part in (", ".join(shares[:-1]), shares[-1]) if part)


def _counted(column: Grouping) -> Counter[Any] | None:
    """The number of rows of each key; None if there are very many keys."""
    counts: Counter[Any] = Counter()
    for run in column.one_each():
        for start in range(0, len(run), STEP):
            values, found = np.unique(run[start : start + STEP], return_counts=True)
            counts.update(dict(zip(values.tolist(), found.tolist(), strict=True)))
            if len(counts) > _MOST_KEYS:
                return None
    return counts


def _better_seed(counts: Counter[Any], ends: Sequence[float], rows: Sequence[float]) -> str:
    """The seed whose parts are closest to their shares; None if the current seed is as good."""
    keys, sizes = np.array(list(counts)), np.array(list(counts.values()))
    if keys.dtype.hasobject:  # integers beyond the range of any dtype
        return ""
    asked = np.diff([0.0, *ends])
    best, found = _badness(rows, asked), f"No seed below {_SEEDS} comes nearer."
    for seed in range(_SEEDS):
        made = np.bincount(parts_of_keys(keys, ends, seed), sizes, len(asked)).tolist()
        if _badness(made, asked) < best:
            best, found = _badness(made, asked), f"seed={seed} gives {_listed(made)}."
    return found


def _badness(rows: Sequence[float], asked: npt.NDArray[np.float64]) -> tuple[int, float]:
    """The number of empty parts, and the largest difference of the shares of the others."""
    return sum(not count for count in rows), _off(rows, asked)
