"""Converts shares or counts into the boundaries of parts."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.errors import OptionError


def flat(sizes: Sequence[Any]) -> Sequence[Any]:
    """The sizes, which may be given as arguments or as one list."""
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)) else sizes


def split_edges(sizes: Sequence[Any], n: int) -> list[int]:
    """The offsets of the parts of `n` rows, and `n`.

    Raises:
        OptionError: If the sizes are neither shares nor counts, or add up to too much.
    """
    if not sizes or any(isinstance(size, bool) for size in sizes):
        raise OptionError(f"Expected split() with shares or numbers of rows. Received: {sizes}")
    if all(isinstance(size, (int, np.integer)) for size in sizes):
        bounds = np.cumsum([0, *sizes]).tolist()
        if min(sizes) < 0 or bounds[-1] > n:
            raise OptionError(
                f"Expected numbers of rows that add up to at most {n}. Received: {list(sizes)}"
            )
        return bounds if bounds[-1] == n else [*bounds, n]
    shares = cumulated(sizes)
    count = len(shares)
    inner = [math.floor(share * n + 0.5) for share in shares[:-1]]
    if n >= count:
        for i, edge in enumerate(inner):
            before = inner[i - 1] if i else 0
            inner[i] = min(max(edge, before + 1), n - (count - 1 - i))
    return [0, *inner, n]


def cumulated(sizes: Sequence[Any]) -> list[float]:
    """The cumulated shares of the parts; if they add up to less than 1, there is one more part.

    Raises:
        OptionError: If they are not shares, or add up to more than 1.
    """
    if not all(isinstance(size, (float, np.floating)) and 0 < size < 1 for size in sizes):
        raise OptionError(
            "Expected shares between 0 and 1, or numbers of rows, not both. "
            f"Received: {list(sizes)}"
        )
    total = math.fsum(sizes)
    if total > 1 + 1e-9:
        raise OptionError(f"The shares {list(sizes)} add up to {total}, more than 1.")
    whole = total > 1 - 1e-9
    ends: list[float] = np.cumsum(sizes).tolist()
    return [*(ends[:-1] if whole else ends), 1.0]
