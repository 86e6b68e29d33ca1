"""Selections of rows, ascending: as a span, a bitmap, or a list of row numbers.

A selection that is not a span takes two bits per row of the source (a bitmap), or four bytes per
selected row (eight beyond 4 billion rows), whichever is less. So all parts of a split together take
at most four bytes per row, regardless of their number.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.spec import Indices

STEP = 1 << 17
"""Rows that are processed at a time in passes over all rows."""

_PIECE = 1 << 11

_LEAST = 64
"""Extra row numbers for which a growing list allocates memory."""

_SPARSE = 16
"""If at most one in `_SPARSE` rows is selected, row numbers take less memory than a bitmap."""


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
        """The rows at `positions`, which are ascending; fast if they form few runs."""
        if len(positions) == 0:
            return positions
        breaks = np.flatnonzero(np.diff(positions) != 1) + 1
        if len(breaks) * 32 > len(positions):
            return self.rows(positions)
        runs = itertools.pairwise([0, *breaks.tolist(), len(positions)])
        return np.concatenate([self.run(positions[a], positions[b - 1] + 1) for a, b in runs])

    @abstractmethod
    def rank(self, rows: Indices) -> Indices:
        """For each row, the number of selected rows below it."""

    @abstractmethod
    def part(self, start: int, stop: int) -> "Selection":
        """The selection of positions `start .. stop - 1`."""

    @abstractmethod
    def digest(self) -> str:
        """A short text that is equal for equal selections."""

    def where(self, keep: Callable[[Indices], npt.NDArray[np.bool_]]) -> "Selection":
        """The rows at positions for which `keep` returns True; it gets runs of positions."""
        marks = self.marks()
        for start in range(0, len(self), STEP):
            stop = min(start + STEP, len(self))
            marks.add(self.run(start, stop)[keep(np.arange(start, stop))])
        return marks.selection()

    def marks(self) -> "Marks":
        """A builder for a selection of some of these rows."""
        return Marks(int(self.run(len(self) - 1, len(self))[0]) + 1 if len(self) else 0)


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
    """Rows marked in a bitmap of 64-bit words, with a running count per word for look-ups.

    Takes two bits per row of the source, up to the last selected row.

    Args:
        words: uint64 array; bit `i % 64` of word `i // 64` is set if row `i` is selected.
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
        # In pieces, because finding a bit in its word takes 64 bytes per position.
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
        marks = self.marks()
        for first in range(start, stop, STEP):
            marks.add(self.run(first, min(first + STEP, stop)))
        return marks.selection()

    def digest(self) -> str:
        return blake2b(self._words.tobytes(), digest_size=8).hexdigest()


class Listed(Selection):
    """A list of row numbers, for selecting few rows of many.

    Takes four bytes per selected row; eight if row numbers need them.

    Args:
        numbers: The rows, ascending; unsigned integers.
        size: The number of rows of the source.
    """

    def __init__(self, numbers: npt.NDArray[np.unsignedinteger[Any]], size: int) -> None:
        self._numbers = numbers
        self._size = size

    def __len__(self) -> int:
        return len(self._numbers)

    def rows(self, positions: Indices) -> Indices:
        return self._numbers[positions].astype(np.int64)

    def run(self, start: int, stop: int) -> Indices:
        return self._numbers[start:stop].astype(np.int64)

    def ascending(self, positions: Indices) -> Indices:
        return self.rows(positions)

    def rank(self, rows: Indices) -> Indices:
        # Convert to the same dtype: NumPy would otherwise convert copies of both arrays.
        wanted = np.minimum(rows, self._size).astype(self._numbers.dtype)
        return np.searchsorted(self._numbers, wanted)

    def part(self, start: int, stop: int) -> Selection:
        return Listed(self._numbers[start:stop].copy(), self._size)

    def digest(self) -> str:
        # The digest of the equivalent bitmap, so that it does not depend on the representation.
        digest = blake2b(digest_size=8)
        words = -(-self._size // 64)
        for first in range(0, words, STEP):
            low, high = first * 64, min(first + STEP, words) * 64
            a, b = self.rank(np.array([low, high])).tolist()
            marks = _Bitmap(high - low)
            marks.add(self.run(a, b) - low)
            digest.update(marks.words.tobytes())
        return digest.hexdigest()


class _Bitmap:
    """A bitmap of `size` rows, whose bits are set run by run."""

    def __init__(self, size: int) -> None:
        self._bytes = np.zeros(-(-size // 64) * 8, np.uint8)

    def add(self, rows: Indices) -> None:
        """Sets the bits of ascending rows."""
        if not len(rows):
            return
        first, last = int(rows[0]) // 8, int(rows[-1]) // 8 + 1
        if (last - first) <= len(rows):
            bits = np.zeros((last - first) * 8, np.bool_)
            bits[rows - first * 8] = True
            self._bytes[first:last] |= np.packbits(bits, bitorder="little")
            return
        place = rows >> 3
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        bits = np.left_shift(1, rows & 7).astype(np.uint8)
        self._bytes[place[starts]] |= np.bitwise_or.reduceat(bits, starts)

    @property
    def words(self) -> npt.NDArray[np.uint64]:
        """The bits, in the format of `Subset`."""
        return self._bytes.view(np.uint64)


class Marks:
    """Builds a selection, as a list or a bitmap, whichever takes less memory.

    Args:
        size: The number of rows of the source.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._dtype = np.dtype(np.uint32 if size < 1 << 32 else np.uint64)
        self._most = size * 4 // (_SPARSE * self._dtype.itemsize)
        self._listed = np.empty(0, self._dtype)
        self._count = 0
        self._bitmap: _Bitmap | None = None

    def add(self, rows: Indices) -> None:
        """Selects rows, which are ascending and above all earlier ones."""
        before, self._count = self._count, self._count + len(rows)
        if self._bitmap is None and self._count > self._most:
            self._bitmap = _Bitmap(self._size)
            for start in range(0, before, STEP):
                stop = min(start + STEP, before)
                self._bitmap.add(self._listed[start:stop].astype(np.int64))
            self._listed = np.empty(0, self._dtype)
        if self._bitmap is not None:
            self._bitmap.add(rows)
            return
        if self._count > len(self._listed):
            # resize works in place where the system can; joining pieces would double the memory.
            room = min(self._count + self._count // 8 + _LEAST, self._most)
            self._listed.resize(room, refcheck=False)
        self._listed[before : self._count] = rows

    def selection(self) -> Selection:
        """The rows that were added."""
        if self._bitmap is not None:
            return Subset(self._bitmap.words)
        self._listed.resize(self._count, refcheck=False)
        return Listed(self._listed, self._size)
