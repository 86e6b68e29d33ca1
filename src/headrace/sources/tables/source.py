"""`TableSource`: a source whose blocks are parsed into columns, which encoders make fields of."""

import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from headrace.resources import cpu_count
from headrace.sources.base import Arrays, BadRow, Read, ReadPath, ReadStats, Source
from headrace.sources.tables.encoders import Encoder, inputs_of
from headrace.sources.tables.values import Values
from headrace.spec import Column, Field, Indices

GROUP_BYTES = 1 << 20
"""Bytes of blocks that are parsed together, about: a call of a parser costs some 0.2 ms."""


class Parsed(NamedTuple):
    """The columns of some blocks.

    Attributes:
        values: The values of each column, in all rows of the blocks.
        bad: Rows that cannot be read, counted from the first one of the blocks, with reasons.
        read: Nanoseconds spent fetching bytes.
        decode: Nanoseconds spent parsing them.
        stored: Bytes fetched.
    """

    values: Mapping[str, Values]
    bad: Mapping[int, str]
    read: int
    decode: int
    stored: int


class TableSource(Source):
    """Some fields of a table.

    Args:
        encoders: What makes the fields of the columns.
        rows: The number of rows before each block, and of all; int64, shape `(blocks + 1,)`.
        sizes: Bytes of each block; int64, shape `(blocks,)`.
    """

    def __init__(self, encoders: Sequence[Encoder], rows: Indices, sizes: Indices) -> None:
        self._encoders = tuple(encoders)
        self._rows = rows
        self._size = sizes
        self.fields: tuple[Field, ...] = tuple(encoder.field for encoder in encoders)
        self.length = int(rows[-1])

    @abstractmethod
    def _parse(
        self, blocks: Sequence[int], columns: Sequence[str], encoders: Sequence[Encoder]
    ) -> Parsed:
        """Parses columns of blocks that `_alike` lets be parsed together."""

    @abstractmethod
    def _place(self, block: int, row: int) -> str:
        """Names the file and the line, or the number, of row `row` of a block."""

    @abstractmethod
    def _encoder(self, name: str) -> Encoder:
        """What makes a field of one column, as it is.

        Raises:
            FieldNotFoundError: If there is no such column.
        """

    @abstractmethod
    def _with(self, encoders: Sequence[Encoder]) -> Source:
        """The same table with other fields."""

    def _alike(self, one: int, other: int) -> bool:  # noqa: ARG002 - by default
        """Whether two blocks may be parsed together."""
        return True

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fields: missing values are filled, or an error of their row."""
        return tuple(map(Column.of, self.fields))

    @property
    def reads_whole_rows(self) -> bool:
        """Text is cut into values before one of them can be found."""
        return True

    def block_offsets(self, names: Sequence[str]) -> Indices:
        del names
        return self._rows

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        blocks = np.searchsorted(self._rows, rows, side="right") - 1
        starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        found: list[Read] = []
        first = size = 0
        ends = np.append(starts[1:], len(rows)).tolist()
        numbers = blocks[starts].tolist()
        for index, number in enumerate(numbers):
            size += int(self._size[number])
            last = index + 1 == len(numbers)
            if last or size >= GROUP_BYTES or not self._alike(number, numbers[index + 1]):
                a, b = int(starts[first]), ends[index]
                arrays = {name: array[a:b] for name, array in out.items()}
                found.append(partial(self._read, numbers[first : index + 1], rows[a:b], arrays))
                first, size = index + 1, 0
        return found

    def _read(self, blocks: Sequence[int], rows: Indices, out: Arrays) -> ReadStats:
        """Reads blocks that may be parsed together, and that all hold some of `rows`."""
        encoders = [encoder for encoder in self._encoders if encoder.field.name in out]
        parsed = self._parse(blocks, inputs_of(encoders), encoders)
        before = np.append(0, np.cumsum(np.diff(self._rows)[blocks]))
        owner = np.searchsorted(self._rows[blocks], rows, side="right") - 1
        take = rows - self._rows[blocks][owner] + before[owner]
        values, reasons = parsed.values, dict(parsed.bad)
        if len(take) < before[-1]:
            values = {name: some.take(take) for name, some in values.items()}
            reasons = {i: reasons[row] for i, row in enumerate(take.tolist()) if row in reasons}
        for encoder in encoders:
            for row, name in encoder.encode(values, out[encoder.field.name]):
                if row not in reasons:
                    reasons[row] = self._missing(int(rows[row]), name)
        bad = tuple(BadRow(int(rows[i]), why) for i, why in sorted(reasons.items()))
        return ReadStats(parsed.read, parsed.decode, parsed.stored, 0, bad)

    def _missing(self, row: int, name: str) -> str:
        block = int(np.searchsorted(self._rows, row, side="right")) - 1
        place = self._place(block, row - int(self._rows[block]))
        return (
            f"{place}: the value of column {name!r} is missing. Give fill= with a number to put in "
            "its place"
        )

    def select(self, names: Sequence[str]) -> Source:
        known = {encoder.field.name: encoder for encoder in self._encoders}
        if all(name in known for name in names):
            return self
        return self._with([known.get(name) or self._encoder(name) for name in names])

    def read_paths(self) -> dict[str, ReadPath]:
        return {field.name: ReadPath("parsed blocks", self._how()) for field in self.fields}

    def _how(self) -> str:
        """How blocks are read, for a person."""
        return "parsed block by block"


def joined(parts: Sequence[Values]) -> Values:
    """The values of one column, part after part."""
    missing = None
    if any(part.missing is not None for part in parts):
        missing = np.concatenate(
            [np.zeros(len(p), np.bool_) if p.missing is None else p.missing for p in parts]
        )
    if all(part.texts is None for part in parts):
        return Values(np.concatenate([part.data for part in parts]), missing)
    texts = [list(part.texts or ()) for part in parts]
    bases = itertools.accumulate([0, *map(len, texts[:-1])])
    codes = [part.data + base for part, base in zip(parts, bases, strict=True)]
    return Values(np.concatenate(codes), missing, list(itertools.chain.from_iterable(texts)))


def text_width(source: TableSource, name: str) -> int:
    """The most characters of a column of text; reads it once, in threads.

    Args:
        source: Any source of the table.
        name: The column.
    """

    def width(block: int) -> int:
        texts = source._parse([block], [name], []).values[name].texts
        return max(map(len, texts or ()), default=0)

    with ThreadPoolExecutor(cpu_count()) as threads:
        return max(threads.map(width, range(len(source._size))), default=0)
