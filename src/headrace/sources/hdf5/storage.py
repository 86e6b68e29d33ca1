"""Describes how a dataset is stored, without reading its data."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d

from headrace.sources.hdf5.filters.names import filters_of
from headrace.sources.hdf5.readers.chunk_index import Chunks, walk_chunks

_LAYOUTS = {
    h5d.COMPACT: "compact",
    h5d.CONTIGUOUS: "contiguous",
    h5d.CHUNKED: "chunks",
    h5d.VIRTUAL: "virtual",
}


@dataclass(frozen=True)
class Storage:
    """How a dataset is stored.

    Attributes:
        shape: Shape, samples first; None for a dataset without data.
        dtype: NumPy's name of the type, or a description if NumPy has no such type.
        members: For compound types, the names and types of their members.
        layout: "contiguous", "chunks", "compact" (in the object header), "virtual" (rows of other
            datasets) or "external" (in other files that are not HDF5).
        chunk_shape: Shape of one chunk.
        chunk_bytes: Bytes of one decoded chunk.
        filters: Names of the filters, in the order in which the writer applied them.
        chunks: How many chunks cover the shape.
        written: How many chunks are in the file; the others read as the fill value. None if they
            were not counted.
        stored_bytes: Bytes in the file; None if the values have variable length, or chunks were
            not counted.
        decoded_bytes: Bytes in memory; None if the values have variable length.
    """

    shape: tuple[int, ...] | None
    dtype: str
    members: dict[str, str]
    layout: str
    chunk_shape: tuple[int, ...] | None
    chunk_bytes: int
    filters: tuple[str, ...]
    chunks: int
    written: int | None
    stored_bytes: int | None
    decoded_bytes: int | None

    @property
    def kind(self) -> str:
        """The `kind` of its NumPy dtype; "O" if it has no plain NumPy dtype."""
        try:
            return np.dtype(self.dtype).kind
        except (TypeError, ValueError):
            return "O"

    @property
    def is_number(self) -> bool:
        """Whether it holds booleans, integers or floats."""
        return self.kind in "biuf"

    @property
    def length(self) -> int:
        """Number of rows; 0 for a scalar or a dataset without data."""
        return self.shape[0] if self.shape else 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a decoded row; 0 if that is unknown."""
        return (self.decoded_bytes or 0) // max(1, self.length)

    @property
    def mostly_written(self) -> bool:
        """Whether more than half of its chunks are in the file, so that its read path matters."""
        if self.chunk_shape:
            return (self.written or 0) * 2 > self.chunks
        return self.layout == "virtual" or bool(self.stored_bytes)

    @property
    def pieces(self) -> int:
        """Chunks that hold parts of one sample."""
        if not self.shape or not self.chunk_shape:
            return 1
        sides = zip(self.shape[1:], self.chunk_shape[1:], strict=True)
        return math.prod(-(-size // chunk) for size, chunk in sides)

    @property
    def ratio(self) -> float | None:
        """Bytes stored for each byte decoded, over the chunks that were written."""
        decoded = self.decoded_bytes
        if self.chunk_shape and decoded is not None:
            # Chunks at the edge may extend beyond the data.
            decoded = min(decoded, (self.written or 0) * self.chunk_bytes)
        if not decoded or self.stored_bytes is None:
            return None
        return self.stored_bytes / decoded


class Counted(NamedTuple):
    """Number and total size of the chunks that are in the file."""

    number: int
    stored_bytes: int


def count_chunks(dataset: h5py.Dataset) -> Counted:
    """Counts the chunks of a dataset that are in the file, with its chunk index.

    Raises:
        FileFormatError: If the index lists more chunks than the file can hold.
    """
    if dataset.chunks is None:
        return Counted(0, 0)
    number = stored = 0

    def note(info: Any) -> None:
        nonlocal number, stored
        number += 1
        stored += info.size

    walk_chunks(dataset, note)
    return Counted(number, stored)


def describe(dataset: h5py.Dataset, chunks: Chunks | Counted | None = None) -> Storage:
    """How `dataset` is stored.

    Args:
        dataset: The dataset.
        chunks: Its chunk index, or their count. libhdf5's own count is not used, because it does
            not end in practice if a damaged index repeats the same chunks.
    """
    plist = dataset.id.get_create_plist()
    layout = _LAYOUTS.get(plist.get_layout(), "unknown")
    shape, item = dataset.shape, dataset.id.get_type().get_size()
    chunk_shape = tuple(plist.get_chunk()) if layout == "chunks" else None
    filters = filters_of(plist)
    dtype, members, fixed = _type_of(dataset)
    if isinstance(chunks, Chunks):
        chunks = Counted(int((chunks.offsets >= 0).sum()), int(chunks.sizes.sum()))
    stored: int | None = None
    if fixed and chunk_shape:
        stored = chunks and chunks.stored_bytes
    elif fixed:
        stored = dataset.id.get_storage_size()
    number = 0
    if chunk_shape:
        number = math.prod(-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
    return Storage(
        shape=shape,
        dtype=dtype,
        members=members,
        layout="external" if plist.get_external_count() else layout,
        chunk_shape=chunk_shape,
        chunk_bytes=math.prod(chunk_shape) * item if chunk_shape else 0,
        filters=tuple(step.name for step in filters),
        chunks=number,
        written=chunks.number if chunks else None,
        stored_bytes=stored,
        decoded_bytes=math.prod((0,) if shape is None else shape) * item if fixed else None,
    )


def _type_of(dataset: h5py.Dataset) -> tuple[str, dict[str, str], bool]:
    """The name of the type, its members, and whether all its values have the same size."""
    try:
        dtype = dataset.dtype
    except (TypeError, ValueError, KeyError):  # NumPy has none
        return "unknown", {}, True
    members = {name: _words(dtype[name]) for name in dtype.names or ()}
    return _words(dtype), members, not dtype.hasobject


def _words(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "O":
        if h5py.check_string_dtype(dtype) is not None:
            return "text"
        if h5py.check_vlen_dtype(dtype) is not None:
            return "ragged"
        return "reference"
    if dtype.names:
        return f"{len(dtype.names)} parts"
    if dtype.subdtype:
        return f"{dtype.subdtype[0]} {dtype.shape}"
    if h5py.check_enum_dtype(dtype):
        return f"{dtype.name} enum"
    return str(dtype)
