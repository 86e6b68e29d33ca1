"""Divides row counts by shares, and ranks rows within their classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.spec import Indices

_AT_A_TIME = 8
"""The divisor of the rows that a path could move, to get those that it moves at a time."""


def largest_remainder(total: int, weights: Sequence[float]) -> Indices:
    """Divides `total` into integers in proportion to `weights`.

    Each is the exact share, rounded down, or up for the largest remainders (Hamilton's method).

    Args:
        total: The sum of the integers.
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
    """Divides the rows of each class among parts, in proportion to the sizes of the parts.

    Every count is the exact share, rounded down or up, such that the sums over classes and over
    parts are both exact. This controlled rounding always exists (Cox, "A Constructive Procedure for
    Unbiased Controlled Rounding", 1987). The algorithm first rounds each class by itself; then
    parts with too many rows pass rows on to parts with too few, along the cheapest of the shortest
    paths. With two parts, the rows go to the shares with the largest remainders.

    Args:
        classes: Rows of each class, shape `(classes,)`.
        sizes: Rows of each part, shape `(parts,)`, with the same sum.

    Returns:
        int64 array of shape `(classes, parts)`.
    """
    total = int(sizes.sum())
    # Products of two row counts fit in 64 bits up to 3 billion rows.
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
        # Move only a part of the rows: another path may become cheaper after each move.
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
    """The classes that can pass a row from part `giver` to part `taker`, the cheapest first."""
    able = np.flatnonzero(up[:, giver] & ~up[:, taker] & (left[:, taker] > 0))
    return able[np.argsort(left[able, giver] - left[able, taker], kind="stable")]


def _shortest_path(
    up: npt.NDArray[np.bool_], left: npt.NDArray[np.float64], surplus: Indices
) -> list[tuple[int, int]]:
    """The moves along a shortest path from a part with too many rows to one with too few."""
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
    """Ranks rows within their classes; called for successive runs of rows.

    Args:
        classes: The number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._seen = np.zeros(classes, np.int64)

    def __call__(self, codes: npt.NDArray[np.unsignedinteger[Any]]) -> Indices:
        """For each row, the number of earlier rows of its class.

        Args:
            codes: The classes of the next rows, shape `(k,)`.
        """
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(self._seen))
        firsts = np.cumsum(counts) - counts
        ranks = np.empty(len(codes), np.int64)
        ranks[order] = np.arange(len(codes)) + np.repeat(self._seen - firsts, counts)
        self._seen += counts
        return ranks
