"""Where a dataset's bytes are, and which way of reading them is safe."""

import math
import os
from array import array
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5t, h5z

from penstock.errors import DataError, FileFormatError, ShapeError, TypeNotSupportedError
from penstock.sources.base import ReadPath
from penstock.sources.hdf5.virtual import SourceFile, source_files
from penstock.spec import Field

UNALLOCATED = -1

_FILTER_NAMES = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
    h5z.FILTER_SZIP: "szip",
    h5z.FILTER_NBIT: "nbit",
    h5z.FILTER_SCALEOFFSET: "scaleoffset",
    h5z.FILTER_LZF: "lzf",
}


@dataclass(frozen=True)
class Chunks:
    """A chunked dataset's index.

    Attributes:
        shape: Shape of one chunk, samples first.
        filters: `(id, parameters)` in the order in which they were applied.
        offsets: int64, shape `(chunk rows, chunks in a row)`: where each chunk's bytes start, or
            `UNALLOCATED`.
        sizes: int64, same shape: bytes stored.
        masks: uint32, same shape: bit i says that filter i was skipped.
    """

    shape: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Layout:
    """How one dataset is stored.

    Attributes:
        field: What the model gets; native byte order.
        length: Number of samples.
        stored: dtype of an element in the file.
        path: The way of reading that was chosen, and why.
        start: For contiguous data, the offset of its first byte.
        chunks: For chunked data that is read directly, its index.
        chunk_rows: Samples in a chunk, or None where there are no chunks.
        fill: The fill value of chunks that were never written.
        sources: For virtual data, the files that it lies in.
    """

    field: Field
    length: int
    stored: np.dtype[Any]
    path: ReadPath
    start: int | None = None
    chunks: Chunks | None = None
    chunk_rows: int | None = None
    fill: Any = 0
    sources: tuple[SourceFile, ...] = ()


def inspect(dataset: h5py.Dataset, name: str, path: str) -> Layout:
    """Chooses how to read `dataset`.

    Raises:
        ShapeError: If it is scalar or empty.
        TypeNotSupportedError: If its type has no fixed-size NumPy form.
        DataError: If its bytes lie in other files.
    """
    where = f"{name!r} in {path!r}"
    _check_type(dataset, where)
    _check_shape(dataset, where)
    plist = dataset.id.get_create_plist()
    kind = plist.get_layout()
    if plist.get_external_count():
        raise DataError(
            f"{where} keeps its data in other files (external storage), which a file from a "
            "stranger could use to read any file. Copy it into one file with h5repack."
        )
    base: dict[str, Any] = {
        "field": _field(dataset, name),
        "length": len(dataset),
        "stored": dataset.dtype,
        "chunk_rows": dataset.chunks[0] if dataset.chunks else None,
    }
    if kind == h5d.VIRTUAL:
        base["sources"] = source_files(dataset, where, path)
    reason = _why_not_direct(dataset, kind)
    if reason:
        return Layout(**base, path=ReadPath("h5py", reason))
    if kind == h5d.CONTIGUOUS:
        return _contiguous(dataset, base, where, path)
    return _chunked(dataset, base, plist, os.path.getsize(path))


def _field(dataset: h5py.Dataset, name: str) -> Field:
    dtype = dataset.dtype.newbyteorder("=")
    # An element that is an array by itself adds its axes to the sample's, as in h5py.
    base, inner = dtype.subdtype or (dtype, ())
    return Field(name, dataset.shape[1:] + inner, base)


def _check_type(dataset: h5py.Dataset, where: str) -> None:
    try:
        dtype = dataset.dtype
    except TypeError as error:
        raise TypeNotSupportedError(
            f"{where} holds values that NumPy has no type for ({error}). Expected numbers of a "
            "fixed size. Convert them, with h5py's low-level functions for example."
        ) from error
    if h5py.check_string_dtype(dtype) is not None and dtype.kind == "O":
        raise TypeNotSupportedError(
            f"{where} holds variable-length strings. Expected numbers of a fixed size. "
            "Encode them first, for example as integer codes of a vocabulary."
        )
    if h5py.check_vlen_dtype(dtype) is not None:
        raise TypeNotSupportedError(
            f"{where} holds variable-length arrays. Expected samples of one shape. "
            "Pad or cut them to one length, or store flat values with offsets."
        )
    if dtype.hasobject:
        raise TypeNotSupportedError(
            f"{where} holds {_objects_in(dtype)}. Expected numbers of a fixed size. "
            "Leave the field out, or store what a model can use in a dataset of its own."
        )
    if not dtype.itemsize:
        raise TypeNotSupportedError(f"{where} holds values of no size ({dtype}). Leave it out.")


