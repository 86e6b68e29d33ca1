"""`Builder`: chooses a reader per dataset, and compares its result with h5py."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import h5py

from headrace.errors import DataError, MissingFileError
from headrace.sources.base import ReadPath
from headrace.sources.file import File
from headrace.sources.hdf5.filters.names import missing
from headrace.sources.hdf5.finding import MOST_FILES, Link, find_field, open_dataset
from headrace.sources.hdf5.library import Library
from headrace.sources.hdf5.limits import MOST_BLOCKS
from headrace.sources.hdf5.opening import damage_explained, reading
from headrace.sources.hdf5.readers.base import DatasetReader, LibraryReader
from headrace.sources.hdf5.readers.chunks import ChunkReader
from headrace.sources.hdf5.readers.external import ExternalData
from headrace.sources.hdf5.readers.layout import Layout, inspect
from headrace.sources.hdf5.readers.mappings import Mapping, Rows, by_source, mappings, whole_rows
from headrace.sources.hdf5.readers.members import Wanted
from headrace.sources.hdf5.readers.probing import doubt
from headrace.sources.hdf5.readers.rows import RowReader
from headrace.sources.hdf5.readers.virtual import Run, VirtualReader

_SHORTEST_ROW = 32
"""Fewest bytes of a source's row if samples are stacks of them; below it, libhdf5 is faster."""

_DEEPEST = 8
"""Deepest nesting of virtual datasets that are read directly."""


class _Asked(NamedTuple):
    """A requested field: the user's name for it, and its name in a file."""

    field: str
    name: str


