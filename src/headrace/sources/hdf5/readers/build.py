"""Chooses a reader for each dataset, and tries it against h5py first."""

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
"""Bytes of a source's row; to put samples together of shorter ones costs more than libhdf5 does."""

_DEEPEST = 8
"""Virtual datasets in virtual datasets."""


class _Asked(NamedTuple):
    """A field by the user's name, and by the one that it has in some file."""

    field: str
    name: str


class Builder:
    """Makes readers for the datasets of a file, and for those that they lead to.

    Args:
        external: Whether data may lie in any other file.

    Attributes:
        files: Every file that is read, the first one first.
    """

    def __init__(self, external: bool) -> None:
        self.files: dict[str, File] = {}
        self._external = external
        self._libraries: dict[str, Library] = {}
        self._made: dict[tuple[str, str, tuple[Wanted, ...]], DatasetReader] = {}
        self._depth = 0

    def readers(self, path: str, names: Sequence[str]) -> dict[str, DatasetReader]:
        """A reader for each field of the file at `path`; fields of one dataset share theirs."""
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
                f"{asked[0].field!r} in {path!r} is a link that leads from file to file, up to "
                f"{file!r}. Open the last one instead."
            )
        for library in self._libraries.values():
            library.close()
        return {name: found[name] for name in names}

    def _readers_in(
        self, path: str, asked: Iterable[_Asked], behind: dict[str, list[_Asked]]
    ) -> dict[str, DatasetReader]:
        """Readers for what is in a file itself; what links lead to goes into `behind`."""
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
        """Makes sure that h5py has the file open that is read by address."""
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
        """The reader for a dataset, once it has shown that it reads what h5py reads."""
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
                f"which are read by address alone, and cannot be: {why}. Copy it into one file "
                "with h5repack."
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
        """A reader that does without h5py, or why there is none."""
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
        """A reader for a virtual dataset in which rows of sources follow each other."""
        if self._depth == _DEEPEST:
            return "virtual dataset of virtual datasets of virtual datasets, and so on"
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
                # libhdf5 takes the last one, and may leave other rows as they were in memory.
                raise DataError(
                    f"{layout.name!r} in {path!r} is a virtual dataset, and row {run.start} lies "
                    "in two of its sources; HDF5 does not say which one holds. Map each row once."
                )
            every += [Run(position, run.start), run]
            position = run.stop
        every.append(Run(position, layout.length))
        reader = VirtualReader(
            layout, self.files[path], [run for run in every if run.start < run.stop]
        )
        return reader if reader.blocks <= MOST_BLOCKS else "virtual dataset of too many pieces"

    def _runs(self, parts: list[Mapping], dataset: h5py.Dataset, layout: Layout) -> list[Run] | str:
        """What one source has of a virtual dataset, or why that cannot be read from there."""
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
    """Rows of a source that make one row of a virtual dataset; None if they are the same, or 0."""
    if shape[1:] == source[1:]:
        return None
    return shape[1] if shape[2:] == source[1:] and len(shape) > 1 else 0


def _place(part: Mapping, shape: tuple[int, ...], height: int | None) -> tuple[Rows, int] | None:
    """Rows of a virtual dataset, and the first one of its source that lies there."""
    source = whole_rows(part.space, shape)
    if part.rows is None or source is None:
        return None
    wanted, there = part.rows[1] - part.rows[0], (source[1] - source[0]) // (height or 1)
    if part.values is not None and wanted * (height or 1) != source[1] - source[0]:
        return None
    start = part.rows[0]
    return (start, start + min(wanted, there)), source[0]
