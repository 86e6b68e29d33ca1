"""`HDF5Source`: reads HDF5 directly where that is safe, else through h5py."""

import math
import os
from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import blake2b

import h5py
import numpy as np
import numpy.typing as npt

from headrace.errors import ChangedFileError, ShapeError, unequal_lengths
from headrace.sources.base import Arrays, Read, ReadPath, ReadStats, Source
from headrace.sources.hdf5.attributes import Attribute, attributes_of, numbers, root_text
from headrace.sources.hdf5.finding import dataset_names, find_field, find_group
from headrace.sources.hdf5.library import Library
from headrace.sources.hdf5.limits import MOST_BLOCKS
from headrace.sources.hdf5.opening import damage_explained, path_of, reading
from headrace.sources.hdf5.readers.base import DatasetReader
from headrace.sources.hdf5.readers.build import Builder
from headrace.sources.hdf5.readers.layout import Layout
from headrace.sources.hdf5.readers.rows import RowReader
from headrace.sources.hdf5.readers.virtual import VirtualReader
from headrace.sources.identity import look_at
from headrace.spec import Indices

__all__ = ["HDF5Source", "list_datasets", "path_of", "read_note", "read_numbers"]


class HDF5Source(Source):
    """Datasets of one HDF5 file, as the fields of one source.

    Args:
        path: The file.
        names: The datasets to read, or members of compound datasets; all must have the same
            length, unless `end` is given.
        end: The number of rows to use; the datasets may have more rows, and different numbers.
        allow_external: Whether data may be in any other file that this one refers to.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError, FileFormatError: If the file
            cannot be opened.
        FieldNotFoundError, TypeNotSupportedError, ShapeError, DataError: If a dataset
            cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        names: Sequence[str],
        *,
        end: int | None = None,
        allow_external: bool = False,
    ) -> None:
        self.path = path_of(path)
        self._end = end
        self._allow_external = allow_external
        builder = Builder(allow_external)
        self._readers = builder.readers(self.path, list(dict.fromkeys(names)))
        self._files = list(builder.files.values())
        fields = {
            column.field.name: column.field
            for reader in self._readers.values()
            for column in reader.layout.columns
        }
        self.fields = tuple(fields[name] for name in self._readers)
        self.length = self._common_length()

    def _common_length(self) -> int:
        lengths = {name: reader.layout.length for name, reader in self._readers.items()}
        shortest, longest = min(lengths.values()), max(lengths.values())
        if shortest < longest:
            if self._end is not None and 0 < self._end <= shortest:
                return self._end
            raise unequal_lengths(repr(self.path), lengths, self._samples_last(longest))
        return shortest

    def _samples_last(self, longest: int) -> str:
        """A hint for the error message if samples seem to be the last axis of all fields."""
        last = {field.shape[-1] if field.shape else 0 for field in self.fields}
        if len(last) > 1 or min(last) <= longest:
            return ""
        return (
            f" Or are samples the last axis, where all have {last.pop()}, as in MATLAB's files? "
            "`headrace info` prints code that reads them that way."
        )

    def select(self, names: Sequence[str]) -> Source:
        if self._readers.keys() >= set(names):
            return self
        other = HDF5Source(self.path, names, end=self._end, allow_external=self._allow_external)
        identity = other._files[0].identity
        if self._files[0].change(lambda: identity):
            raise ChangedFileError(
                f"{self.path!r} was replaced or written to after the data set was created. "
                "Create the data set again."
            )
        both = min(self.length, other.length)
        if other.length != self.length and (self._end is None or self._end > both):
            raise ShapeError(
                f"The fields of {self.path!r} have different numbers of rows: {names[0]!r} has "
                f"{other.length}, those of the data set {self.length}. Choose another field."
            )
        return other

    def block_offsets(self, names: Sequence[str]) -> Indices:
        readers = self._readers_of(names)
        blocky = [reader for reader in readers if not reader.addressable]
        largest = max(blocky or readers, key=lambda reader: reader.row_bytes)
        # A file may declare so many blocks that their offsets would not fit in memory.
        blocks_per_read = -(-largest.blocks // MOST_BLOCKS)
        if blocks_per_read <= 1:
            offsets = largest.block_offsets()
            return np.append(offsets[offsets < self.length], self.length)
        step = blocks_per_read * largest.block_rows
        return np.append(np.arange(0, self.length, step), self.length)

    def announce(self, rows: Indices, names: Sequence[str]) -> bool:
        return sum(reader.announce(rows) for reader in self._readers_of(names)) > 0

    def repeated(self, names: Sequence[str], blocks_per_read: int, windows: int) -> float:
        readers = self._readers_of(names)
        decoding = [reader for reader in readers if not reader.addressable]
        if not decoding:
            return 0.0
        stretch = blocks_per_read * max(decoding, key=lambda reader: reader.row_bytes).block_rows
        again = 0.0
        for reader in decoding:
            height = reader.block_rows
            # Edges of blocks and of stretches coincide once per least common multiple.
            touched = 1 + (height - math.gcd(height, stretch)) / stretch
            again += reader.row_bytes * (min(touched, windows) - 1)
        return again / sum(reader.row_bytes for reader in readers)

    def blocks_of(self, names: Sequence[str], rows: Indices) -> dict[str, Indices]:
        return {
            reader.layout.name: reader.blocks_of(rows)
            for reader in self._readers_of(names)
            if not reader.addressable
        }

    def addressable(self, names: Sequence[str]) -> bool:
        return all(self._readers[name].addressable for name in names)

    def scratch(self, names: Sequence[str]) -> int:
        return max((reader.scratch for reader in self._readers_of(names)), default=0)

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        found: list[Read] = []
        for reader in self._readers_of(out):
            found += reader.reads(rows, self._share(reader, out))
        return found

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:
        total = ReadStats()
        for reader in self._readers_of(out):
            if not isinstance(reader, (RowReader, VirtualReader)) or not reader.addressable:
                return super().read_rows(rows, out)
            total += reader.read_rows(rows, self._share(reader, out))
        return total

    def _readers_of(self, names: Iterable[str]) -> list[DatasetReader]:
        """The distinct readers of some fields."""
        return list({id(self._readers[name]): self._readers[name] for name in names}.values())

    def _share(self, reader: DatasetReader, out: Arrays) -> Arrays:
        return {name: array for name, array in out.items() if self._readers[name] is reader}

    def files(self) -> tuple[str, ...]:
        found = [file.path for file in self._files]
        for reader in self._readers.values():
            found += [source.path for source in reader.layout.sources]
        return tuple(dict.fromkeys(found))

    def read_paths(self) -> dict[str, ReadPath]:
        return {name: reader.layout.path for name, reader in self._readers.items()}

    def attributes(self, name: str) -> dict[str, Attribute | None]:
        with reading(self.path) as opened, damage_explained(repr(self.path)):
            Library(self._files[0]).check_same(opened)
            if name.endswith("/"):
                group = find_group(opened, name, self.path, self._allow_external)
                return {} if group is None else attributes_of(group)
            found, _, members = find_field(opened, name, self.path, self._allow_external)
            # Attributes of a compound dataset describe all its members together.
            whole = isinstance(found, h5py.Dataset) and not members
            return attributes_of(found) if whole else {}

    def is_current(self) -> bool:
        """Whether the files are still those that were opened."""
        try:
            return not any(file.change(partial(look_at, file.path)) for file in self._files)
        except OSError:
            return False

    def layout(self, name: str) -> Layout:
        """How a field is stored."""
        return self._readers[name].layout

    def fingerprint(self) -> str:
        first, *others = self._files
        text = f"{self.length} {first.identity.size} {[str(f) for f in self.fields]}"
        digest = blake2b(text.encode(), digest_size=8)
        digest.update(first.sample())
        for other in others:
            digest.update(f"{other.identity.size}".encode())
            digest.update(other.sample())
        return digest.hexdigest()


def read_note(path: str | os.PathLike[str], name: str) -> str | None:
    """The text attribute `name` of the root group; None if there is none."""
    text = path_of(path)
    with reading(text) as opened, damage_explained(repr(text)):
        return root_text(opened, name)


def read_numbers(
    path: str | os.PathLike[str], dataset: str, name: str
) -> npt.NDArray[np.uint32] | None:
    """The attribute `name` of a dataset, a uint32 array of one axis; None if there is none."""
    text = path_of(path)
    with reading(text) as opened, damage_explained(repr(text)):
        return numbers(opened, dataset, name)


def list_datasets(path: str | os.PathLike[str]) -> list[str]:
    """The names of all datasets in the file at `path`."""
    text = path_of(path)
    with reading(text) as opened, damage_explained(repr(text)):
        return dataset_names(opened)
