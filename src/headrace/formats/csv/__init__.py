"""CSV files: how they are recognised, and what their columns are."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headrace.errors import FieldNotFoundError, MissingDependencyError, OptionError, some_of
from headrace.formats.base import HEAD_BYTES, Format, Location, Samples
from headrace.sources import Source
from headrace.sources.csv.dialect import DELIMITERS, NA, Dialect
from headrace.spec import Column, Structure

SUFFIXES = frozenset({".csv", ".tsv", ".tab"})
PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst"})
MATRIX = "x"
"""The name of the field that a list of columns becomes."""


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


class CSVLocation(Location):
    """Files as one table."""

    format_name: ClassVar[str] = "CSV"
    column_word: ClassVar[str] = "column"

    def __init__(self, paths: Sequence[str], options: Mapping[str, Any]) -> None:
        super().__init__(paths[0])
        self._paths = [os.path.realpath(path) for path in paths]
        known = dict(options)
        self._fill = _checked_fill(known.pop("fill", None))
        self._types = _checked_types(known.pop("types", None))
        self._delimiter = known.pop("delimiter", None)
        self._dialect = _dialect(self._delimiter, **known)

    @cached_property
    def table(self) -> Any:
        """The table."""
        try:
            from headrace.sources.csv.table import CSVTable
        except ImportError as error:
            raise MissingDependencyError(
                "Reading CSV files needs pyarrow, which is not installed. Install it with: "
                'pip install "headrace[tables]"'
            ) from error
        return CSVTable(self._paths, self._dialect, self._delimiter, self._types)

    def names(self) -> list[str]:
        return list(self.table.names)

    def column(self, name: str) -> Column:
        found: Column = self.table.column(name)
        return found

    def source(self, names: Sequence[str], end: int | None = None) -> Source:
        from headrace.sources.csv.source import CSVSource, encoder_of

        del end
        return CSVSource(self.table, [encoder_of(self.table, n, self._fill) for n in names])

    def samples(self, parts: tuple[Structure, Structure, Structure], end: int | None) -> Samples:
        """As for all formats, but that a list of columns of numbers is one float32 matrix."""
        from headrace.sources.csv.source import CSVSource, encoder_of
        from headrace.sources.tables import Encoder, MatrixEncoder

        del end
        encoders: dict[str, Encoder] = {}

        def fields(structure: Structure, part: str) -> Structure:
            if isinstance(structure, list):
                name = part
                while name in self.table.names:
                    name += "_"
                self._check_numbers(structure, part)
                encoders[name] = MatrixEncoder(
                    name, tuple(structure), np.dtype(np.float32), self._fill
                )
                return name
            if isinstance(structure, tuple):
                return tuple(fields(one, f"{part}.{i}") for i, one in enumerate(structure))
            if isinstance(structure, Mapping):
                return {key: fields(one, f"{part}.{key}") for key, one in structure.items()}
            if structure is not None and structure not in encoders:
                encoders[structure] = encoder_of(self.table, structure, self._fill)
            return structure

        named = tuple(
            fields(p, part) for p, part in zip(parts, ("x", "y", "sample_weight"), strict=True)
        )
        return Samples(CSVSource(self.table, list(encoders.values())), named)

    def unnamed_x(self, taken: Sequence[str]) -> Structure:
        left = [name for name in self.table.names if name not in taken]
        if not left:
            raise FieldNotFoundError(f"Which column of {self.table.where} is x? None is left.")
        return left

    def _check_numbers(self, names: Sequence[str], part: str) -> None:
        """Makes sure that columns can be one matrix of numbers."""
        others = [
            f"{name!r} ({self.column(name).type})"
            for name in names
            if self.column(name).type not in ("number", "bool")
        ]
        if others:
            raise OptionError(
                f"{part} would be a matrix of numbers, and of {self.table.where} these columns "
                f"hold others: {', '.join(others[:6])}{' ...' * (len(others) > 6)}. Name "
                f"columns of numbers with {part}=[...], or say what they hold with types=."
            )


def _checked_fill(fill: Any) -> float | None:
    if fill is not None and (isinstance(fill, bool) or not isinstance(fill, (int, float))):
        raise OptionError(f"Expected fill= to be a number. Received: {fill!r}")
    return fill


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
