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
        shape: Samples first; None for a dataset without data.
        dtype: NumPy's name for the type, or words where it has none.
        members: For compound values, the names and types of their parts.
        layout: "contiguous", "chunks", "compact" (inside the description), "virtual" (rows of other
            datasets) or "external" (in other files that are not HDF5).
        chunk_shape: Shape of one chunk.
        chunk_bytes: Bytes of one chunk once it is decoded.
        filters: What was done to each chunk, in that order.
        chunks: How many chunks the shape takes.
        written: How many of them there are, the others being read as the fill value; None where
            they were not counted.
        stored_bytes: Bytes in the file; None where the values lie elsewhere in it.
        decoded_bytes: Bytes in memory; likewise.
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
        """NumPy's letter for its kind of values; "O" where they are no plain ones of NumPy's."""
        try:
            return np.dtype(self.dtype).kind
        except (TypeError, ValueError):
            return "O"

    @property
    def is_number(self) -> bool:
        """Whether it holds plain numbers, as NumPy names them."""
        return self.kind in "biuf"

    @property
    def length(self) -> int:
        """Rows; 0 where there are none."""
        return self.shape[0] if self.shape else 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a decoded row; 0 where that is not known."""
        return (self.decoded_bytes or 0) // max(1, self.length)

    @property
    def mostly_written(self) -> bool:
        """Whether most of it is there, so that how it is read matters."""
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
            # Chunks may reach beyond the data.
            decoded = min(decoded, (self.written or 0) * self.chunk_bytes)
        if not decoded or self.stored_bytes is None:
            return None
        return self.stored_bytes / decoded


class Counted(NamedTuple):
    """The chunks that a dataset has in its file."""

    number: int
    stored_bytes: int


def count_chunks(dataset: h5py.Dataset) -> Counted:
    """The chunks that a dataset has in its file, as its index says.

    Raises:
        FileFormatError: If it names more than the file has room for.
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
        chunks: Its chunks, or how many there are. The number that libhdf5 would give takes
            forever where an index names the same chunks again and again.
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
    """A type in words, its members, and whether all its values have the same size."""
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
