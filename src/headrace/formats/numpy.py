"""NumPy's files: one array in `.npy`, and arrays by their names in `.npz`."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from headrace.errors import ShapeError, field_not_found, unequal_lengths
from headrace.formats.base import Format, Location
from headrace.sources import Source
from headrace.sources.zipped import Member, ZipSource

_NPY = b"\x93NUMPY"
_ZIP = b"PK"
ONLY = "x"
"""The name of the array in a `.npy` file, which has none of its own."""


class NumPy(Format):
    """`.npy` files, and uncompressed `.npz` files."""

    name: ClassVar[str] = "NumPy"

    def recognises(self, path: Path, start: bytes) -> bool:
        return start.startswith(_NPY) or (start.startswith(_ZIP) and path.suffix.lower() == ".npz")

    def open(self, path: str, **options: Any) -> Location:
        return NumPyLocation(path, **options)


class NumPyLocation(Location):
    """One file."""

    format_name: ClassVar[str] = "NumPy"
    column_word: ClassVar[str] = "array"

    def names(self) -> list[str]:
        if not zipfile.is_zipfile(self.path):
            return [ONLY]
        with zipfile.ZipFile(self.path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]

    def source(self, names: Sequence[str], end: int | None = None) -> Source:
        return _NumPySource(self, names, end)

    def array(self, name: str) -> Source:
        """One array by itself."""
        from headrace.sources.arrays import array_source

        there = self.names()
        if name not in there:
            raise field_not_found(name, there, repr(self.path))
        file = Path(self.path)
        return array_source(name, file if there == [ONLY] else file / name)


class _NumPySource(ZipSource):
    """Arrays of one file, side by side; it reads others of the same rows when asked for them."""

    def __init__(self, location: NumPyLocation, names: Sequence[str], end: int | None) -> None:
        self._location = location
        found = {name: location.array(name) for name in names}
        lengths = {name: source.length for name, source in found.items()}
        shortest = min(lengths.values())
        if shortest < max(lengths.values()) and (end is None or not 0 < end <= shortest):
            raise unequal_lengths(repr(location.path), lengths)
        self._end = end if end is not None and 0 < end <= shortest else None
        super().__init__(
            [Member(s, {name: s.fields[0].name}, 0, self._end) for name, s in found.items()]
        )

    def select(self, names: Sequence[str]) -> Source:
        if {field.name for field in self.fields}.issuperset(names):
            return self
        other = _NumPySource(self._location, names, self._end)
        if other.length != self.length:
            raise ShapeError(
                f"The arrays of {self._location.path!r} have different numbers of rows: "
                f"{names[0]!r} has {other.length}, those of the data set {self.length}. Choose "
                "another array."
            )
        return other
