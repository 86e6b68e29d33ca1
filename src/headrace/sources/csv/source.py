"""`CSVSource`: reads columns of CSV files into fields, range by range."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import numpy as np

from headrace.errors import field_not_found
from headrace.resources import cpu_count
from headrace.sources.base import Source
from headrace.sources.csv.parse import Layout, parse
from headrace.sources.csv.ranges import rows_of
from headrace.sources.csv.table import CSVTable
from headrace.sources.tables import (
    DateEncoder,
    Encoder,
    NumberEncoder,
    Parsed,
    TableSource,
    TextEncoder,
    Values,
    joined,
)
from headrace.sources.tables.source import GROUP_BYTES

_SCRATCH = 4
"""Bytes that parsing holds for each byte of text, at most: the text, and columns of 8 bytes."""


class CSVSource(TableSource):
    """Some fields of CSV files.

    Args:
        table: The files.
        encoders: What makes the fields of the columns.
    """

    def __init__(self, table: CSVTable, encoders: Sequence[Encoder]) -> None:
        ranges = table.ranges
        counts = np.concatenate([np.diff(r.rows) for r in ranges])
        rows = np.append(0, np.cumsum(counts))
        super().__init__(encoders, rows, np.concatenate([np.diff(r.offsets) for r in ranges]))
        self._table = table
        self._file = np.repeat(np.arange(len(ranges)), [len(r.lines) for r in ranges])
        self._start = np.concatenate([r.offsets[:-1] for r in ranges])
        self._line = np.concatenate([r.lines for r in ranges])

    def scratch(self, names: Sequence[str]) -> int:
        del names
        return _SCRATCH * max(GROUP_BYTES, int(self._size.max(initial=0)))

    def _alike(self, one: int, other: int) -> bool:
        """Whether two blocks are of files whose rows are written in the same way."""
        a, b = (self._table.files[self._file[number]] for number in (one, other))
        return a is b or (a.names == b.names and a.dialect == b.dialect)

    def _parse(
        self, blocks: Sequence[int], columns: Sequence[str], encoders: Sequence[Encoder]
    ) -> Parsed:
        began = time.perf_counter_ns()
        text, places = self._fetch(blocks)
        fetched = time.perf_counter_ns()
        rows = int((self._rows[np.add(blocks, 1)] - self._rows[blocks]).sum())
        layout = self._layout(blocks[0], columns, encoders)
        values, bad = parse(text, rows, layout, 0)
        if bad:
            values, bad = self._one_by_one(text, places, blocks, layout)
        parsed = time.perf_counter_ns()
        for number in {int(self._file[block]) for block in blocks}:
            self._table.files[number].file.check_unchanged()
        return Parsed(values, bad, fetched - began, parsed - fetched, len(text))

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

    def _layout(self, block: int, columns: Sequence[str], encoders: Sequence[Encoder]) -> Layout:
        one = self._table.files[self._file[block]]
        kinds = {name: self._table.kinds[name].kind or "float" for name in columns}
        wide = {
            name
            for encoder in encoders
            if encoder.field.dtype != np.float32
            for name in encoder.inputs
        }
        for name in columns:
            if kinds[name] == "float" and name not in wide:
                # Numbers of single precision need no detour over double ones.
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
        return {name: joined([part[name] for part in parsed]) for name in parsed[0]}, reasons

    def _place(self, block: int, row: int) -> str:
        one = self._table.files[self._file[block]]
        text, _ = self._fetch([block])
        line = int(self._line[block]) + rows_of(text, one.dialect)[row][2]
        return f"{one.path!r}, line {line}"

    def _encoder(self, name: str) -> Encoder:
        return encoder_of(self._table, name)

    def _with(self, encoders: Sequence[Encoder]) -> Source:
        return CSVSource(self._table, encoders)

    def files(self) -> tuple[str, ...]:
        return tuple(path for one in self._table.files for path in {one.path, one.file.path})

    def _how(self) -> str:
        return "text, parsed by pyarrow block by block"

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

    def width(block: int) -> int:
        values = probe._parse([block], [name], probe._encoders).values[name]
        return max(map(len, values.texts or ()), default=0)

    with ThreadPoolExecutor(cpu_count()) as threads:
        return max(threads.map(width, range(len(probe._size))), default=0)
