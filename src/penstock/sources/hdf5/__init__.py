"""HDF5 files: read at the speed of disk and decoder where that is safe, through h5py elsewhere."""

import os
from collections.abc import Sequence
from hashlib import blake2b

import h5py
import numpy as np

from penstock.errors import ReadError, ShapeError
from penstock.sources.base import Arrays, Cost, Read, ReadPath, Source, empty_arrays, run_reads
from penstock.sources.file import File
from penstock.sources.hdf5.layout import Layout, inspect
from penstock.sources.hdf5.opening import dataset_names, find_dataset, open_file
from penstock.sources.hdf5.readers import (
    ROW_BLOCK_BYTES,
    ChunkReader,
    FieldReader,
    Library,
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
        self.path = os.fspath(path)
        with open_file(self.path) as opened:
            file = File(self.path)
            library = Library(self.path, file)
            self._readers: dict[str, FieldReader] = {}
            for name in dict.fromkeys(names):
                dataset = find_dataset(opened, name, self.path)
                layout = inspect(dataset, name, self.path)
                self._readers[name] = _reader(dataset, layout, file, library)
        self._file = file
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
        blocky = [reader for reader in readers if not reader.addressable]
        if blocky:
            step = max(blocky, key=lambda reader: reader.field.nbytes).block_rows
        else:
            step = max(1, ROW_BLOCK_BYTES // sum(reader.field.nbytes for reader in readers))
        return np.append(np.arange(0, self.length, step), self.length)

    def addressable(self, names: Sequence[str]) -> bool:
        return all(self._readers[name].addressable for name in names)

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
            total += self._readers[name].read_rows(rows, array)
        return total

    def paths(self) -> dict[str, ReadPath]:
        return {name: reader.layout.path for name, reader in self._readers.items()}

    def fingerprint(self) -> str:
        text = f"{self.length} {self._file.identity.size} {[str(f) for f in self.fields]}"
        return blake2b(text.encode(), digest_size=8).hexdigest()


def list_datasets(path: str | os.PathLike[str]) -> list[str]:
    """The names of all datasets in the file at `path`."""
    with open_file(os.fspath(path)) as opened:
        return dataset_names(opened)


def _reader(dataset: h5py.Dataset, layout: Layout, file: File, library: Library) -> FieldReader:
    """The reader for a layout, once it has shown that it reads what h5py reads."""
    reader = _READERS[layout.path.path](layout, file, library)
    if isinstance(reader, LibraryReader):
        return reader
    rows = _probe_rows(layout)
    ours = empty_arrays([layout.field], len(rows))[layout.field.name]
    try:
        cost = run_reads(list(reader.reads(rows, ours)))
        # As bytes: a NaN differs from itself.
        same = cost.repaired == 0 and ours.tobytes() == _through_h5py(dataset, rows, ours)
    except ReadError:
        same = False
    if same:
        return reader
    doubt = ReadPath("h5py", f"reading it directly ({layout.path.reason}) gave other values")
    return LibraryReader(
        Layout(layout.field, layout.length, layout.stored, doubt, chunk_rows=layout.chunk_rows),
        file,
        library,
    )


def _probe_rows(layout: Layout) -> Indices:
    """The rows of the first chunk that was written, or the first rows where there are none."""
    start = 0
    if layout.chunks is not None:
        written = np.flatnonzero((layout.chunks.offsets >= 0).any(axis=1))
        start = int(written[0]) * layout.chunks.shape[0] if len(written) else 0
    count = layout.chunk_rows or 16
    return np.arange(start, min(start + count, layout.length))


def _through_h5py(dataset: h5py.Dataset, rows: Indices, like: np.ndarray) -> bytes:
    values = dataset[int(rows[0]) : int(rows[-1]) + 1]
    return values.astype(like.dtype, copy=False).tobytes()
