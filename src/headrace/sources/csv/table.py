"""`CSVTable`: CSV files as one table; and `CSVSource`, which reads its columns into fields."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from headrace.errors import DataError, OptionError, did_you_mean, field_not_found, some_of
from headrace.resources import cpu_count
from headrace.sources.base import Source
from headrace.sources.csv.dialect import Dialect
from headrace.sources.csv.files import HEAD_BYTES, CSVFile, open_csv
from headrace.sources.csv.infer import Found, kinds_in
from headrace.sources.csv.parse import Layout, parse
from headrace.sources.csv.ranges import Ranges, rows_of, scan
from headrace.sources.tables import (
    KINDS,
    DateEncoder,
    Encoder,
    NumberEncoder,
    Parsed,
    Table,
    TableSource,
    TextEncoder,
    Values,
    joined,
    named,
    text_width,
)
from headrace.sources.tables.source import GROUP_BYTES
from headrace.spec import Column

SAMPLED_FILES = 64
SAMPLED_RANGES = 8
"""So many files, and ranges of each, are looked at for the kinds of values."""

_SCRATCH = 4
"""Bytes that parsing holds for each byte of text, at most: the text, and columns of 8 bytes."""


def _scanned(one: CSVFile) -> Ranges:
    return scan(one.file, one.path, one.dialect, one.start, one.line)


class CSVTable(Table):
    """The rows of files, one after the other, as one table.

    Args:
        paths: The files; each once.
        dialect: How their text is written.
        delimiter: The delimiter; None to find it out.
        types: What some columns hold: names of columns, each with one of `KINDS`.
    """

    def __init__(
        self,
        paths: Sequence[str],
        dialect: Dialect,
        delimiter: str | None = None,
        types: Mapping[str, str] | None = None,
    ) -> None:
        first = open_csv(paths[0], dialect, delimiter)
        known = {paths[0]: first}
        for path in paths[1:]:
            if path not in known:
                known[path] = open_csv(path, dialect, first.dialect.delimiter)
        self.files = [known[path] for path in paths]
        self.names = self.files[0].names
        self._types = dict(types or {})
        for name, kind in self._types.items():
            if name not in self.names:
                raise field_not_found(name, self.names, f"{self.where} (types=)")
            if kind not in KINDS:
                raise OptionError(
                    f"Expected types= with {some_of(list(KINDS))}. Received: {kind!r} for {name!r}"
                    f"{did_you_mean(str(kind), KINDS)}"
                )
        for other in self.files[1:]:
            self._check_columns(other)

    def _check_columns(self, other: CSVFile) -> None:
        lacking = [name for name in self.names if name not in other.names]
        more = [name for name in other.names if name not in self.names]
        if lacking or more:
            what = f"lacks {some_of(lacking)}" if lacking else f"has {some_of(more)} as well"
            raise DataError(
                f"The files differ in their columns: {other.path!r} {what}, beside "
                f"{self.files[0].path!r}. Leave it out, or rewrite one of them."
            )

    @property
    def where(self) -> str:
        return named([one.path for one in self.files])

    @cached_property
    def ranges(self) -> list[Ranges]:
        """The ranges of each file, found by one pass over it."""
        each = {id(one): one for one in self.files}
        with ThreadPoolExecutor(cpu_count()) as threads:
            found = dict(zip(each, threads.map(_scanned, each.values()), strict=True))
        return [found[id(one)] for one in self.files]

    @cached_property
    def kinds(self) -> dict[str, Found]:
        """What each column holds, by a sample from all files, or as `types=` says."""
        found = dict.fromkeys(self.names, Found())
        step = -(-len(self.files) // SAMPLED_FILES)
        for number in range(0, len(self.files), step):
            for text in self._sample(number):
                one = self.files[number]
                for name, kind in kinds_in(text, one.names, one.dialect).items():
                    found[name] |= kind
        given = {name: Found(kind, found[name].missing) for name, kind in self._types.items()}
        return {**found, **given}

    def _sample(self, number: int) -> list[bytes]:
        one = self.files[number]
        found = [one.head]
        if one.file.identity.size > HEAD_BYTES:
            ranges = self.ranges[number]
            count = len(ranges.lines)
            for index in np.linspace(0, count - 1, min(SAMPLED_RANGES, count)).astype(int):
                start, stop = ranges.offsets[index : index + 2].tolist()
                out = np.empty(stop - start, np.uint8)
                one.file.read_into(out, start)
                found.append(out.tobytes())
        return found

    def column(self, name: str) -> Column:
        """What a column holds.

        Raises:
            FieldNotFoundError: If there is no such column.
        """
        if name not in self.kinds:
            raise field_not_found(name, self.names, self.where)
        found = self.kinds[name]
        kind = found.kind or "float"
        dtypes: dict[str, Any] = {"int": "i8", "float": "f8", "bool": "?", "date": "M8[us]"}
        dtype = np.dtype(dtypes[kind]) if kind in dtypes else None
        return Column(
            name, {"int": "number", "float": "number"}.get(kind, kind), (), dtype, found.missing
        )

    def encoder(self, name: str, fill: float | None = None) -> Encoder:
        if name not in self.kinds:
            raise field_not_found(name, self.names, self.where)
        kind = self.kinds[name].kind or "float"
        if kind == "text":
            return TextEncoder(name, text_width(CSVSource(self, []), name))
        if kind == "date":
            return DateEncoder(name)
        dtypes: dict[str, Any] = {"int": np.int64, "float": np.float64, "bool": np.bool_}
        return NumberEncoder(name, np.dtype(dtypes[kind]), fill)

    def source(self, encoders: Sequence[Encoder]) -> Source:
        return CSVSource(self, encoders)


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
        return self._table.encoder(name)

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
