"""CSV files: how they are recognised, and what their columns are."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from headrace.errors import OptionError, some_of
from headrace.formats.base import HEAD_BYTES, Format, Location
from headrace.formats.tables import TableLocation
from headrace.sources.csv.dialect import DELIMITERS, NA, Dialect

SUFFIXES = frozenset({".csv", ".tsv", ".tab"})
PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst"})


class CSV(Format):
    """Text with a value in each column of each row, separated by commas or the like."""

    name: ClassVar[str] = "CSV"
    reader: ClassVar[str] = "hr.from_csv"
    options: ClassVar[dict[str, str]] = {
        "fill": "a number in place of each missing one",
        "names": "the columns of files without a header",
        "types": "what columns hold: int, float, bool, text or date",
        "delimiter": "the character between two values; found out if not given",
        "quote": "the character around values",
        "comment": "the character that begins a comment",
        "decimal": "the decimal point",
        "thousands": "the separator of thousands",
        "encoding": "the encoding, such as cp1252",
        "na": "what counts as a missing value",
        "skip": "lines in front of the header",
    }

    def recognises(self, path: Path, start: bytes) -> bool:
        if path.suffix.lower() in PACKED_SUFFIXES and Path(path.stem).suffix.lower() in SUFFIXES:
            return True
        if start.startswith((b"\xff\xfe", b"\xfe\xff")) and path.suffix.lower() in SUFFIXES:
            return True
        if not start or b"\0" in start:
            return False
        if path.suffix.lower() in SUFFIXES:
            return True
        lines = start.splitlines()
        if len(start) == HEAD_BYTES:
            lines.pop()  # which may be cut off
        return len(lines) > 1 and any(
            lines[0].count(one) == lines[1].count(one) > 0 for one in map(str.encode, DELIMITERS)
        )

    def open(self, path: str, **options: Any) -> Location:
        return CSVLocation([path], options)

    def open_all(self, paths: Sequence[str], options: Mapping[str, Any]) -> list[Location]:
        return [CSVLocation(paths, options)]


class CSVLocation(TableLocation):
    """Files as one table."""

    format_name: ClassVar[str] = "CSV"

    def __init__(self, paths: Sequence[str], options: Mapping[str, Any]) -> None:
        known = dict(options)
        super().__init__(paths[0], known.pop("fill", None))
        self._paths = [os.path.realpath(path) for path in paths]
        self._types = _checked_types(known.pop("types", None))
        self._delimiter = known.pop("delimiter", None)
        self._dialect = _dialect(self._delimiter, **known)

    def _open(self) -> Any:
        from headrace.sources.csv.table import CSVTable

        return CSVTable(self._paths, self._dialect, self._delimiter, self._types)


def _checked_types(types: Any) -> dict[str, str] | None:
    if isinstance(types, str):
        # As a command line gives them: "zip=text,when=date".
        pairs = [one.partition("=") for one in types.split(",")]
        types = {name.strip(): kind.strip() for name, _, kind in pairs}
    if types is not None and not isinstance(types, Mapping):
        raise OptionError(
            f"Expected types= to be a dict such as {{'zip': 'text'}}. Received: {types!r}"
        )
    return None if types is None else dict(types)


def _dialect(delimiter: str | None, **options: Any) -> Dialect:
    for name in ("names", "na"):
        value = options.get(name)
        if isinstance(value, str):
            options[name] = tuple(value.split(","))
        elif value is not None:
            options[name] = tuple(value)
    if options.get("na") is None:
        options["na"] = NA
    skip = options.get("skip", 0)
    if isinstance(skip, str) and skip.isdigit():
        options["skip"] = int(skip)
    names = options.get("names")
    if names is not None and len(set(names)) < len(names):
        raise OptionError(f"Expected names= without repetitions. Received: {some_of(names)}")
    if delimiter:
        options["delimiter"] = delimiter
    return Dialect(**options)