class Builder:
    """Makes readers for the datasets of a file, following links and virtual datasets.

    Args:
        external: Whether data may be in any other file.

    Attributes:
        files: All files that are read, by path, starting with the one that was opened.
    """

    def __init__(self, external: bool) -> None:
        self.files: dict[str, File] = {}
        self._external = external
        self._libraries: dict[str, Library] = {}
        self._made: dict[tuple[str, str, tuple[Wanted, ...]], DatasetReader] = {}
        self._depth = 0

    def readers(self, path: str, names: Sequence[str]) -> dict[str, DatasetReader]:
        """A reader for each field of the file at `path`; fields of a dataset share one reader."""
        found: dict[str, DatasetReader] = {}
        waiting = {path: [_Asked(name, name) for name in names]}
        for _ in range(MOST_FILES):
            behind: dict[str, list[_Asked]] = {}
            for file, asked in waiting.items():
                try:
                    found |= self._readers_in(file, asked, behind)
                except MissingFileError as error:
                    if file == path:
                        raise
                    raise MissingFileError(
                        f"{asked[0].field!r} in {path!r} is a link into another file. {error}"
                    ) from error
            waiting = behind
        for file, asked in waiting.items():
            raise DataError(
                f"{asked[0].field!r} in {path!r} is a link through more than {MOST_FILES} files, "
                f"up to {file!r}. Open the last file instead."
            )
        for library in self._libraries.values():
            library.close()
        return {name: found[name] for name in names}

    def _readers_in(
        self, path: str, asked: Iterable[_Asked], behind: dict[str, list[_Asked]]
    ) -> dict[str, DatasetReader]:
        """Readers for the datasets of one file; links into other files are added to `behind`."""
        readers = {}
        with reading(path) as opened:
            self._take_in(path, opened)
            there: dict[str, tuple[h5py.Dataset, str, list[Wanted]]] = {}
            for field, name in asked:
                with damage_explained(f"{name!r} in {path!r}"):
                    found, base, members = find_field(opened, name, path, self._external)
                    if isinstance(found, Link):
                        behind.setdefault(found.path, []).append(_Asked(field, found.name))
                        continue
                    _, _, wanted = there.setdefault(found.name, (found, base, []))
                    wanted.append(Wanted(field, members))
            for dataset, base, wanted in there.values():
                reader = self._reader(dataset, base, tuple(wanted), path)
                readers.update({one.name: reader for one in wanted})
        return readers

    def _take_in(self, path: str, opened: h5py.File) -> None:
        """Checks that h5py and the direct reads use the same file."""
        if path not in self._libraries:
            self._libraries[path] = Library(self._file(path))
        self._libraries[path].check_same(opened)

    def _file(self, path: str) -> File:
        if path not in self.files:
            self.files[path] = File(path)
        return self.files[path]

    def _reader(
        self, dataset: h5py.Dataset, name: str, wanted: tuple[Wanted, ...], path: str
    ) -> DatasetReader:
        """The direct reader for a dataset if it reads the same values as h5py, else one by h5py."""
        key = path, dataset.name, wanted
        if key not in self._made:
            with damage_explained(f"{name!r} in {path!r}"):
                layout = inspect(dataset, name, wanted, path, self._external)
                found = self._direct_reader(dataset, layout, path)
            self._made[key] = self._slow(layout, path, found) if isinstance(found, str) else found
        return self._made[key]

    def _slow(self, layout: Layout, path: str, why: str) -> DatasetReader:
        """A reader through h5py."""
        if layout.pieces:
            raise DataError(
                f"{layout.name!r} in {path!r} keeps its data in other files (external storage), "
                f"which Headrace only reads directly, and this is not possible: {why}. Copy the "
                "data into one file with h5repack."
            )
        if layout.lacking:
            raise missing(layout.lacking, f"{layout.name!r} in {path!r}", why)
        for source in layout.sources:
            self._file(source.path)
        slow = replace(layout, path=ReadPath("h5py", why), chunks=None)
        return LibraryReader(slow, self._libraries[path])

    def _direct_reader(
        self, dataset: h5py.Dataset, layout: Layout, path: str
    ) -> DatasetReader | str:
        """A reader that does not use h5py, or the reason why there is none."""
        file = self.files[path]
        reader: DatasetReader | str
        if layout.path.path == "h5py":
            return layout.path.reason
        if layout.path.path == "virtual":
            reader = self._joined_reader(dataset, layout, path)
        elif layout.pieces:
            pieces = [(self._file(one.path), one.offset, one.size) for one in layout.pieces]
            reader = RowReader(layout, ExternalData(file, pieces))
        elif layout.path.path == "direct rows":
            reader = RowReader(layout, file)
        else:
            reader = ChunkReader(layout, file, self._libraries[path])
        return reader if isinstance(reader, str) else doubt(reader, dataset) or reader

    def _joined_reader(
        self, dataset: h5py.Dataset, layout: Layout, path: str
    ) -> VirtualReader | str:
        """A reader for a virtual dataset that joins sources row by row, or why there is none."""
        if self._depth == _DEEPEST:
            return f"virtual datasets nested more than {_DEEPEST} deep"
        runs: list[Run] = []
        for sources in by_source(mappings(dataset, path, f"{layout.name!r} in {path!r}")).values():
            self._depth += 1
            found = self._runs(sources, dataset, layout)
            self._depth -= 1
            if isinstance(found, str):
                return found
            runs += found
        every = []
        position = 0
        for run in sorted(runs, key=lambda run: run.start):
            if run.start < position:
                # libhdf5 reads the last one, and may leave other rows uninitialized.
                raise DataError(
                    f"{layout.name!r} in {path!r} is a virtual dataset, and row {run.start} is "
                    "mapped to two of its sources; HDF5 does not define which one is read. Map "
                    "each row once."
                )
            every += [Run(position, run.start), run]
            position = run.stop
        every.append(Run(position, layout.length))
        reader = VirtualReader(
            layout, self.files[path], [run for run in every if run.start < run.stop]
        )
        return reader if reader.blocks <= MOST_BLOCKS else "virtual dataset of too many pieces"

    def _runs(self, parts: list[Mapping], dataset: h5py.Dataset, layout: Layout) -> list[Run] | str:
        """The runs of rows that one source holds, or why they cannot be read directly."""
        with open_dataset(parts[0].path, parts[0].name, self._external) as (source, path):
            self._take_in(path, source.file)
            if not source.id.get_type().equal(dataset.id.get_type()):
                return "virtual dataset of another type than its sources"
            height = _height(dataset.shape, source.shape)
            if height == 0:
                return "virtual dataset of another shape than its sources"
            places = [_place(part, source.shape, height) for part in parts]
            if None in places:
                return "virtual dataset that is not made of whole rows"
            filled = [(rows, first) for rows, first in filter(None, places) if rows[0] < rows[1]]
            if not filled:
                return []
            wanted = tuple(Wanted(one.field.name, one.members) for one in layout.columns)
            reader = self._reader(source, source.name.strip("/"), wanted, path)
        if height is not None and reader.row_bytes < _SHORTEST_ROW:
            return "virtual dataset that stacks very short rows"
        return [Run(*rows, reader, first, height) for rows, first in filled]


def _height(shape: tuple[int, ...], source: tuple[int, ...]) -> int | None:
    """How many rows of a source are stacked to one row of a virtual dataset.

    None if rows of both have the same shape, and 0 if the shapes do not fit.
    """
    if shape[1:] == source[1:]:
        return None
    return shape[1] if shape[2:] == source[1:] and len(shape) > 1 else 0


def _place(part: Mapping, shape: tuple[int, ...], height: int | None) -> tuple[Rows, int] | None:
    """Rows of a virtual dataset, and the row of the source that is mapped to the first of them."""
    source = whole_rows(part.space, shape)
    if part.rows is None or source is None:
        return None
    wanted, there = part.rows[1] - part.rows[0], (source[1] - source[0]) // (height or 1)
    if part.values is not None and wanted * (height or 1) != source[1] - source[0]:
        return None
    start = part.rows[0]
    return (start, start + min(wanted, there)), source[0]
