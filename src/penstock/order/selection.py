"""Which rows of a source a data set holds, ascending: a span, or a subset in two bits a row."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.spec import Indices

_STEP = 1 << 20
_PIECE = 1 << 11


class Selection(ABC):
    """An ascending set of rows, addressed by position `0 .. len - 1`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def rows(self, positions: Indices) -> Indices:
        """The rows at `positions` (any order)."""

    @abstractmethod
    def run(self, start: int, stop: int) -> Indices:
        """The rows at positions `start .. stop - 1`, ascending."""

    def ascending(self, positions: Indices) -> Indices:
        """The rows at `positions`, which ascend; fast where they form few runs."""
        if len(positions) == 0:
            return positions
        breaks = np.flatnonzero(np.diff(positions) != 1) + 1
        if len(breaks) * 32 > len(positions):
            return self.rows(positions)
        runs = itertools.pairwise([0, *breaks.tolist(), len(positions)])
        return np.concatenate([self.run(positions[a], positions[b - 1] + 1) for a, b in runs])

    @abstractmethod
    def rank(self, rows: Indices) -> Indices:
        """For each row, how many selected rows lie below it."""

    @abstractmethod
    def part(self, start: int, stop: int) -> "Selection":
        """The selection of positions `start .. stop - 1`."""

    @abstractmethod
    def digest(self) -> str:
        """A short text that is equal for equal selections."""

    def where(self, keep: Callable[[Indices], npt.NDArray[np.bool_]]) -> "Selection":
        """The rows whose position `keep` accepts; `keep` is called on runs of positions."""
        size = int(self.run(len(self) - 1, len(self))[0]) + 1 if len(self) else 0
        bits = np.zeros(-(-size // 64) * 64, np.bool_)
        for start in range(0, len(self), _STEP):
            stop = min(start + _STEP, len(self))
            bits[self.run(start, stop)] = keep(np.arange(start, stop))
        return Subset(np.packbits(bits, bitorder="little").view(np.uint64))


@dataclass(frozen=True)
class Span(Selection):
    """The rows `start .. stop - 1`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def rows(self, positions: Indices) -> Indices:
        return positions + self.start if self.start else positions

    def run(self, start: int, stop: int) -> Indices:
        return np.arange(self.start + start, self.start + stop)

    def ascending(self, positions: Indices) -> Indices:
        return self.rows(positions)

    def rank(self, rows: Indices) -> Indices:
        return np.clip(rows, self.start, self.stop) - self.start

    def part(self, start: int, stop: int) -> Selection:
        return Span(self.start + start, self.start + stop)

    def digest(self) -> str:
        return f"{self.start}:{self.stop}"


class Subset(Selection):
    """Rows marked in a bitmap of 64-bit words; a running count per word makes look-ups direct.

    Costs two bits for each row of the source up to the last one selected.

    Args:
        words: uint64 array; bit `i % 64` of word `i // 64` says whether row `i` is selected.
    """

    def __init__(self, words: npt.NDArray[np.uint64]) -> None:
        self._words = words

    @cached_property
    def _before(self) -> Indices:
        """Selected rows before each word, and the total: shape `(words + 1,)`."""
        before = np.zeros(len(self._words) + 1, np.int64)
        np.cumsum(np.bitwise_count(self._words), out=before[1:])
        return before

    def __getstate__(self) -> dict[str, Any]:
        return {"_words": self._words}

    def __len__(self) -> int:
        return int(self._before[-1])

    def rows(self, positions: Indices) -> Indices:
        rows = np.empty(len(positions), np.int64)
        # In pieces: the search for a bit within its word spreads it over 64 bytes.
        for start in range(0, len(positions), _PIECE):
            rows[start : start + _PIECE] = self._some_rows(positions[start : start + _PIECE])
        return rows

    def _some_rows(self, positions: Indices) -> Indices:
        word = np.searchsorted(self._before, positions, side="right") - 1
        bits = np.unpackbits(
            self._words[word].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little"
        )
        seen = np.cumsum(bits, axis=1, dtype=np.uint8)
        wanted = (positions - self._before[word]).astype(np.uint8)
        bit: Indices = np.argmax(seen > wanted[:, None], axis=1)
        return word * 64 + bit

    def run(self, start: int, stop: int) -> Indices:
        if start >= stop:
            return np.empty(0, np.int64)
        first, last = np.searchsorted(self._before, [start, stop - 1], side="right") - 1
        bits = np.unpackbits(self._words[first : last + 1].view(np.uint8), bitorder="little")
        skip = start - int(self._before[first])
        rows: Indices = np.flatnonzero(bits)[skip : skip + stop - start] + first * 64
        return rows

    def rank(self, rows: Indices) -> Indices:
        rows = np.minimum(rows, len(self._words) * 64)
        word, bit = np.divmod(rows, 64)
        inside = word < len(self._words)
        below = (np.uint64(1) << bit.astype(np.uint64)) - np.uint64(1)
        partial = np.bitwise_count(self._words[np.where(inside, word, 0)] & below)
        ranks: Indices = self._before[word] + np.where(inside, partial, 0)
        return ranks

    def part(self, start: int, stop: int) -> Selection:
        return self.where(lambda positions: (positions >= start) & (positions < stop))

    def digest(self) -> str:
        return blake2b(self._words.tobytes(), digest_size=8).hexdigest()
