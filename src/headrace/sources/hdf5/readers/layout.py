"""`Layout`: where a dataset's bytes are, and which reader is safe for it."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d

from headrace.errors import (
    FileFormatError,
    ShapeError,
)
from headrace.sources.base import ReadPath
from headrace.sources.hdf5.filters.common import FilterNotDecodedError
from headrace.sources.hdf5.filters.names import (
    Filter,
    bits_of,
    check_parameters,
    filters_of,
    lacking,
    missing,
)
from headrace.sources.hdf5.filters.pipeline import FilterPipeline
from headrace.sources.hdf5.limits import check_chunks, check_shape, check_type
from headrace.sources.hdf5.readers.chunk_index import UNALLOCATED, Chunks, read_index, walk_chunks
from headrace.sources.hdf5.readers.external import Extent, external_pieces
from headrace.sources.hdf5.readers.mappings import SourceFile, source_files
from headrace.sources.hdf5.readers.members import DatasetField, Wanted, find_columns


@dataclass(frozen=True)
class Layout:
    """How one dataset is stored.

    Attributes:
        name: The dataset's name.
        columns: The fields that are read from it.
        shape: Shape of the dataset, samples first.
        itemsize: Bytes of a stored element.
        path: The chosen read path, and the reason. `"virtual"` is provisional: the sources of a
            virtual dataset determine the path.
        start: For contiguous data, the offset of its first byte; else 0.
        chunks: For chunked data that is read directly, its index.
        chunk_shape: Shape of one chunk, samples first; () if the dataset is not chunked.
        chunk_rows: Samples in a chunk; None if the dataset is not chunked, or nearly all chunks
            were never written.
        sources: For virtual data, its source files.
        lacking: Filters that libhdf5 cannot decode here, so that it cannot read their chunks.
        pieces: For data in external storage, its extents.
    """

    name: str
    columns: tuple[DatasetField, ...]
    shape: tuple[int, ...]
    itemsize: int
    path: ReadPath
    start: int = 0
    chunks: Chunks | None = None
    chunk_shape: tuple[int, ...] = ()
    chunk_rows: int | None = None
    sources: tuple[SourceFile, ...] = ()
    lacking: tuple[Filter, ...] = ()
    pieces: tuple[Extent, ...] = ()

    @property
    def length(self) -> int:
        """Number of samples."""
        return self.shape[0]

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a stored sample."""
        return math.prod(self.shape[1:]) * self.itemsize

    @cached_property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk; 0 if the dataset is not chunked."""
        return math.prod(self.chunk_shape) * self.itemsize if self.chunk_shape else 0

    @property
    def chunks_beside(self) -> int:
        """Chunks that together hold one sample."""
        pairs = zip(self.shape[1:], self.chunk_shape[1:], strict=False)
        return math.prod(-(-size // chunk) for size, chunk in pairs)


def inspect(
    dataset: h5py.Dataset, name: str, wanted: Sequence[Wanted], path: str, external: bool
) -> Layout:
    """Chooses how to read some fields of a dataset.

    Args:
        dataset: An open dataset.
        name: Its name.
        wanted: The fields.
        path: Its file.
        external: Whether its bytes may be in any other file.

    Raises:
        ShapeError: If it is scalar or empty.
        FieldNotFoundError: If it has no such member.
        TypeNotSupportedError: If a field's type has no fixed-size NumPy form.
        DataError: If its bytes are in other files and `external` is False, or it exceeds a limit.
        FileFormatError: If the file is truncated.
        MissingDependencyError: If a filter is not installed.
    """
    where = f"{name!r} in {path!r}"
    plist = dataset.id.get_create_plist()
    kind = plist.get_layout()
    # Check sources first: the length of a virtual dataset depends on which of them exist.
    sources = source_files(dataset, where, path, external) if kind == h5d.VIRTUAL else ()
    _check_shape(dataset, where)
    check_type(dataset.id.get_type(), where)
    columns = find_columns(dataset, wanted, path)
    pieces = external_pieces(dataset, path, where, external)
    base: dict[str, Any] = {
        "name": name,
        "columns": columns,
        "shape": dataset.shape,
        "itemsize": dataset.id.get_type().get_size(),
        "sources": sources,
        "pieces": pieces,
    }
    if dataset.chunks:
        check_chunks(dataset, where)
        base["chunk_shape"] = dataset.chunks
        base["chunk_rows"] = dataset.chunks[0]
    filters = filters_of(plist) if kind == h5d.CHUNKED else ()
    check_parameters(filters, where)
    base["lacking"] = _needed(dataset, filters, lacking(filters))
    reason = _why_not_direct(dataset, columns, kind, filters)
    if reason:
        return _through_h5py(base, reason, where)
    if kind == h5d.VIRTUAL:
        return Layout(**base, path=ReadPath("virtual", "its sources say how"))
    if pieces:
        return Layout(**base, path=ReadPath("direct rows", "uncompressed, in external storage"))
    size = Path(path).stat().st_size
    if kind == h5d.CONTIGUOUS:
        return _contiguous(dataset, base, where, size)
    return _chunked(dataset, base, filters, where)


def _needed(
    dataset: h5py.Dataset, filters: Sequence[Filter], some: tuple[Filter, ...]
) -> tuple[Filter, ...]:
    """The filters among `some` that at least one chunk uses."""
    skipped = bits_of(some, filters)

    def note(info: Any) -> bool | None:
        nonlocal skipped
        skipped &= info.filter_mask
        return None if skipped else True

    if some:
        walk_chunks(dataset, note)
    return tuple(step for step in some if not bits_of([step], filters) & skipped)


def _through_h5py(base: dict[str, Any], reason: str, where: str) -> Layout:
    if base["lacking"]:
        raise missing(base["lacking"], where, reason)
    return Layout(**base, path=ReadPath("h5py", reason))


def _check_shape(dataset: h5py.Dataset, where: str) -> None:
    if dataset.shape is None:
        raise ShapeError(f"{where} is empty: it has a type but no data. Leave it out.")
    if dataset.shape == ():
        raise ShapeError(
            f"{where} is a scalar. Expected an array whose first axis runs over samples. "
            "Leave it out here; if it describes the data, read it with h5py."
        )
    if 0 in dataset.shape:
        raise ShapeError(
            f"{where} is empty: its shape is {dataset.shape}. Write samples into it, "
            "or choose another dataset."
        )
    check_shape(dataset.shape, dataset.id.get_type().get_size(), where)


def _why_not_direct(
    dataset: h5py.Dataset, columns: Sequence[DatasetField], kind: int, filters: Sequence[Filter]
) -> str | None:
    """Why a dataset has to be read through h5py; None if it can be read directly."""
    if os.environ.get("HEADRACE_HDF5") == "h5py":
        return "HEADRACE_HDF5=h5py is set"
    if dataset.file.driver != "sec2":
        return f"the file is open through the {dataset.file.driver!r} driver"
    for column in columns:
        if column.obstacle:
            return column.obstacle
    if kind == h5d.VIRTUAL or dataset.external:
        return None
    if kind == h5d.CONTIGUOUS:
        return "nothing was written to it yet" if dataset.id.get_offset() is None else None
    if kind != h5d.CHUNKED:
        return "compact layout"
    if dataset.file.userblock_size and h5py.version.hdf5_version_tuple < (2, 0):
        return "libhdf5 before 2.0 gives wrong addresses in a file with a user block"
    if _may_be_mixed_up(dataset):
        return "libhdf5 reports wrong chunk offsets if only an axis other than the first can grow"
    try:
        FilterPipeline(filters, _chunk_bytes(dataset))
    except FilterNotDecodedError as error:
        return str(error)
    return None


def _may_be_mixed_up(dataset: h5py.Dataset) -> bool:
    """Whether libhdf5 may report wrong positions of chunks.

    An extensible-array index stores chunks with the growing axis as the slowest one, but
    `H5Dchunk_iter` (1.14.6 and 2.0.0) computes positions as if the first axis were the slowest.
    h5py does not tell which kind of index a dataset has, so the shape decides here.
    """
    growing = [axis for axis, most in enumerate(dataset.maxshape) if most is None]
    if len(growing) != 1 or growing == [0]:
        return False
    sides = zip(dataset.shape, dataset.maxshape, dataset.chunks, strict=True)
    return any(
        max(size, most) > chunk
        for axis, (size, most, chunk) in enumerate(sides)
        if axis not in growing
    )


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    return int(math.prod(dataset.chunks) * dataset.id.get_type().get_size())


def _contiguous(dataset: h5py.Dataset, base: dict[str, Any], where: str, size: int) -> Layout:
    start = dataset.id.get_offset()
    end = start + math.prod(base["shape"]) * base["itemsize"]
    if end > size:
        raise FileFormatError(
            f"{where} needs {end} bytes, but the file has {size}: it is truncated. "
            "Copy or download it again."
        )
    return Layout(**base, start=start, path=ReadPath("direct rows", "contiguous, uncompressed"))


def _chunked(
    dataset: h5py.Dataset,
    base: dict[str, Any],
    filters: tuple[Filter, ...],
    where: str,
) -> Layout:
    chunks = read_index(dataset, filters, where)
    if chunks is None:
        base["chunk_rows"] = None
        return _through_h5py(base, "nearly all chunks were never written", where)
    if filters:
        names = " + ".join(step.name for step in filters)
        path = ReadPath("direct chunks", f"{names}, decoded in threads{_not_compared(base)}")
        if base["lacking"]:
            chunks = _with_raw_edges(dataset, chunks, base["lacking"])
    elif chunks.per_row > 1:
        path = ReadPath("direct chunks", "uncompressed chunks that cut through samples")
    elif (chunks.offsets == UNALLOCATED).any():
        path = ReadPath("direct chunks", "uncompressed, some chunks never written")
    elif chunks.shape[1:] != dataset.shape[1:]:
        path = ReadPath("direct chunks", "uncompressed chunks wider than the samples")
    elif (chunks.sizes != math.prod(chunks.shape) * dataset.dtype.itemsize).any():
        path = ReadPath("direct chunks", "uncompressed, some chunks damaged")
    else:
        path = ReadPath("direct rows", "uncompressed chunks of whole samples")
    return Layout(**base, chunks=chunks, path=path)


def _not_compared(base: dict[str, Any]) -> str:
    names = ", ".join(step.name for step in base["lacking"])
    return f" (libhdf5 has no {names} here, so not compared with it)" if names else ""


def _with_raw_edges(dataset: h5py.Dataset, chunks: Chunks, lacking: tuple[Filter, ...]) -> Chunks:
    """Sets the masks of partial edge chunks that are stored without filters.

    A dataset option makes HDF5 store all of them unfiltered, without setting their masks. In this
    case libhdf5 can read them even if it lacks a filter, which is the test used here.
    """
    doubtful = chunks.partial(dataset.shape) & (chunks.sizes == _chunk_bytes(dataset))
    bits = np.uint32(bits_of(lacking, chunks.filters))
    filtered = np.argwhere(doubtful & (chunks.masks & bits != bits))
    if not len(filtered):
        return chunks
    try:
        dataset[chunks.start(int(filtered[0, 0]), int(filtered[0, 1]), dataset.shape)]
    except (OSError, RuntimeError):
        return chunks
    every = (1 << len(chunks.filters)) - 1
    return replace(chunks, masks=np.where(doubtful, np.uint32(every), chunks.masks))
