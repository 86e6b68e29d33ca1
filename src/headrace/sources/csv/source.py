"""`CSVSource`: reads columns of CSV files into fields, range by range."""

import itertools
import time
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import field_not_found
from headrace.sources.base import Arrays, BadRow, Read, ReadPath, ReadStats, Source
from headrace.sources.csv.parse import Layout, parse
from headrace.sources.csv.ranges import rows_of
from headrace.sources.csv.table import CSVTable
from headrace.sources.tables import (
    DateEncoder,
    Encoder,
    MatrixEncoder,
    NumberEncoder,
    TextEncoder,
    Values,
)
from headrace.sources.tables.encoders import inputs_of
from headrace.spec import Column, Field, Indices

GROUP_BYTES = 1 << 20
"""Text that is parsed together, about: each call of the parser costs some 0.2 ms."""

_SCRATCH = 4
"""Bytes that parsing holds for each byte of text, at most: the text, and columns of 8 bytes."""


class CSVSource(Source):
    """Some fields of a table.

    Args:
        table: The files.
        encoders: What makes the fields of the columns.
    """

    def __init__(self, table: CSVTable, encoders: Sequence[Encoder]) -> None:
        self._table = table
        self._encoders = tuple(encoders)
        self.fields: tuple[Field, ...] = tuple(encoder.field for encoder in encoders)
        ranges = table.ranges
        self._file = np.repeat(np.arange(len(ranges)), [len(r.lines) for r in ranges])
        self._start = np.concatenate([r.offsets[:-1] for r in ranges])
        self._size = np.concatenate([np.diff(r.offsets) for r in ranges])
        self._line = np.concatenate([r.lines for r in ranges])
        counts = np.concatenate([np.diff(r.rows) for r in ranges])
        self._rows: npt.NDArray[np.int64] = np.append(0, np.cumsum(counts))
        self.length = int(self._rows[-1])

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fields: what is missing is filled, or an error of its row."""
        return tuple(map(Column.of, self.fields))

    @property
    def reads_whole_rows(self) -> bool:
        """Text is cut into values before one of them can be found."""
        return True

    def block_offsets(self, names: Sequence[str]) -> Indices:
        del names
        return self._rows

    def scratch(self, names: Sequence[str]) -> int:
        del names
        return _SCRATCH * max(GROUP_BYTES, int(self._size.max(initial=0)))

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

    def _alike(self, one: int, other: int) -> bool:
        """Whether two blocks are of files whose rows are written in the same way."""
        a, b = (self._table.files[self._file[number]] for number in (one, other))
        return a is b or (a.names == b.names and a.dialect == b.dialect)

    def _read(self, blocks: Sequence[int], rows: Indices, out: Arrays) -> ReadStats:
        """Reads blocks of files that are written alike; all that hold `rows`."""
        began = time.perf_counter_ns()
        text, places = self._fetch(blocks)
        fetched = time.perf_counter_ns()
        encoders = [encoder for encoder in self._encoders if encoder.field.name in out]
        counts = np.diff(self._rows)[blocks]
        before = np.append(0, np.cumsum(counts))
        owner = np.searchsorted(self._rows[blocks], rows, side="right") - 1
        take = rows - self._rows[blocks][owner] + before[owner]
        layout = self._layout(blocks[0], encoders)
        values, reasons = parse(text, int(before[-1]), layout, 0)
        if reasons:
            values, reasons = self._one_by_one(text, places, blocks, layout)
        if len(take) < before[-1]:
            values = {name: some.take(take) for name, some in values.items()}
            reasons = {i: reasons[row] for i, row in enumerate(take.tolist()) if row in reasons}
        for encoder in encoders:
            for row, name in encoder.encode(values, out[encoder.field.name]):
                reasons.setdefault(row, self._missing(int(rows[row]), name))
        bad = tuple(BadRow(int(rows[i]), why) for i, why in sorted(reasons.items()))
        for file in {int(self._file[block]) for block in blocks}:
            self._table.files[file].file.check_unchanged()
        return ReadStats(fetched - began, time.perf_counter_ns() - fetched, len(text), 0, bad)

    def _fetch(self, blocks: Sequence[int]) -> tuple[bytes, list[tuple[int, int]]]:
        """The text of blocks, each ended by a line end; and where each is in it."""
        sizes = self._size[blocks]
        text = np.empty(int(sizes.sum()) + len(blocks), np.uint8)
        places = []
        at = 0
        for block, size in zip(blocks, sizes.tolist(), strict=True):
            one = self._table.files[self._file[block]]
            one.file.read_into(text[at : at + size], int(self._start[block]))
            places.append((at, at + size))
            at += size
            # The last line of a file may lack it.
            newline = one.dialect.newline[0]
            if text[at - 1] != newline:
                text[at] = newline
                at += 1
        return text[:at].tobytes(), places

    def _layout(self, block: int, encoders: Sequence[Encoder]) -> Layout:
        one = self._table.files[self._file[block]]
        kinds = {name: self._table.kinds[name].kind or "float" for name in inputs_of(encoders)}
        for encoder in encoders:
            if isinstance(encoder, MatrixEncoder) and encoder.dtype == np.float32:
                for name in encoder.columns:
                    if kinds[name] == "float":
                        kinds[name] = "float32"
        return Layout(one.dialect, one.names, kinds)

    def _one_by_one(
        self,
        text: bytes,
        places: Sequence[tuple[int, int]],
        blocks: Sequence[int],
        layout: Layout,
    ) -> tuple[dict[str, Values], dict[int, str]]:
        """Parses each block by itself, so that errors name its file and its lines."""
        parsed = []
        reasons: dict[int, str] = {}
        base = 0
        for (start, stop), block in zip(places, blocks, strict=True):
            count = int(self._rows[block + 1] - self._rows[block])
            values, wrong = parse(text[start:stop], count, layout, int(self._line[block]))
            path = self._table.files[self._file[block]].path
            reasons |= {base + row: f"{path!r}, {why}" for row, why in wrong.items()}
            parsed.append(values)
            base += count
        return {name: _joined([part[name] for part in parsed]) for name in parsed[0]}, reasons

    def _missing(self, row: int, name: str) -> str:
        block = int(np.searchsorted(self._rows, row, side="right")) - 1
        path = self._table.files[self._file[block]].path
        number = row - int(self._rows[block])
        text, _ = self._fetch([block])
        one = self._table.files[self._file[block]]
        line = int(self._line[block]) + rows_of(text, one.dialect)[number][2]
        return (
            f"{path!r}, line {line}: the value of column {name!r} is missing. Give fill= with a "
            "number to put in its place"
        )

    def select(self, names: Sequence[str]) -> Source:
        there = {field.name for field in self.fields}
        if there.issuperset(names):
            return self
        known = {encoder.field.name: encoder for encoder in self._encoders}
        return CSVSource(
            self._table, [known.get(name) or encoder_of(self._table, name) for name in names]
        )

    def files(self) -> tuple[str, ...]:
        return tuple(path for one in self._table.files for path in {one.path, one.file.path})

    def read_paths(self) -> dict[str, ReadPath]:
        return {
            field.name: ReadPath("parsed ranges", "text, parsed by pyarrow range by range")
            for field in self.fields
        }

    def fingerprint(self) -> str:
        digest = blake2b(digest_size=8)
        for one in self._table.files:
            digest.update(f"{one.dialect} {one.names} {one.file.identity.size}".encode())
            digest.update(one.file.sample())
        kinds = {name: found.kind for name, found in self._table.kinds.items()}
        digest.update(f"{self._encoders} {kinds}".encode())
        return digest.hexdigest()


def encoder_of(table: CSVTable, name: str, fill: float | None = None) -> Encoder:
    """What makes a field of one column, as it is.

    Raises:
        FieldNotFoundError: If there is no such column.
    """
    if name not in table.kinds:
        raise field_not_found(name, table.names, table.where)
    kind = table.kinds[name].kind or "float"
    if kind == "text":
        return TextEncoder(name, text_width(table, name))
    if kind == "date":
        return DateEncoder(name)
    dtypes: Mapping[str, Any] = {"int": np.int64, "float": np.float64, "bool": np.bool_}
    return NumberEncoder(name, np.dtype(dtypes[kind]), fill)


def text_width(table: CSVTable, name: str) -> int:
    """The most characters that a value of a column of text has; reads all files once."""
    probe = CSVSource(table, [TextEncoder(name, 1)])
    widest = 0
    for block in range(len(probe._size)):
        text, _ = probe._fetch([block])
        layout = probe._layout(block, probe._encoders)
        count = int(probe._rows[block + 1] - probe._rows[block])
        values, _ = parse(text, count, layout, 0)
        widest = max([widest, *map(len, values[name].texts or ())])
    return widest


def _joined(parts: Sequence[Values]) -> Values:
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
