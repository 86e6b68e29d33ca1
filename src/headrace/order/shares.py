"""Divides rows into whole numbers by given shares, and ranks rows within their classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.spec import Indices

_AT_A_TIME = 8
"""One part in so many of the rows that a path could move is moved at a time."""


def largest_remainder(total: int, weights: Sequence[float]) -> Indices:
    """Whole numbers that add up to `total`, each its share of it, rounded down or up.

    Those whose share loses most when it is rounded down are rounded up (Hamilton's method).

    Args:
        total: What to share out.
        weights: Not negative, not all zero; shape `(k,)`.

    Returns:
        int64 array of shape `(k,)`.
    """
    parts = np.asarray(weights, np.float64) / np.max(weights)
    exact = total * (parts / parts.sum())
    counts: Indices = np.floor(exact).astype(np.int64)
    lost = exact - counts
    lost[np.asarray(weights) == 0] = -1
    counts[np.argsort(-lost, kind="stable")[: total - int(counts.sum())]] += 1
    return counts


def shares_of_classes(classes: Indices, sizes: Indices) -> Indices:
    """How many rows of each class go to each part, so that each part holds its share of each.

    Every number is the exact share, rounded down or up, and both the rows of a class and the sizes
    of the parts come out: a controlled rounding, which always exists (Cox, "A Constructive
    Procedure for Unbiased Controlled Rounding", 1987). Here rounding first suits each class by
    itself; parts with too many rows then hand rows on to those with too few, by the shortest
    path and the cheapest of these. Of two parts, one gets the rows whose shares lose most.

    Args:
        classes: Rows of each class, shape `(classes,)`.
        sizes: Rows of each part, shape `(parts,)`; as many in all.

    Returns:
        int64 array of shape `(classes, parts)`.
    """
    total = int(sizes.sum())
    # Products of numbers of rows, which 64 bits hold up to 3 billion of them.
    wide = np.int64 if total < 1 << 31 else np.object_
    counts, left = np.divmod(np.outer(classes.astype(wide), sizes.astype(wide)), max(total, 1))
    missing = (left.sum(axis=1) // max(total, 1)).astype(np.int64)
    order = np.argsort(-left, axis=1, kind="stable")
    up = np.zeros(left.shape, np.bool_)
    np.put_along_axis(up, order, np.arange(len(sizes)) < missing[:, None], axis=1)
    counts, left = counts.astype(np.int64), (left / max(total, 1)).astype(np.float64)
    surplus = counts.sum(axis=0) + up.sum(axis=0) - sizes
    while surplus.any():
        path = _shortest_path(up, left, surplus)
        # Some at a time: another path may be cheaper after each row.
        able = [_able(up, left, giver, taker) for giver, taker in path]
        most = min(surplus[path[0][0]], -surplus[path[-1][1]], *map(len, able))
        for rows, (giver, taker) in zip(able, path, strict=True):
            moved = rows[: max(1, most // _AT_A_TIME)]
            up[moved, giver], up[moved, taker] = False, True
            surplus[giver] -= len(moved)
            surplus[taker] += len(moved)
    return counts + up


def _able(
    up: npt.NDArray[np.bool_], left: npt.NDArray[np.float64], giver: int, taker: int
) -> Indices:
    """The classes that can hand a row on from one part to another, the cheapest first."""
    able = np.flatnonzero(up[:, giver] & ~up[:, taker] & (left[:, taker] > 0))
    return able[np.argsort(left[able, giver] - left[able, taker], kind="stable")]


def _shortest_path(
    up: npt.NDArray[np.bool_], left: npt.NDArray[np.float64], surplus: Indices
) -> list[tuple[int, int]]:
    """Moves from part to part, from one with too many rows to one with too few."""
    parts = len(surplus)
    cost = np.full((parts, parts), np.inf)
    for giver in range(parts):
        for taker in range(parts):
            able = up[:, giver] & ~up[:, taker] & (left[:, taker] > 0)
            if able.any():
                cost[giver, taker] = (left[able, giver] - left[able, taker]).min()
    reached = surplus > 0
    distance = np.where(reached, 0.0, np.inf)
    before = np.full(parts, -1)
    while not (reached & (surplus < 0)).any():
        through = distance[:, None] + cost
        fresh = ~reached & np.isfinite(through.min(axis=0))
        before[fresh] = through.argmin(axis=0)[fresh]
        distance[fresh] = through.min(axis=0)[fresh]
        reached |= fresh
    end = int(np.argmin(np.where(surplus < 0, distance, np.inf)))
    path: list[tuple[int, int]] = []
    while before[end] >= 0:
        path.insert(0, (int(before[end]), end))
        end = int(before[end])
    return path


class Ranks:
    """The ranks of rows within their classes, for runs of rows one after the other.

    Args:
        classes: How many classes there are.
    """

    def __init__(self, classes: int) -> None:
        self._seen = np.zeros(classes, np.int64)

    def __call__(self, codes: npt.NDArray[np.unsignedinteger[Any]]) -> Indices:
        """How many rows of its class came before each row.

        Args:
            codes: The class of each of the next rows, shape `(k,)`.
        """
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(self._seen))
        firsts = np.cumsum(counts) - counts
        ranks = np.empty(len(codes), np.int64)
        ranks[order] = np.arange(len(codes)) + np.repeat(self._seen - firsts, counts)
        self._seen += counts
        return ranks
