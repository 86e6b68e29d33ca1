"""HDF5 files: read at the speed of disk and decoder where that is safe, through h5py elsewhere."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

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
from penstock.sources.hdf5.filters import missing
from penstock.sources.hdf5.layout import Layout, inspect
from penstock.sources.hdf5.library import Library
from penstock.sources.hdf5.opening import (
    damage_explained,
    dataset_names,
    find_dataset,
    open_file,
    path_of,
)
from penstock.sources.hdf5.readers import (
    ROW_BLOCK_BYTES,
    ChunkReader,
    FieldReader,
    LibraryReader,
    RowReader,
)
from penstock.spec import Indices

__all__ = ["HDF5Source", "list_datasets"]

_READERS: dict[str, type[FieldReader]] = {
    "direct rows": RowReader,
    "direct chunks": ChunkReader,
    "h5py": LibraryReader,
}


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
        self._readers: dict[str, FieldReader] = {}
        with open_file(self.path) as opened:
            self._file = File(self.path)
            library = Library(self._file)
            library.check_same(opened)
            for name in dict.fromkeys(names):
                with damage_explained(f"{name!r} in {self.path!r}"):
                    dataset = find_dataset(opened, name, self.path)
                    layout = inspect(dataset, name, self.path)
                    self._readers[name] = _reader(dataset, layout, self._file, library)
        self.fields = tuple(reader.field for reader in self._readers.values())
        self.length = self._common_length()

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
        readers = [self._readers[name] for name in names]
        blocky = [reader for reader in readers if not isinstance(reader, RowReader)]
        if blocky:
            step = max(blocky, key=lambda reader: reader.field.nbytes).block_rows
        else:
            step = max(1, ROW_BLOCK_BYTES // sum(reader.field.nbytes for reader in readers))
        return np.append(np.arange(0, self.length, step), self.length)

    def addressable(self, names: Sequence[str]) -> bool:
        return all(isinstance(self._readers[name], RowReader) for name in names)

    def scratch(self, names: Sequence[str]) -> int:
        return max((self._readers[name].scratch for name in names), default=0)

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        found: list[Read] = []
        for name, array in out.items():
            found += self._readers[name].reads(rows, array)
        return found

    def read_rows(self, rows: Indices, out: Arrays) -> Cost:
        total = Cost()
        for name, array in out.items():
            reader = self._readers[name]
            if not isinstance(reader, RowReader):
                raise TypeError(f"The rows of {name!r} have no addresses: ask addressable() first.")
            total += reader.read_rows(rows, array)
        return total

    def paths(self) -> dict[str, ReadPath]:
        return {name: reader.layout.path for name, reader in self._readers.items()}

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


def _reader(dataset: h5py.Dataset, layout: Layout, file: File, library: Library) -> FieldReader:
    """The reader for a layout, once it has shown that it reads what h5py reads."""
    reader = _READERS[layout.path.path](layout, file, library)
    doubt = None if isinstance(reader, LibraryReader) else _doubt(reader, dataset)
    if doubt is None:
        return reader
    if layout.lacking:
        where = f"{layout.field.name!r} in {file.path!r}"
        raise missing(layout.lacking, where, "its first chunks cannot be decoded here")
    slow = replace(layout, path=ReadPath("h5py", doubt), chunks=None)
    return LibraryReader(slow, file, library)


def _doubt(reader: FieldReader, dataset: h5py.Dataset) -> str | None:
    """Why a reader cannot be relied on; None if it gives what h5py gives."""
    doubt: str | None = "its first chunks are damaged"
    for rows in _probes(reader.layout):
        ours = empty_arrays([reader.field], len(rows))[reader.field.name]
        cost = _try(reader, rows, ours)
        if reader.layout.lacking:
            if cost is not None:
                return None
            continue
        if cost is None and not reader.asks:
            doubt = None  # libhdf5 might not survive it
            continue
        try:
            theirs = dataset[int(rows[0]) : int(rows[-1]) + 1]
        except (OSError, RuntimeError):
            continue
        if cost is None:
            doubt = None  # libhdf5 made something up
            continue
        if cost.repaired:
            return f"{reader.layout.path.reason}: the first could only be read by libhdf5"
        if value_bytes(ours) != value_bytes(theirs.astype(ours.dtype, copy=False)):
            return f"{reader.layout.path.reason}: reading it directly gave other values"
        return None
    return doubt


def _try(reader: FieldReader, rows: Indices, out: npt.NDArray[Any]) -> Cost | None:
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
    few = max(1, _PROBE_BYTES // layout.field.nbytes)
    for start in starts:
        yield np.arange(start, min(start + min(height, few), layout.length))
