"""`CSVFile`: a CSV file whose start was looked at: its dialect, its columns, its first rows."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headrace.errors import (
    FileFormatError,
)
from headrace.sources.csv.dialect import Dialect, detected, names_of
from headrace.sources.csv.ranges import rows_of
from headrace.sources.csv.unpacked import compression_of, plain_copy
from headrace.sources.file import File
from headrace.sources.signatures import HEAD_BYTES as SIGNATURE_BYTES
from headrace.sources.signatures import looks_like

HEAD_BYTES = 1 << 16
"""Bytes at the start of a file that tell its dialect, header and kinds of values."""

LARGEST_HEADER = 1 << 26

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