def _objects_in(dtype: np.dtype[Any]) -> str:
    if h5py.check_ref_dtype(dtype) is not None:
        return "references to other parts of the file"
    return f"compound values with parts of variable length ({dtype})"


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


def _why_not_direct(dataset: h5py.Dataset, kind: int) -> str | None:
    """Why a dataset has to go through libhdf5; None if it need not."""
    if os.environ.get("PENSTOCK_HDF5") == "h5py":
        return "PENSTOCK_HDF5=h5py is set"
    if dataset.file.driver != "sec2":
        return f"the file is open through the {dataset.file.driver!r} driver"
    if not h5t.py_create(dataset.dtype, logical=True).equal(dataset.id.get_type()):
        return f"its stored type is not NumPy's {dataset.dtype}"
    if dataset.dtype.names and dataset.dtype != dataset.dtype.newbyteorder("="):
        return "compound values in foreign byte order"
    if kind == h5d.CONTIGUOUS:
        return "nothing was written to it yet" if dataset.id.get_offset() is None else None
    if kind != h5d.CHUNKED:
        return "virtual dataset" if kind == h5d.VIRTUAL else "compact layout"
    others = [name for code, name in filters_of(dataset) if code not in _DIRECT_FILTERS]
    if others:
        return f"filter {', '.join(others)} is decoded by libhdf5"
    if [code for code, _ in filters_of(dataset)].count(h5z.FILTER_DEFLATE) > 1:
        return "gzip is applied twice"
    return None


_DIRECT_FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE)


def filters_of(dataset: h5py.Dataset) -> list[tuple[int, str]]:
    """Identifier and name of each filter, in the order in which they are applied."""
    plist = dataset.id.get_create_plist()
    found = []
    for i in range(plist.get_nfilters()):
        code, _, _, label = plist.get_filter(i)
        text = label.split(b"\0")[0].decode("ascii", "replace").split(";")[0]
        found.append((code, _FILTER_NAMES.get(code) or f"{text or 'unknown'} ({code})"))
    return found


def _contiguous(dataset: h5py.Dataset, base: dict[str, Any], where: str, path: str) -> Layout:
    start = dataset.id.get_offset()
    end = start + dataset.size * dataset.dtype.itemsize
    size = os.path.getsize(path)
    if end > size:
        raise FileFormatError(
            f"{where} needs {end} bytes, but the file has {size}: it is truncated."
        )
    return Layout(**base, start=start, path=ReadPath("direct rows", "contiguous, uncompressed"))


def _chunked(dataset: h5py.Dataset, base: dict[str, Any], plist: Any) -> Layout:
    grid = tuple(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    chunks = _index(dataset, grid, plist)
    base["fill"] = dataset.fillvalue
    whole_samples = math.prod(grid[1:]) == 1
    if chunks.filters:
        names = " + ".join(name for _, name in filters_of(dataset))
        path = ReadPath("direct chunks", f"{names}, decoded in threads")
    elif not whole_samples:
        path = ReadPath("direct chunks", "uncompressed chunks that cut through samples")
    elif (chunks.offsets == UNALLOCATED).any():
        path = ReadPath("direct chunks", "uncompressed, some chunks never written")
    elif dataset.chunks[1:] != dataset.shape[1:]:
        path = ReadPath("direct chunks", "uncompressed chunks wider than the samples")
    else:
        path = ReadPath("direct rows", "uncompressed chunks of whole samples")
    return Layout(**base, chunks=chunks, path=path)


def _index(dataset: h5py.Dataset, grid: tuple[int, ...], plist: Any) -> Chunks:
    described = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    filters = tuple((code, values) for code, _, values, _ in described)
    count = math.prod(grid)
    offsets = np.full(count, UNALLOCATED, np.int64)
    sizes = np.zeros(count, np.int64)
    masks = np.zeros(count, np.uint32)
    strides = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    shape = dataset.chunks

    def note(info: Any) -> None:
        i = sum(
            o // c * s for o, c, s in zip(info.chunk_offset, shape, strides, strict=True)
        )
        if info.byte_offset is not None:
            offsets[i], sizes[i], masks[i] = info.byte_offset, info.size, info.filter_mask

    dataset.id.chunk_iter(note)
    in_rows = (grid[0], count // grid[0])
    return Chunks(
        shape,
        filters,
        offsets.reshape(in_rows),
        sizes.reshape(in_rows),
        masks.reshape(in_rows),
    )
