"""Where a dataset's bytes are, and which way of reading them is safe."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5t, h5z

from penstock.errors import (
    DataError,
    FileFormatError,
    MissingDependencyError,
    ShapeError,
    TypeNotSupportedError,
)
from penstock.sources.base import ReadPath
from penstock.sources.hdf5.index import UNALLOCATED, Chunks, read_index
from penstock.sources.hdf5.limits import check_chunks, check_shape, check_type
from penstock.sources.hdf5.virtual import SourceFile, source_files
from penstock.spec import Field

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
        field: What the model gets; native byte order.
        length: Number of samples.
        stored: dtype of an element in the file.
        path: The way of reading that was chosen, and why.
        start: For contiguous data, the offset of its first byte; else 0.
        chunks: For chunked data that is read directly, its index.
        chunk_shape: Shape of one chunk, samples first; () where there are none.
        chunk_rows: Samples in a chunk, or None where there are no chunks, or hardly any were
            written.
        fill: The fill value of chunks that were never written.
        sources: For virtual data, the files that it lies in.
    """

    field: Field
    length: int
    stored: np.dtype[Any]
    path: ReadPath
    start: int = 0
    chunks: Chunks | None = None
    chunk_shape: tuple[int, ...] = ()
    chunk_rows: int | None = None
    fill: Any = 0
    sources: tuple[SourceFile, ...] = ()

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, decoded; 0 where there are none."""
        return math.prod(self.chunk_shape) * self.stored.itemsize if self.chunk_shape else 0

    @property
    def chunks_beside(self) -> int:
        """Chunks that together hold one sample."""
        pairs = zip(self.field.shape, self.chunk_shape[1:], strict=False)
        return math.prod(-(-size // chunk) for size, chunk in pairs)


def inspect(dataset: h5py.Dataset, name: str, path: str) -> Layout:
    """Chooses how to read `dataset`.

    Raises:
        ShapeError: If it is scalar or empty.
        TypeNotSupportedError: If its type has no fixed-size NumPy form.
        DataError: If its bytes lie in other files, or are more than any data set has.
        FileFormatError: If the file ends before it does.
        MissingDependencyError: If a filter is not installed.
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
    }
    if dataset.chunks:
        check_chunks(dataset, where)
        base["chunk_shape"] = dataset.chunks
        base["chunk_rows"] = dataset.chunks[0]
    if kind == h5d.VIRTUAL:
        base["sources"] = source_files(dataset, where, path)
    filters = _filters_of(plist) if kind == h5d.CHUNKED else []
    _check_filters(filters, where)
    reason = _why_not_direct(dataset, kind, filters)
    if reason:
        return Layout(**base, path=ReadPath("h5py", reason))
    size = Path(path).stat().st_size
    if kind == h5d.CONTIGUOUS:
        return _contiguous(dataset, base, where, size)
    return _chunked(dataset, base, filters, where)


def _field(dataset: h5py.Dataset, name: str) -> Field:
    dtype = dataset.dtype.newbyteorder("=")
    # An element that is an array by itself adds its axes to the sample's, as in h5py.
    base, inner = dtype.subdtype or (dtype, ())
    return Field(name, dataset.shape[1:] + inner, base)


def _check_type(dataset: h5py.Dataset, where: str) -> None:
    check_type(dataset.id.get_type(), where)
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
    check_shape(dataset.shape, dataset.dtype.itemsize, where)


def _check_filters(filters: list[_Filter], where: str) -> None:
    for step in filters:
        if not h5z.filter_avail(step.code):
            raise MissingDependencyError(
                f"{where} is stored with filter {step.name}, which libhdf5 cannot undo here. "
                "Install its plugin with 'pip install hdf5plugin' and import hdf5plugin first, "
                "or rewrite the file with 'h5repack -f GZIP=4'."
            )


def _why_not_direct(dataset: h5py.Dataset, kind: int, filters: list[_Filter]) -> str | None:
    """Why a dataset has to go through libhdf5; None if it need not."""
    if os.environ.get("PENSTOCK_HDF5") == "h5py":
        return "PENSTOCK_HDF5=h5py is set"
    if dataset.file.driver != "sec2":
        return f"the file is open through the {dataset.file.driver!r} driver"
    if not h5t.py_create(dataset.dtype, logical=True).equal(dataset.id.get_type()):
        return f"its stored type is not NumPy's {dataset.dtype}"
    if dataset.dtype.subdtype:
        return "its elements are arrays"
    if dataset.dtype.names and dataset.dtype != dataset.dtype.newbyteorder("="):
        return "compound values in foreign byte order"
    if kind == h5d.CONTIGUOUS:
        return "nothing was written to it yet" if dataset.id.get_offset() is None else None
    if kind != h5d.CHUNKED:
        return "virtual dataset" if kind == h5d.VIRTUAL else "compact layout"
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


def _fill_of(dataset: h5py.Dataset) -> Any:
    """What h5py reads where nothing was written."""
    plist = dataset.id.get_create_plist()
    if (
        plist.fill_value_defined() == h5d.FILL_VALUE_UNDEFINED
        or plist.get_fill_time() == h5d.FILL_TIME_NEVER
    ):
        # libhdf5 leaves the memory as it is, and h5py gives it zeros.
        return np.zeros((), dataset.dtype)[()]
    return dataset.fillvalue


def _contiguous(dataset: h5py.Dataset, base: dict[str, Any], where: str, size: int) -> Layout:
    start = dataset.id.get_offset()
    end = start + dataset.size * dataset.dtype.itemsize
    if end > size:
        raise FileFormatError(
            f"{where} needs {end} bytes, but the file has {size}: it is truncated. "
            "Copy or download it again."
        )
    return Layout(**base, start=start, path=ReadPath("direct rows", "contiguous, uncompressed"))


def _chunked(
    dataset: h5py.Dataset, base: dict[str, Any], filters: list[_Filter], where: str
) -> Layout:
    chunks = read_index(dataset, tuple((f.code, f.parameters) for f in filters), where)
    if chunks is None:
        base["chunk_rows"] = None
        return Layout(**base, path=ReadPath("h5py", "nearly all chunks were never written"))
    base["fill"] = _fill_of(dataset)
    if filters:
        names = " + ".join(step.name for step in filters)
        path = ReadPath("direct chunks", f"{names}, decoded in threads")
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
