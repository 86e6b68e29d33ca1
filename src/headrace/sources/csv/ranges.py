"""Counts the rows of CSV text and cuts it into ranges, in one pass at the speed of memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.errors import FileFormatError
from headrace.sources.csv.dialect import Dialect
from headrace.sources.file import File

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

CHUNK_BYTES = 1 << 23
"""Bytes that are looked at together."""

RANGE_BYTES = 1 << 17
"""Bytes of a range, about: a range ends with a row."""


@dataclass(frozen=True)
class Ranges:
    """Where the rows of a file are.

    Attributes:
        offsets: The byte at which each range starts, and the end; int64, shape `(ranges + 1,)`.
        rows: The number of rows before each range, and of all; likewise.
        lines: The number of the line at which each range starts, from 1; shape `(ranges,)`.
    """

    offsets: Offsets
    rows: Offsets
    lines: Offsets

    @property
    def length(self) -> int:
        """The number of rows."""
        return int(self.rows[-1])


class _Quotes:
    """Follows quotes through the text: which line ends are inside quoted values.

    Args:
        dialect: How the text is written.

    Attributes:
        inside: Whether the text so far ends inside a quoted value.
        closed_last: Whether its last byte is a quote that ended one; another quote behind it goes
            on with the value, since a doubled quote stands for one.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._quote = ord(dialect.quote) if dialect.quote else -1
        self._around = [ord(dialect.delimiter), 10, 13]
        self.inside = False
        self.closed_last = False

    def outside(self, chunk: Bytes, ends: Offsets, before: int, after: int) -> Offsets:
        """Those of the line ends in a chunk that end a row.

        Args:
            chunk: The bytes.
            ends: The places of all line ends in it.
            before: The byte in front of the chunk; a line end at the start of the text.
            after: The byte behind it; a line end at the end of the text.
        """
        if self._quote < 0:
            return ends
        quotes = np.flatnonzero(chunk == self._quote)
        if not len(quotes):
            self.closed_last = False
            return ends[:0] if self.inside else ends
        inside = self._alternating(chunk, quotes, before, after)
        if inside is None:
            inside = self._one_by_one(chunk, quotes, before)
        starts, states = inside
        self.closed_last = len(starts) > 1 and starts[-1] == len(chunk) - 1 and not self.inside
        place = np.searchsorted(starts, ends, side="right") - 1
        return ends[~states[place]]

    def _alternating(
        self, chunk: Bytes, quotes: Offsets, before: int, after: int
    ) -> tuple[Offsets, npt.NDArray[np.bool_]] | None:
        """Where quoted text begins and ends, if every quote is at an edge of a value or doubled.

        Returns:
            Places, and whether the text from each of them on is quoted; None where a quote is in
            the middle of a value, and means nothing there.
        """
        opens = (np.arange(len(quotes)) + self.inside) % 2 == 0
        previous = np.append(np.uint8(before), chunk[:-1])[quotes]
        following = np.append(chunk[1:], np.uint8(after))[quotes]
        edge = np.zeros(256, np.bool_)
        edge[[*self._around, self._quote]] = True
        if before == self._quote and not quotes[0] and opens[0] and not self.closed_last:
            return None
        if not edge[previous[opens]].all() or not edge[following[~opens]].all():
            return None
        states = np.append(self.inside, opens)
        self.inside = bool(states[-1])
        return np.append(0, quotes), states

    def _one_by_one(
        self, chunk: Bytes, quotes: Offsets, before: int
    ) -> tuple[Offsets, npt.NDArray[np.bool_]]:
        """The same for any text: a quote counts where a value begins, and in a quoted value."""
        starts, states, inside = [0], [self.inside], self.inside
        closed = -1 if self.closed_last else -2
        for place in quotes.tolist():
            if not inside:
                previous = int(chunk[place - 1]) if place else before
                if previous not in self._around and closed != place - 1:
                    continue
            inside = not inside
            closed = -2 if inside else place
            starts.append(place)
            states.append(inside)
        self.inside = inside
        return np.array(starts), np.array(states)


