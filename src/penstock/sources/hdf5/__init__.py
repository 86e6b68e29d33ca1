"""HDF5 files: read at the speed of disk and decoder where that is safe, through h5py elsewhere."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b

import h5py
import numpy as np

from penstock.errors import ChangedFileError, ReadError, ShapeError
from penstock.sources.base import (
    Arrays,
    Cost,
    Read,
    ReadPath,
    Source,
    empty_arrays,
    run_reads,
    value_bytes,
)
from penstock.sources.file import File
from penstock.sources.hdf5.chunks import ChunkReader
from penstock.sources.hdf5.columns import Wanted
from penstock.sources.hdf5.filters import missing
from penstock.sources.hdf5.layout import Layout, inspect
from penstock.sources.hdf5.library import Library, fill
from penstock.sources.hdf5.limits import MOST_BLOCKS, MOST_COMPARED
from penstock.sources.hdf5.opening import (
    damage_explained,
    dataset_names,
    find_field,
    open_file,
    path_of,
)
from penstock.sources.hdf5.readers import DatasetReader, LibraryReader
from penstock.sources.hdf5.rows import RowReader
from penstock.spec import Indices

__all__ = ["HDF5Source", "list_datasets", "path_of"]

_READERS: dict[str, type[DatasetReader]] = {
    "direct rows": RowReader,
    "direct chunks": ChunkReader,
    "h5py": LibraryReader,
}


DAMAGED = "its first chunks are damaged"
"""Why a field is left to h5py of which nobody could read the beginning."""

_PROBES = 4
"""Chunks that may be damaged before a field is left to h5py."""

_PROBE_BYTES = 16 << 20


class HDF5Source(Source):
    """Datasets of one HDF5 file, side by side.

    Args:
        path: The file.
        names: The datasets to read; all must have the same length.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError, FileFormatError: If the file
            cannot be opened.
        FieldNotFoundError, TypeNotSupportedError, ShapeError, DataError: If a dataset
            cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], names: Sequence[str]) -> None:
        self.path = path_of(path)
        with open_file(self.path) as opened:
            self._file = File(self.path)
            library = Library(self._file)
            library.check_same(opened)
            self._readers = self._open_readers(opened, list(dict.fromkeys(names)), library)
        columns = {
            column.field.name: column
            for reader in self._readers.values()
            for column in reader.layout.columns
        }
        self.fields = tuple(columns[name].field for name in self._readers)
        self.length = self._common_length()

    def _open_readers(
        self, opened: h5py.File, names: Sequence[str], library: Library
    ) -> dict[str, DatasetReader]:
        """A reader for each field; fields of one dataset share theirs."""
        found: dict[str, tuple[h5py.Dataset, str, list[Wanted]]] = {}
        for name in names:
            with damage_explained(f"{name!r} in {self.path!r}"):
                dataset, base, members = find_field(opened, name, self.path)
                _, _, wanted = found.setdefault(dataset.name, (dataset, base, []))
                wanted.append(Wanted(name, members))
        readers = {}
        for dataset, base, wanted in found.values():
            with damage_explained(f"{base!r} in {self.path!r}"):
                layout = inspect(dataset, base, wanted, self.path)
                reader = _reader(dataset, layout, self._file, library)
            readers.update({one.name: reader for one in wanted})
        return {name: readers[name] for name in names}

    def _common_length(self) -> int:
        lengths = {name: reader.layout.length for name, reader in self._readers.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise ShapeError(
                f"The fields of {self.path!r} have different numbers of rows: {listed}. "
                "Every sample needs a row in each; choose other fields, or repair the file."
            )
        return next(iter(lengths.values()))

    def edges(self, names: Sequence[str]) -> Indices:
        readers = self._readers_of(names)
        blocky = [reader for reader in readers if not isinstance(reader, RowReader)]
        largest = max(blocky or readers, key=lambda reader: reader.layout.row_bytes)
        step = largest.block_rows
        # A file may declare more rows than there is memory for the edges of blocks.
        step *= max(1, -(-self.length // (step * MOST_BLOCKS)))
        return np.append(np.arange(0, self.length, step), self.length)

    def announce(self, rows: Indices, names: Sequence[str]) -> bool:
        readers = [r for r in self._readers_of(names) if isinstance(r, RowReader)]
        return sum(reader.announce(rows) for reader in readers) > 0

    def repeated(self, names: Sequence[str], together: int, windows: int) -> float:
        readers = self._readers_of(names)
        decoding = [reader for reader in readers if not isinstance(reader, RowReader)]
        if not decoding:
            return 0.0
        stretch = together * max(decoding, key=lambda reader: reader.layout.row_bytes).block_rows
        again = 0.0
        for reader in decoding:
            height = reader.block_rows
            # A block and a stretch that overlap meet once in each least common multiple at an edge.
            touched = 1 + (height - math.gcd(height, stretch)) / stretch
            again += reader.layout.row_bytes * (min(touched, windows) - 1)
        return again / sum(reader.layout.row_bytes for reader in readers)

    def blocks_of(self, names: Sequence[str], rows: Indices) -> dict[str, Indices]:
        found = {}
        for reader in self._readers_of(names):
            if not isinstance(reader, RowReader):
                numbers = rows // reader.block_rows
                found[reader.layout.name] = numbers[np.flatnonzero(np.diff(numbers, prepend=-1))]
        return found

    def addressable(self, names: Sequence[str]) -> bool:
        return all(isinstance(self._readers[name], RowReader) for name in names)

    def scratch(self, names: Sequence[str]) -> int:
        return max((reader.scratch for reader in self._readers_of(names)), default=0)

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        found: list[Read] = []
        for reader in self._readers_of(out):
            found += reader.reads(rows, self._share(reader, out))
        return found

    def read_rows(self, rows: Indices, out: Arrays) -> Cost:
        total = Cost()
        for reader in self._readers_of(out):
            if not isinstance(reader, RowReader):
                raise TypeError(f"{list(out)} have no addresses: ask addressable() first.")
            total += reader.read_rows(rows, self._share(reader, out))
        return total

    def _readers_of(self, names: Iterable[str]) -> list[DatasetReader]:
        """The readers of some fields, each once."""
        return list({id(self._readers[name]): self._readers[name] for name in names}.values())

    def _share(self, reader: DatasetReader, out: Arrays) -> Arrays:
        return {name: array for name, array in out.items() if self._readers[name] is reader}

    def paths(self) -> dict[str, ReadPath]:
        return {name: reader.layout.path for name, reader in self._readers.items()}

    def layout(self, name: str) -> Layout:
        """How a field is stored."""
        return self._readers[name].layout

    def fingerprint(self) -> str:
        text = f"{self.length} {self._file.identity.size} {[str(f) for f in self.fields]}"
        digest = blake2b(text.encode(), digest_size=8)
        digest.update(self._file.sample())
        return digest.hexdigest()


def list_datasets(path: str | os.PathLike[str]) -> list[str]:
    """The names of all datasets in the file at `path`."""
    text = path_of(path)
    with open_file(text) as opened, damage_explained(repr(text)):
        return dataset_names(opened)


def _reader(dataset: h5py.Dataset, layout: Layout, file: File, library: Library) -> DatasetReader:
    """The reader for a layout, once it has shown that it reads what h5py reads."""
    reader = _READERS[layout.path.path](layout, file, library)
    doubt = None if isinstance(reader, LibraryReader) else _doubt(reader, dataset)
    if doubt is None:
        return reader
    if layout.lacking:
        where = f"{layout.name!r} in {file.path!r}"
        raise missing(layout.lacking, where, "its first chunks could not be")
    slow = replace(layout, path=ReadPath("h5py", doubt), chunks=None)
    return LibraryReader(slow, file, library)


def _doubt(reader: DatasetReader, dataset: h5py.Dataset) -> str | None:
    """Why a reader cannot be relied on; None if it gives what h5py gives."""
    if max(reader.layout.row_bytes, reader.layout.chunk_bytes) > MOST_COMPARED:
        return f"{reader.layout.path.reason}: too large to compare with h5py"
    doubt: str | None = DAMAGED
    columns = reader.layout.columns
    for rows in _probes(reader.layout):
        ours = empty_arrays([column.field for column in columns], len(rows))
        theirs = empty_arrays([column.field for column in columns], len(rows))
        cost = _try(reader, rows, ours)
        if reader.layout.lacking:
            if cost is not None:
                return None
            continue
        if cost is None and not reader.asks:
            doubt = None
            continue
        try:
            fill(dataset, columns, rows, theirs)
        except (OSError, RuntimeError):
            continue
        if cost is None:
            doubt = None  # libhdf5 made something up
            continue
        if cost.repaired:
            return f"{reader.layout.path.reason}: the first could only be read by libhdf5"
        if any(value_bytes(ours[name]) != value_bytes(theirs[name]) for name in ours):
            return f"{reader.layout.path.reason}: reading it directly gave other values"
        return None
    return doubt


def _try(reader: DatasetReader, rows: Indices, out: Arrays) -> Cost | None:
    """Fills `out` with rows, and returns what that cost; None if they cannot be read."""
    try:
        return run_reads(list(reader.reads(rows, out)))
    except ChangedFileError:
        raise
    except ReadError:
        return None


def _probes(layout: Layout) -> Iterator[Indices]:
    """Rows to compare: of the first chunks that were written, or the first rows."""
    height = layout.chunk_rows or 16
    starts = [0]
    if layout.chunks is not None:
        written = np.flatnonzero((layout.chunks.offsets >= 0).any(axis=1))[:_PROBES]
        starts = (written * height).tolist() or starts
    few = max(1, _PROBE_BYTES // layout.row_bytes)
    for start in starts:
        yield np.arange(start, min(start + min(height, few), layout.length))
