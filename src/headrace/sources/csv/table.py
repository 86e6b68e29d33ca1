"""`CSVTable`: one or more CSV files as one table: their columns, rows and ranges."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import (
    DataError,
    FileFormatError,
    OptionError,
    did_you_mean,
    field_not_found,
    some_of,
)
from headrace.resources import cpu_count
from headrace.sources.csv.dialect import Dialect, detected, names_of
from headrace.sources.csv.infer import Found, kinds_in
from headrace.sources.csv.ranges import Ranges, rows_of, scan
from headrace.sources.csv.unpacked import compression_of, plain_copy
from headrace.sources.file import File
from headrace.sources.signatures import HEAD_BYTES as SIGNATURE_BYTES
from headrace.sources.signatures import looks_like
from headrace.sources.tables import KINDS
from headrace.spec import Column

HEAD_BYTES = 1 << 16
"""Bytes at the start of a file that tell its dialect, header and kinds of values."""

LARGEST_HEADER = 1 << 26
SAMPLED_FILES = 64
SAMPLED_RANGES = 8
"""So many files, and ranges of each, are looked at for the kinds of values."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CSVFile:
    """One file of a table.

    Attributes:
        path: The file that the user named.
        file: This file, or a plain copy of it.
        dialect: How its text is written.
        names: Its columns, in its own order.
        start: The byte at which its first row starts.
        line: The number of the line in which that is.
        head: Its first rows, for finding out what the columns hold.
    """

    path: str
    file: File
    dialect: Dialect
    names: tuple[str, ...]
    start: int
    line: int
    head: bytes


def open_csv(path: str, known: Dialect, delimiter: str | None) -> CSVFile:
    """Looks at the start of a file.

    Raises:
        MissingFileError, NoPermissionError: If it cannot be opened.
        FileFormatError: If it holds nothing, or its header cannot be used.
    """
    file = File(path)
    head = _head(file, min(file.identity.size, HEAD_BYTES))
    if compression_of(head):
        file = File(plain_copy(path))
        head = _head(file, min(file.identity.size, HEAD_BYTES))
    dialect, bom = detected(known, head, delimiter)
    if not dialect.is_ascii_like:
        file = File(plain_copy(path, dialect.encoding))
        head = _head(file, min(file.identity.size, HEAD_BYTES))
        dialect, bom = detected(replace(known, encoding="utf-8"), head, delimiter)
    if b"\0" in head[:SIGNATURE_BYTES]:
        raise FileFormatError(f"{path!r} is no CSV text: it looks like {looks_like(head)}.")
    size = file.identity.size
    rows = rows_of(head[bom:], dialect)
    while len(rows) < 2 + dialect.skip and len(head) < min(size, LARGEST_HEADER):
        head = _head(file, min(size, len(head) * 8))
        rows = rows_of(head[bom:], dialect)
    is_whole = len(head) == size
    rows = rows[dialect.skip :]
    if not rows:
        raise FileFormatError(f"{path!r} holds no rows. Leave it out, or write it again.")
    if dialect.names is None:
        start, end, before = rows.pop(0)
        text = head[bom + start : bom + end].removesuffix(b"\r")
        (record,) = dialect.reader([_decoded(text, dialect, path)])
        names = names_of(record, path)
        first, line = (rows[0][0], rows[0][2]) if rows else (len(head) - bom, before + 1)
    else:
        names = dialect.names
        first, _, line = rows[0]
    whole = rows if is_whole else rows[:-1]
    sample = head[bom + first : bom + whole[-1][1]] if whole else b""
    return CSVFile(path, file, dialect, names, bom + first, line + 1, sample)


def _head(file: File, size: int) -> bytes:
    out = np.empty(size, np.uint8)
    file.read_into(out, 0)
    return out.tobytes()


def _decoded(text: bytes, dialect: Dialect, path: str) -> str:
    try:
        return text.decode(dialect.encoding)
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"The header of {path!r} is no text in {dialect.encoding}: {error}. Say "
            "encoding=, such as 'cp1252'."
        ) from None


def _scanned(one: CSVFile) -> Ranges:
    return scan(one.file, one.path, one.dialect, one.start, one.line)


class CSVTable:
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
        """The files, for messages."""
        first = repr(self.files[0].path)
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1} more files"

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
