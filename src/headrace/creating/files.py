"""The files that rows are written to, and the HDF5 file that is made of them.

libhdf5 only creates the layout of a file, and then closes it. So a killed process leaves no file
that libhdf5 has half written.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import StateError
from headrace.manifest import ATTRIBUTE
from headrace.spec import Field
from headrace.writing import Storage
from headrace.writing.direct import write_at
from headrace.writing.flushing import sync_data
from headrace.writing.hdf5 import (
    ALIGNMENT,
    make_file,
    offsets_of,
    set_attributes,
    system_errors,
)

_RAW = "{}.raw"
"""The file name of a field, by its number; that of the first one is `staging.ROWS`."""
_COPIED_BYTES = 1 << 22


class FieldLocation(NamedTuple):
    """The place in a file where the rows of a field follow each other.

    Attributes:
        file: The file.
        offset: Offset of the first row, in bytes.
    """

    file: FileIO
    offset: int

    @property
    def descriptor(self) -> int:
        """The file descriptor."""
        return self.file.fileno()


class Files(ABC):
    """Files that are open for writing.

    Args:
        fields: What is written.
        note: What the HDF5 file says about itself; None for nothing.
    """

    def __init__(self, fields: Sequence[Field], note: str | None) -> None:
        self._fields = {field.name: field for field in fields}
        self._note = note
        self._places: dict[str, FieldLocation] = {}

    def put(self, name: str, row: int, values: npt.NDArray[Any]) -> None:
        """Writes rows of a field.

        Args:
            name: Of the field.
            row: The first one.
            values: C-contiguous, in the field's dtype.
        """
        place = self._places[name]
        write_at(place.descriptor, values, place.offset + row * self._fields[name].nbytes)

    def sync(self) -> None:
        """Brings all that was written to the disk."""
        for descriptor in {place.descriptor for place in self._places.values()}:
            sync_data(descriptor)

    @abstractmethod
    def finish(self, rows: int) -> None:
        """Completes the HDF5 file in the staging folder.

        Args:
            rows: The number of rows.
        """

    def close(self) -> None:
        """Closes the files."""
        places, self._places = self._places, {}
        with ExitStack() as ends:
            for place in places.values():
                ends.callback(place.file.close)

    def _check_holds(self, stops: Mapping[str, int]) -> None:
        """Checks that the files are long enough for the rows that were noted.

        Raises:
            StateError: If a file is too short for it.
        """
        for name, stop in stops.items():
            place = self._places[name]
            needed = place.offset + stop * self._fields[name].nbytes
            if stop and os.fstat(place.descriptor).st_size < needed:
                raise _damaged(f"{stop} rows of {name!r} were noted, and its file is shorter")

    def _lay_out(self, path: Path, fields: Sequence[Field], rows: int) -> dict[str, int]:
        """Makes an HDF5 file without values; returns the offset of the values of each field."""
        with system_errors(), make_file(path, fields, rows, Storage()):
            pass
        if self._note is not None:
            set_attributes(path, {"/": {ATTRIBUTE: self._note.encode()}})
        return offsets_of(path, self._fields)


class FixedFile(Files):
    """An HDF5 file of known length: the layout is made first, then values are written by address.

    Args:
        path: The file.
        fields: What is written.
        note: What the file says about itself; None for nothing.
        rows: How many there are.
        stops: For each field, one more than the last row that an earlier process wrote; None for a
            new file.

    Raises:
        TypeNotSupportedError: If HDF5 has no such type.
    """

    def __init__(
        self,
        path: Path,
        fields: Sequence[Field],
        note: str | None,
        rows: int,
        stops: Mapping[str, int] | None,
    ) -> None:
        super().__init__(fields, note)
        new = stops is None
        offsets = self._lay_out(path, fields, rows) if new else self._left_offsets(path)
        with ExitStack() as ends:
            file = ends.enter_context(path.open("r+b", buffering=0))
            self._places = {name: FieldLocation(file, offset) for name, offset in offsets.items()}
            self._check_holds(stops or {})
            ends.pop_all()

    @staticmethod
    def are_there(path: Path) -> bool:
        """Whether an earlier process left the file."""
        return path.exists()

    def finish(self, rows: int) -> None:
        """Does nothing: the file is complete."""

    def _left_offsets(self, path: Path) -> dict[str, int]:
        try:
            return offsets_of(path, self._fields)
        except (OSError, KeyError) as error:
            raise _damaged(f"libhdf5 says: {error}") from error


class GrowingFiles(Files):
    """A file of raw rows for each field, which become an HDF5 file when their number is known.

    The rows of the largest field start at the offset at which libhdf5 puts the first dataset of a
    file. At the end, the rest of the HDF5 file is written around them, and the rows of the other
    fields are copied into it.

    Args:
        path: The HDF5 file; the raw files are in the same folder.
        fields: What is written.
        note: What the HDF5 file says about itself; None for nothing.
        stops: For each field, one more than the last row that an earlier process wrote; None for a
            new file.

    Raises:
        TypeNotSupportedError: If HDF5 has no such type.
    """

    def __init__(
        self,
        path: Path,
        fields: Sequence[Field],
        note: str | None,
        stops: Mapping[str, int] | None,
    ) -> None:
        super().__init__(fields, note)
        self._path = path
        self._empty = path.with_name("empty.h5")
        self._order = sorted(fields, key=lambda field: -field.nbytes)
        self._copied = path.with_name("copied.raw")
        self._raw = [path.with_name(_RAW.format(number)) for number in range(len(fields))]
        # HDF5 refuses a type here, before any row is written.
        self._lay_out(self._empty, self._order, 1)
        if stops is not None and not self._raw[0].exists():
            # The earlier process ended after `finish`, and before the file was published.
            (self._copied if self._copied.exists() else path).replace(self._raw[0])
        with ExitStack() as ends:
            for field, raw in zip(self._order, self._raw, strict=True):
                raw.touch()
                file = ends.enter_context(raw.open("r+b", buffering=0))
                self._places[field.name] = FieldLocation(file, 0 if self._places else ALIGNMENT)
            self._check_holds(stops or {})
            ends.pop_all()

    @staticmethod
    def are_there(path: Path) -> bool:
        """Whether an earlier process left files."""
        return path.exists() or path.with_name(_RAW.format(0)).exists()

    def finish(self, rows: int) -> None:
        """Makes the HDF5 file."""
        offsets = self._lay_out(self._empty, self._order, rows)
        first = self._order[0].name
        # A few rows need not begin at a page.
        stays = offsets[first] == self._places[first].offset
        with self._empty.open("r+b", buffering=0) as empty:
            into = self._places[first].file if stays else empty
            if stays:
                self._graft(empty, into, rows, offsets)
            for field in self._order[stays:]:
                source = self._places[field.name]
                _copy(source, FieldLocation(into, offsets[field.name]), rows * field.nbytes)
            os.fsync(into)
        (self._raw[0] if stays else self._empty).replace(self._path)
        if not stays:
            # A process that finds no file here knows that the HDF5 file was published.
            self._raw[0].replace(self._copied)

    def _graft(self, empty: FileIO, into: FileIO, rows: int, offsets: Mapping[str, int]) -> None:
        """Writes the HDF5 file, without its values, around the rows of the largest field."""
        size = os.fstat(empty.fileno()).st_size
        into.truncate(size)
        place = 0
        for field in sorted(self._order, key=lambda field: offsets[field.name]):
            start = offsets[field.name]
            _copy(FieldLocation(empty, place), FieldLocation(into, place), start - place)
            place = start + rows * field.nbytes
        _copy(FieldLocation(empty, place), FieldLocation(into, place), size - place)


def _damaged(why: str) -> StateError:
    return StateError(
        f"What was left is damaged: {why}. Say create(..., overwrite=True) to write it anew."
    )


def _copy(source: FieldLocation, target: FieldLocation, nbytes: int) -> None:
    for start in range(0, nbytes, _COPIED_BYTES):
        count = min(_COPIED_BYTES, nbytes - start)
        data = np.empty(count, np.uint8)
        view = data.data
        while len(view):
            done = os.preadv(source.descriptor, [view], source.offset + start + count - len(view))
            if not done:
                raise OSError(f"a file ended {len(view)} bytes early")
            view = view[done:]
        write_at(target.descriptor, data, target.offset + start)
