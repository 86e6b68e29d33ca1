"""Where a dataset's bytes are, and which way of reading them is safe."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
from h5py import h5d, h5z

from penstock.errors import (
    FileFormatError,
    MissingDependencyError,
    ShapeError,
)
from penstock.sources.base import ReadPath
from penstock.sources.hdf5.columns import Column, Wanted, find_columns
from penstock.sources.hdf5.external import Piece, external_pieces
from penstock.sources.hdf5.index import UNALLOCATED, Chunks, read_index
from penstock.sources.hdf5.virtual import SourceFile, source_files

_DIRECT_FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE)

_FILTER_NAMES = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
    h5z.FILTER_SZIP: "szip",
    h5z.FILTER_NBIT: "nbit",
    h5z.FILTER_SCALEOFFSET: "scaleoffset",
    h5z.FILTER_LZF: "lzf",
}


class _Filter(NamedTuple):
    """A filter of a chunked dataset."""

    code: int
    parameters: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class Layout:
    """How one dataset is stored.

    Attributes:
        name: The dataset's name.
        columns: The fields that are read from it.
        shape: Of the dataset, samples first.
        itemsize: Bytes of a stored element.
        path: The way of reading that was chosen, and why. `"virtual"` is not one: the sources
            of the dataset decide.
        start: For contiguous data, the offset of its first byte; else 0.
        chunks: For chunked data that is read directly, its index.
        chunk_rows: Samples in a chunk, or None where there are no chunks.
        sources: For virtual data, the files that it lies in.
        pieces: For data in external storage, where it lies.
    """

    name: str
    columns: tuple[Column, ...]
    shape: tuple[int, ...]
    itemsize: int
    path: ReadPath
    start: int = 0
    chunks: Chunks | None = None
    chunk_rows: int | None = None
    sources: tuple[SourceFile, ...] = ()
    pieces: tuple[Piece, ...] = ()

    @property
    def length(self) -> int:
        """Number of samples."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of a stored sample."""
        return math.prod(self.shape[1:]) * self.itemsize


def inspect(
    dataset: h5py.Dataset, name: str, wanted: Sequence[Wanted], path: str, external: bool
) -> Layout:
    """Chooses how to read some fields of a dataset.

    Args:
        dataset: An open dataset.
        name: Its name.
        wanted: The fields.
        path: Its file.
        external: Whether its bytes may lie in any other file.

    Raises:
        ShapeError: If it is scalar or empty.
        FieldNotFoundError: If it has no such member.
        TypeNotSupportedError: If a field's type has no fixed-size NumPy form.
        DataError: If its bytes lie in other files.
        FileFormatError: If the file ends before it does.
        MissingDependencyError: If a filter is not installed.
    """
    where = f"{name!r} in {path!r}"
    plist = dataset.id.get_create_plist()
    kind = plist.get_layout()
    # How long virtual data are depends on which of their sources are there.
    sources = source_files(dataset, where, path, external) if kind == h5d.VIRTUAL else ()
    _check_shape(dataset, where)
    columns = find_columns(dataset, wanted, path)
    pieces = external_pieces(dataset, path, where, external)
    base: dict[str, Any] = {
        "name": name,
        "columns": columns,
        "shape": dataset.shape,
        "itemsize": dataset.id.get_type().get_size(),
        "chunk_rows": dataset.chunks[0] if dataset.chunks else None,
        "sources": sources,
        "pieces": pieces,
    }
    filters = _filters_of(plist) if kind == h5d.CHUNKED else []
    _check_filters(filters, where)
    reason = _why_not_direct(dataset, columns, kind, filters)
    if reason:
        return Layout(**base, path=ReadPath("h5py", reason))
    if kind == h5d.VIRTUAL:
        return Layout(**base, path=ReadPath("virtual", "its sources say how"))
    if pieces:
        return Layout(**base, path=ReadPath("direct rows", "uncompressed, in external storage"))
    size = Path(path).stat().st_size
    if kind == h5d.CONTIGUOUS:
        return _contiguous(dataset, base, where, size)
    return _chunked(dataset, base, filters, where, size)


def _check_shape(dataset: h5py.Dataset, where: str) -> None:
    if dataset.shape is None:
        raise ShapeError(f"{where} is empty: it has a type but no data. Leave it out.")
    if dataset.shape == ():
        raise ShapeError(
            f"{where} is a scalar. Expected an array whose first axis runs over samples. "
            "If it describes the data, read it with h5py, and leave it out here."
        )
    if 0 in dataset.shape:
        raise ShapeError(
            f"{where} is empty: its shape is {dataset.shape}. Write samples into it, "
            "or choose another dataset."
        )


def _check_filters(filters: list[_Filter], where: str) -> None:
    for step in filters:
        if not h5z.filter_avail(step.code):
            raise MissingDependencyError(
                f"{where} is stored with filter {step.name}, which libhdf5 cannot undo here. "
                "Install its plugin with 'pip install hdf5plugin' and import hdf5plugin first, "
                "or rewrite the file with 'h5repack -f GZIP=4'."
            )


def _why_not_direct(
    dataset: h5py.Dataset, columns: Sequence[Column], kind: int, filters: list[_Filter]
) -> str | None:
    """Why a dataset has to go through libhdf5; None if it need not."""
    if os.environ.get("PENSTOCK_HDF5") == "h5py":
        return "PENSTOCK_HDF5=h5py is set"
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
    return _why_not_decoded(filters)


def _why_not_decoded(filters: list[_Filter]) -> str | None:
    others = [step.name for step in filters if step.code not in _DIRECT_FILTERS]
    if others:
        return f"filter {', '.join(others)} is decoded by libhdf5"
    for step in filters:
        if [other.code for other in filters].count(step.code) > 1:
            return f"{step.name} is applied twice"
        if step.code == h5z.FILTER_SHUFFLE and not (step.parameters and step.parameters[0] > 0):
            return "shuffle without an element size"
    return None


def _filters_of(plist: Any) -> list[_Filter]:
    """The filters, in the order in which they are applied."""
    found = []
    for i in range(plist.get_nfilters()):
        code, _, parameters, label = plist.get_filter(i)
        text = label.split(b"\0")[0].decode("ascii", "replace").split(";")[0]
        name = _FILTER_NAMES.get(code) or f"{code} ({text or 'unknown'})"
        found.append(_Filter(code, tuple(parameters), name))
    return found


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
    dataset: h5py.Dataset, base: dict[str, Any], filters: list[_Filter], where: str, size: int
) -> Layout:
    chunks = read_index(dataset, tuple((f.code, f.parameters) for f in filters), size, where)
    if chunks is None:
        base["chunk_rows"] = None
        return Layout(**base, path=ReadPath("h5py", "nearly all chunks were never written"))
    chunk_bytes = math.prod(chunks.shape) * base["itemsize"]
    if filters:
        names = " + ".join(step.name for step in filters)
        path = ReadPath("direct chunks", f"{names}, decoded in threads")
    elif chunks.per_row > 1:
        path = ReadPath("direct chunks", "uncompressed chunks that cut through samples")
    elif (chunks.offsets == UNALLOCATED).any():
        path = ReadPath("direct chunks", "uncompressed, some chunks never written")
    elif chunks.shape[1:] != dataset.shape[1:]:
        path = ReadPath("direct chunks", "uncompressed chunks wider than the samples")
    elif (chunks.sizes != chunk_bytes).any():
        path = ReadPath("direct chunks", "uncompressed, some chunks damaged")
    else:
        path = ReadPath("direct rows", "uncompressed chunks of whole samples")
    return Layout(**base, chunks=chunks, path=path)