class RowFinder:
    """Finds the rows in text that comes chunk by chunk.

    Args:
        dialect: How the text is written.

    Attributes:
        inside: Whether the text so far ends inside a quoted value.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._newline = dialect.newline[0]
        self._comment = ord(dialect.comment) if dialect.comment else None
        self._quotes = _Quotes(dialect)
        # Bytes, first byte and last byte of the row that is not yet complete.
        self._open = 0
        self._first = self._last = -1

    @property
    def inside(self) -> bool:
        """Whether the text so far ends inside a quoted value."""
        return self._quotes.inside

    @property
    def is_row(self) -> bool:
        """Whether what follows the last line end is a row: the text may lack its last one."""
        return not (
            self._open == 0
            or (self._open == 1 and self._first == 13)
            or self._first == self._comment
        )

    def feed(self, chunk: Bytes, after: int) -> tuple[Offsets, Offsets, npt.NDArray[np.bool_]]:
        """Takes the next chunk.

        Args:
            chunk: The bytes.
            after: The byte behind them; a line end at the end of the text.

        Returns:
            The places in the chunk of all line ends; of those that end a row, or a line without
            one; and which of these do end a row: not those of empty lines and comments.
        """
        lines = np.flatnonzero(chunk == self._newline)
        before = self._newline if self._last < 0 else self._last
        if self._comment is None:
            ends = self._quotes.outside(chunk, lines, before, after)
        else:
            ends = self._beside_comments(chunk, lines, before, after)
        starts = np.append(-self._open, ends[:-1] + 1) if len(ends) else ends
        width = ends - starts
        full = width > 0
        for index in np.flatnonzero(width == 1).tolist():
            full[index] = (chunk[ends[index] - 1] if ends[index] else before) != 13
        if self._comment is not None and len(ends):
            firsts = chunk[np.maximum(starts, 0)].astype(np.int64)
            if self._open:
                firsts[0] = self._first
            full &= firsts != self._comment
        begins = int(ends[-1]) + 1 if len(ends) else 0
        if begins < len(chunk):
            self._first = self._first if self._open and not len(ends) else int(chunk[begins])
        self._open = len(chunk) - begins + (0 if len(ends) else self._open)
        self._last = int(chunk[-1])
        return lines, ends, full

    def _beside_comments(self, chunk: Bytes, lines: Offsets, before: int, after: int) -> Offsets:
        """The line ends that end a row or a comment: quotes in comments mean nothing."""
        found = []
        start = 0
        first = self._first if self._open else -1
        for end in [*lines.tolist(), len(chunk)]:
            if first < 0 and start < len(chunk):
                first = int(chunk[start])
            is_end = end < len(chunk)
            if first == self._comment and not self._quotes.inside:
                outside = True
            else:
                piece = chunk[start:end]
                follow = int(chunk[end]) if is_end else after
                if len(piece):
                    self._quotes.outside(piece, lines[:0], before, follow)
                outside = not self._quotes.inside
            if is_end:
                if outside:
                    found.append(end)
                    first = -1
                before = int(chunk[end])
                self._quotes.closed_last = False
            start = end + 1
        return np.array(found, np.int64)


def scan(file: File, path: str, dialect: Dialect, start: int, line: int) -> Ranges:
    """Counts the rows of a file, and cuts it into ranges of whole rows.

    Args:
        file: The file.
        path: Its name for messages.
        dialect: How its text is written.
        start: The byte at which the first row starts.
        line: The number of its line, from 1.

    Raises:
        FileFormatError: If a quoted value does not end.
    """
    finder = RowFinder(dialect)
    size = file.identity.size
    offsets, rows, lines = [start], [0], [line]
    count, opened = 0, line
    for offset, chunk, after in _chunks(file, start, size, dialect.newline[0]):
        line_ends, ends, is_row = finder.feed(chunk, after)
        numbers = np.cumsum(is_row) + count
        for index in _cuts(ends + offset, offsets[-1]):
            if numbers[index] == rows[-1]:
                continue  # nothing but empty lines
            offsets.append(int(ends[index]) + offset + 1)
            rows.append(int(numbers[index]))
            lines.append(line + int(np.searchsorted(line_ends, ends[index])) + 1)
        if len(ends):
            count = int(numbers[-1])
            opened = line + int(np.searchsorted(line_ends, ends[-1])) + 1
        line += len(line_ends)
    if finder.inside:
        raise FileFormatError(
            f"A quoted value of {path!r} does not end: its row starts in line {opened}, and "
            "the file ends inside the quotes. Close the quotes there, or give quote=None if quotes "
            "are ordinary characters in this file."
        )
    count += finder.is_row
    if offsets[-1] < size and (len(offsets) == 1 or count > rows[-1]):
        offsets.append(size)
        rows.append(count)
        lines.append(line)
    else:
        offsets[-1] = size
    return Ranges(np.array(offsets), np.array(rows), np.array(lines[:-1], np.int64))


def rows_of(text: bytes, dialect: Dialect) -> list[tuple[int, int, int]]:
    """The rows in the text of some ranges, one by one.

    Returns:
        For each row: the bytes at which it starts and ends, without its line end, and how many
        lines are before it.
    """
    finder = RowFinder(dialect)
    chunk = np.frombuffer(text, np.uint8)
    if not len(chunk):
        return []
    line_ends, ends, is_row = finder.feed(chunk, dialect.newline[0])
    starts = np.append(0, ends[:-1] + 1) if len(ends) else ends
    lines = np.searchsorted(line_ends, starts)
    found = [
        (start, end, line)
        for start, end, line, full in zip(
            starts.tolist(), ends.tolist(), lines.tolist(), is_row.tolist(), strict=True
        )
        if full
    ]
    if finder.is_row:
        start = int(ends[-1]) + 1 if len(ends) else 0
        found.append((start, len(text), int(np.searchsorted(line_ends, start))))
    return found


def _chunks(file: File, start: int, size: int, newline: int) -> Iterator[tuple[int, Bytes, int]]:
    """The text in chunks: offset, bytes, and the byte behind them."""
    memory = np.empty(min(CHUNK_BYTES, max(size - start, 0)) + 1, np.uint8)
    for offset in range(start, size, CHUNK_BYTES):
        stop = min(offset + CHUNK_BYTES, size)
        more = 1 if stop < size else 0
        found = memory[: stop - offset + more]
        file.read_into(found, offset)
        yield offset, found[: stop - offset], int(found[-1]) if more else newline


def _cuts(ends: Offsets, start: int) -> list[int]:
    """The places in `ends` (of row ends, in the file) after which a new range starts."""
    found = []
    index = int(np.searchsorted(ends, start + RANGE_BYTES - 1))
    while index < len(ends):
        found.append(index)
        index = int(np.searchsorted(ends, int(ends[index]) + RANGE_BYTES))
    return found
