"""Assigns keys to parts by their hash, and warns of uneven parts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.order import STEP, stream_key, unit_hashes
from headrace.spec import Indices
from headrace.splits.grouping import Grouping, Values

FAR = 0.05 + 1e-9
"""How far the share of a part may lie from what was asked for before that is said."""

_MOST_KEYS = 10_000
"""Of more keys, no other seed is looked for."""

_SEEDS = 100
"""Seeds that are tried."""


def parts_of_keys(values: Values, ends: Sequence[float], seed: int) -> Indices:
    """The part that each key goes to: its hash decides, and nothing else.

    Args:
        values: Keys, as `Grouping.one_each` gives them.
        ends: Where the shares of the parts end, the last at 1.
        seed: Of the hash.
    """
    hashes = unit_hashes(values, stream_key(seed, "split by key"))
    found: Indices = np.searchsorted(ends[:-1], hashes, side="right")
    return found


def about_uneven_parts(rows: Sequence[int], ends: Sequence[float], column: Grouping) -> str | None:
    """The warning about uneven parts: wanted and actual shares, and what helps; None if they agree.

    Args:
        rows: Of the parts.
        ends: Where their shares end, the last at 1.
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
    """How far the share of a part lies from what was asked for, at most."""
    return float(np.abs(np.asarray(rows) / max(sum(rows), 1) - asked).max())


def _listed(rows: Any) -> str:
    """Shares in percent: "90 % and 10 %"."""
    shares = [f"{share / sum(rows):.0%}" for share in rows]
    return " and ".join(part for part in (", ".join(shares[:-1]), shares[-1]) if part)


def _counted(column: Grouping) -> Counter[Any] | None:
    """How many rows each key has; None if there are very many keys."""
    counts: Counter[Any] = Counter()
    for run in column.one_each():
        for start in range(0, len(run), STEP):
            values, found = np.unique(run[start : start + STEP], return_counts=True)
            counts.update(dict(zip(values.tolist(), found.tolist(), strict=True)))
            if len(counts) > _MOST_KEYS:
                return None
    return counts


def _better_seed(counts: Counter[Any], ends: Sequence[float], rows: Sequence[float]) -> str:
    """The seed under which parts come nearest to their shares, if that is nearer than now."""
    keys, sizes = np.array(list(counts)), np.array(list(counts.values()))
    if keys.dtype.hasobject:  # integers that no type holds together
        return ""
    asked = np.diff([0.0, *ends])
    best, found = _badness(rows, asked), f"No seed below {_SEEDS} comes nearer."
    for seed in range(_SEEDS):
        made = np.bincount(parts_of_keys(keys, ends, seed), sizes, len(asked)).tolist()
        if _badness(made, asked) < best:
            best, found = _badness(made, asked), f"seed={seed} gives {_listed(made)}."
    return found


def _badness(rows: Sequence[float], asked: npt.NDArray[np.float64]) -> tuple[int, float]:
    """Parts without rows, and how far the others lie from what was asked for."""
    return sum(not count for count in rows), _off(rows, asked)
