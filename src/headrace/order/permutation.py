"""A keyed permutation of the integers below n that needs no memory.

A Feistel network over a rectangle of at least n cells, with cycle walking for
the cells beyond n (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
2002). The rectangle is nearly square, a x b with a * b just above n, and each
round adds a keyed hash of one coordinate to the other, modulo its side. Few cells
are beyond n, so cycle walking is rare. The hash is the finaliser of
SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", 2014), reduced below the side by a multiplication (Lemire, "Fast Random
Integer Generation in an Interval", 2019).

The permutation shuffles rows; it is not cryptographic.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.spec import Indices

ROUNDS = 6
"""Rounds for a domain of at least `SMALL` integers."""

SMALL = 4096
SMALL_ROUNDS = 16
"""Small domains have few distinct round functions, and need more rounds to mix well."""

Cells = npt.NDArray[np.uint64]

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(*parts: int | str) -> tuple[int, ...]:
    """Round keys for the random stream named by `parts`, such as seed, epoch and use.

    They are a BLAKE2b hash of the parts' text, and so equal on all machines and versions.
    """
    text = "\x1f".join(str(part) for part in parts).encode()
    digest = hashlib.blake2b(text, person=b"headrace").digest()
    digest += hashlib.blake2b(digest, person=b"headrace").digest()
    return tuple(int.from_bytes(digest[i : i + 8], "little") for i in range(0, len(digest), 8))


@dataclass(frozen=True)
class Permutation:
    """A permutation of `0 .. n - 1`, chosen by `key`.

    Args:
        n: Number of integers, at least 0.
        key: Round keys from `stream_key`.

    Example:

    ```python
    p = Permutation(10, stream_key(0, 0, "rows"))
    p(np.arange(10))    # each of 0 .. 9 once
    ```
    """

    n: int
    key: tuple[int, ...]

    @cached_property
    def _sides(self) -> tuple[np.uint64, np.uint64]:
        a = max(isqrt(self.n), 2)
        return np.uint64(a), np.uint64(max(-(-self.n // a), 2))

    def __call__(self, positions: npt.ArrayLike) -> Indices:
        """Maps positions to their images.

        Args:
            positions: Integers in `[0, n)`, shape `(k,)`.

        Returns:
            int64 array of shape `(k,)`; distinct positions have distinct images.
        """
        cells = np.asarray(positions, dtype=np.uint64)
        if self.n <= 1:
            return np.zeros(cells.shape, np.int64)
        images = self._network(cells)
        outside = np.flatnonzero(images >= self.n)
        while outside.size:
            images[outside] = self._network(images[outside])
            outside = outside[images[outside] >= self.n]
        return images.view(np.int64)

    def inverse(self, images: npt.ArrayLike) -> Indices:
        """Maps images back to their positions: `p.inverse(p(positions)) == positions`.

        Args:
            images: Integers in `[0, n)`, shape `(k,)`.
        """
        cells = np.asarray(images, dtype=np.uint64)
        if self.n <= 1:
            return np.zeros(cells.shape, np.int64)
        positions = self._network(cells, back=True)
        outside = np.flatnonzero(positions >= self.n)
        while outside.size:
            positions[outside] = self._network(positions[outside], back=True)
            outside = outside[positions[outside] >= self.n]
        return positions.view(np.int64)

    def _network(self, cells: Cells, back: bool = False) -> Cells:
        rounds = ROUNDS if self.n >= SMALL else SMALL_ROUNDS
        return _network(cells, *self._sides, self.key[:rounds], back)


@dataclass(frozen=True)
class Permutations:
    """Independent permutations of several domains, such as the rows of each class.

    Computed like `Permutation`, but in one call for members of all domains.

    Args:
        sizes: Number of integers in each domain, int64, shape `(domains,)`.
        key: Round keys from `stream_key`.
    """

    sizes: Indices
    key: tuple[int, ...]

    @cached_property
    def _sides(self) -> tuple[Cells, Cells]:
        a = np.maximum([isqrt(n) for n in self.sizes.tolist()], 2)
        return a.astype(np.uint64), np.maximum(-(-self.sizes // a), 2).astype(np.uint64)

    @cached_property
    def _tweaks(self) -> Cells:
        """A different number for each domain, so that equal sizes are permuted differently."""
        return mix(np.arange(len(self.sizes), dtype=np.uint64), self.key[0])

    def __call__(self, domains: npt.NDArray[np.integer[Any]], positions: Indices) -> Indices:
        """Maps positions to their images.

        Args:
            domains: The domain of each position, shape `(k,)`.
            positions: Integers in `[0, sizes[domain])`, shape `(k,)`.

        Returns:
            int64 array of shape `(k,)`; distinct positions in a domain have distinct images in it.
        """
        images = self._network(domains, positions.astype(np.uint64))
        ends = self.sizes.astype(np.uint64)
        outside = np.flatnonzero(images >= ends[domains])
        while outside.size:
            there = domains[outside]
            images[outside] = self._network(there, images[outside])
            outside = outside[images[outside] >= ends[there]]
        return images.view(np.int64)

    def _network(self, domains: npt.NDArray[np.integer[Any]], cells: Cells) -> Cells:
        images = np.empty_like(cells)
        small = self.sizes[domains] < SMALL
        for which, rounds in ((small, SMALL_ROUNDS), (~small, ROUNDS)):
            here = np.flatnonzero(which)
            if len(here):
                a, b = (side[domains[here]] for side in self._sides)
                tweaks = self._tweaks[domains[here]]
                keys = (tweaks + np.uint64(key) for key in self.key[:rounds])
                images[here] = _network(cells[here], a, b, keys)
        return images


def _network(
    cells: Cells,
    a: np.uint64 | Cells,
    b: np.uint64 | Cells,
    keys: Iterable[int | Cells],
    back: bool = False,
) -> Cells:
    """Applies all rounds on a rectangle of `a` by `b` cells.

    Sides and keys may be scalars, or arrays with one value per cell. `back` inverts the rounds, in
    reverse order.
    """
    # Not np.divmod: computing the remainder would double the time of this function.
    left = cells // b
    right = cells - left * b
    shift = _subtract if back else _add
    rounds = enumerate(keys)
    for i, key in reversed(list(rounds)) if back else rounds:
        if i % 2:
            shift(right, _hash(left, key, b), b)
        else:
            shift(left, _hash(right, key, a), a)
    left *= b
    left += right
    return left


def _add(values: Cells, more: Cells, side: np.uint64 | Cells) -> None:
    """Adds modulo `side`, in place, where both are below it."""
    values += more
    np.subtract(values, side, out=more)
    # Sums below `side` have wrapped around in `more`, so that the minimum picks the sum itself.
    np.minimum(values, more, out=values)


def _subtract(values: Cells, less: Cells, side: np.uint64 | Cells) -> None:
    """Subtracts modulo `side`, in place, where both are below it."""
    values -= less
    np.add(values, side, out=less)
    # Negative differences have wrapped around to huge numbers, so that the minimum picks `less`.
    np.minimum(values, less, out=values)


def _hash(values: Cells, key: int | Cells, side: np.uint64 | Cells) -> Cells:
    """A keyed hash below `side` for each value."""
    mixed = values + np.asarray(key, np.uint64)
    shifted = mixed >> np.uint64(30)
    mixed ^= shifted
    mixed *= _MIX_1
    np.right_shift(mixed, np.uint64(27), out=shifted)
    mixed ^= shifted
    mixed *= _MIX_2
    mixed >>= np.uint64(32)
    # The upper half of (32-bit hash * side) is uniform below `side`.
    mixed *= side
    mixed >>= np.uint64(32)
    return mixed


def mix(values: Cells, key: int) -> Cells:
    """A keyed 64-bit hash for each value; distinct values have distinct hashes."""
    mixed = values + np.uint64(key)
    mixed ^= mixed >> np.uint64(30)
    mixed *= _MIX_1
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX_2
    mixed ^= mixed >> np.uint64(31)
    return mixed
