"""Parses the text of ranges: fast where it is plain, and value by value where it is not.

Each step gives up where it could be wrong, and the next one reads the same text again:

1. pyarrow converts the columns to their types.
2. pyarrow cuts the text into columns, and each is converted apart: blanks around numbers,
   separators of thousands, and values that do not convert, which are then found.
3. Python's `csv` cuts row by row: rows of too few or too many values, and bytes that are no text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from headrace.sources.csv.dialect import Dialect
from headrace.sources.csv.ranges import rows_of
from headrace.sources.tables import Values

Array = npt.NDArray[Any]
Bad = dict[int, str]
"""Rows of the text that cannot be read, each with the reason, which begins with its line."""

TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_ARROW = {
    "int": pa.int64(),
    "float": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "text": pa.dictionary(pa.int32(), pa.string()),
    "date": pa.timestamp("us"),
}
_NUMPY: dict[str, np.dtype[Any]] = {
    "int": np.dtype(np.int64),
    "float": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "bool": np.dtype(np.bool_),
    "text": np.dtype(np.int32),
    "date": np.dtype("M8[us]"),
}
_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE
)
_WORDS = {
    "int": "whole number",
    "float": "number",
    "float32": "number",
    "bool": "true or false",
    "date": "date",
    "text": "text",
}


@dataclass(frozen=True)
class Layout:
    """How the rows of a file are read.

    Attributes:
        dialect: How the text is written.
        names: All columns, in the order of the file.
        kinds: The columns that are read, and as what: one of `KINDS`, or "float32".
    """

    dialect: Dialect
    names: tuple[str, ...]
    kinds: Mapping[str, str]


def parse(text: bytes, rows: int, layout: Layout, line: int) -> tuple[dict[str, Values], Bad]:
    """The values of some columns.

    Args:
        text: Whole rows, encoded as the dialect says.
        rows: How many there are, as counted.
        layout: What is read.
        line: The number of the first line, for messages.

    Returns:
        The values, by column, and the rows that cannot be read.
    """
    dialect = layout.dialect
    if dialect.encoding.lower() not in ("utf-8", "ascii", "utf8"):
        text = text.decode(dialect.encoding, "surrogateescape").encode("utf-8", "surrogateescape")
    if dialect.comment is None:
        plain = dialect.thousands is None
        for step in (_typed, _column_by_column) if plain else (_column_by_column,):
            found = step(text, rows, layout, line)
            if found is not None:
                return found
    return _row_by_row(text, rows, layout, line)


def _typed(
    text: bytes, rows: int, layout: Layout, line: int
) -> tuple[dict[str, Values], Bad] | None:
    """All columns converted while the text is cut; None if that may be wrong."""
    del line
    types = {name: _ARROW[kind] for name, kind in layout.kinds.items()}
    table = _cut(text, layout, types, layout.dialect.na)
    if table is None or table.num_rows != rows:
        return None
    return {n: _values(table.column(n), layout.kinds[n]) for n in layout.kinds}, {}


def _cut(
    text: bytes, layout: Layout, types: Mapping[str, Any], na: Sequence[str]
) -> pa.Table | None:
    """The text cut into columns by pyarrow; None if it refuses."""
    dialect = layout.dialect
    quote: Any = dialect.quote or False
    try:
        return csv.read_csv(
            pa.BufferReader(text),
            read_options=csv.ReadOptions(
                use_threads=False, column_names=layout.names, block_size=len(text) + 1
            ),
            parse_options=csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=quote,
                newlines_in_values=bool(quote) and quote.encode() in text,
            ),
            convert_options=csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=na,
                true_values=TRUE,
                false_values=FALSE,
                strings_can_be_null=bool(na),
                decimal_point=dialect.decimal,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _values(column: pa.ChunkedArray, kind: str) -> Values:
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    missing = None
    texts = None
    if array.null_count:
        missing = pc.is_null(array).to_numpy(zero_copy_only=False)
    if kind == "text":
        texts = array.dictionary.to_pylist()
        array = array.indices
    if missing is not None:
        array = pc.fill_null(array, _zero(kind))
    return Values(array.to_numpy(zero_copy_only=False), missing, texts)


def _zero(kind: str) -> Any:
    """What is put where a value is missing."""
    return {"bool": False, "date": np.datetime64(0, "us")}.get(kind, 0)


def _column_by_column(
    text: bytes, rows: int, layout: Layout, line: int
) -> tuple[dict[str, Values], Bad] | None:
    """The columns as text, each converted by itself; None if the text could not be cut."""
    table = _cut(text, layout, dict.fromkeys(layout.kinds, pa.string()), ())
    if table is None or table.num_rows != rows:
        return None
    found: dict[str, Values] = {}
    wrong: dict[int, tuple[str, str]] = {}
    for name, kind in layout.kinds.items():
        column = table.column(name).combine_chunks()
        values = _converted(column, kind, layout.dialect)
        if values is None:
            texts = [value.as_py() for value in column]
            values, failed = _one_by_one(texts, kind, layout.dialect)
            for row in failed:
                wrong.setdefault(row, (name, texts[row]))
        found[name] = values
    if not wrong:
        return found, {}
    lines = [line + before for _, _, before in rows_of(text, layout.dialect)]
    if len(lines) != rows:
        return None
    return found, {
        row: no_value(lines[row], name, value, layout.kinds[name])
        for row, (name, value) in wrong.items()
    }


def no_value(line: int, name: str, value: str, kind: str) -> str:
    """The reason why a value cannot be read."""
    shown = repr(value if len(value) <= 60 else f"{value[:57]}...")
    return (
        f"line {line}, column {name!r}: expected a {_WORDS[kind]}, received {shown}. Give "
        f"types={{{name!r}: 'text'}} (or 'float', for an 'int'), or na= with {shown} in it"
    )


def _converted(column: pa.Array, kind: str, dialect: Dialect) -> Values | None:
    """A column of text converted as a whole; None if some value does not convert."""
    trimmed = pc.utf8_trim_whitespace(column)
    is_missing = pc.is_in(trimmed, value_set=pa.array(dialect.na, pa.string()))
    if kind == "text":
        column = pc.if_else(is_missing, pa.scalar(None, pa.string()), column)
        return _values(pa.chunked_array([pc.dictionary_encode(column)]), kind)
    if dialect.thousands is not None and kind in ("int", "float", "float32"):
        trimmed = pc.replace_substring(trimmed, dialect.thousands, "")
    if dialect.decimal != "." and kind in ("float", "float32"):
        trimmed = pc.replace_substring(trimmed, dialect.decimal, ".")
    column = pc.if_else(is_missing, pa.scalar(None, pa.string()), trimmed)
    try:
        made = pc.cast(column, _ARROW[kind])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return _values(pa.chunked_array([made]), kind)


def _one_by_one(
    texts: Sequence[str | None], kind: str, dialect: Dialect
) -> tuple[Values, list[int]]:
    """Values converted one by one; and the places of those that do not convert."""
    na = frozenset(dialect.na)
    convert = _CONVERT[kind]
    data = np.zeros(len(texts), _NUMPY[kind])
    missing = np.zeros(len(texts), np.bool_)
    failed = []
    codes: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text is None or text.strip() in na:
            missing[row] = True
        elif kind == "text":
            data[row] = codes.setdefault(text, len(codes))
        else:
            plain = text.strip()
            if kind in ("int", "float", "float32"):
                plain = _plain_number(plain, dialect)
            try:
                data[row] = convert(plain)
            except (ValueError, OverflowError):
                failed.append(row)
    return Values(data, missing if missing.any() else None, list(codes) or None), failed


def _plain_number(text: str, dialect: Dialect) -> str:
    if dialect.thousands is not None:
        text = text.replace(dialect.thousands, "")
    return text if dialect.decimal == "." else text.replace(dialect.decimal, ".")


def to_int(text: str) -> int:
    """A whole number of 64 bits.

    Raises:
        ValueError: If it is none.
    """
    if not _INT.fullmatch(text) or not -(2**63) <= (number := int(text)) < 2**63:
        raise ValueError(text)
    return number


def to_float(text: str) -> float:
    """A number, also "inf" and "nan".

    Raises:
        ValueError: If it is none.
    """
    if not _FLOAT.fullmatch(text):
        raise ValueError(text)
    return float(text)


def to_bool(text: str) -> bool:
    """True or false, as pandas understands the words.

    Raises:
        ValueError: If it is neither.
    """
    if text not in TRUE + FALSE:
        raise ValueError(text)
    return text in TRUE


def to_date(text: str) -> np.datetime64:
    """A date or a time as ISO 8601 writes them; times of other zones become UTC.

    Raises:
        ValueError: If it is none.
    """
    made = datetime.fromisoformat(text)
    if made.tzinfo is not None:
        made = (made - made.utcoffset()).replace(tzinfo=None)  # type: ignore[operator]
    return np.datetime64(made, "us")


_CONVERT: dict[str, Callable[[str], Any]] = {
    "int": to_int,
    "float": to_float,
    "float32": to_float,
    "bool": to_bool,
    "date": to_date,
    "text": str,
}


def _row_by_row(text: bytes, rows: int, layout: Layout, line: int) -> tuple[dict[str, Values], Bad]:
    """Each row cut by Python's `csv`, and each value converted by itself."""
    width = len(layout.names)
    places = {name: layout.names.index(name) for name in layout.kinds}
    columns: dict[str, list[str | None]] = {name: [] for name in layout.kinds}
    bad: Bad = {}
    lines = []
    for row, (start, end, before) in enumerate(rows_of(text, layout.dialect)):
        lines.append(line + before)
        raw = text[start:end].removesuffix(b"\r")
        (record,) = layout.dialect.reader([raw.decode("utf-8", "surrogateescape")])
        if len(record) != width:
            bad[row] = f"line {lines[-1]}: expected {width} values, received {len(record)}"
            record = [""] * width
        for name, place in places.items():
            value = record[place]
            if not value.isascii() and layout.kinds[name] == "text":
                try:
                    value.encode()
                except UnicodeEncodeError:
                    shown = value.encode("utf-8", "surrogateescape")
                    bad[row] = (
                        f"line {lines[-1]}, column {name!r}: {shown!r} is no text in "
                        f"{layout.dialect.encoding}. Say encoding=, such as 'cp1252'"
                    )
                    value = ""
            columns[name].append(value)
    assert len(lines) == rows, (len(lines), rows)
    found = {}
    for name, kind in layout.kinds.items():
        found[name], failed = _one_by_one(columns[name], kind, layout.dialect)
        for row in failed:
            bad.setdefault(row, no_value(lines[row], name, str(columns[name][row]), kind))
    return found, bad
