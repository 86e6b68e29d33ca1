"""Sources with one field: arrays, NumPy files, data frames, sliceable objects."""

import os
import sys
from typing import Any

import numpy as np

from headrace.errors import OptionError, ShapeError, TypeNotSupportedError
from headrace.sources.arrays import npy
from headrace.sources.arrays.lazy import LazySource
from headrace.sources.arrays.rows import ArraySource
from headrace.sources.arrays.tables import SparseSource, pandas_source, polars_source
from headrace.sources.base import Source
from headrace.sources.zipped import Member, ZipSource

__all__ = ["array_source"]

_IN_MEMORY = ("jax", "jaxlib", "torch", "tensorflow")
"""Libraries whose arrays NumPy can convert, without a copy if they are in main memory."""


def array_source(name: str, data: Any) -> Source:
    """A source with one field.

    Args:
        name: The field's name.
        data: An array, a path, or any object that `from_arrays` takes.

    Raises:
        OptionError: If it is not an array.
        ShapeError: If it has no rows, or rows without values.
        TypeNotSupportedError: If it holds Python objects, or masked values.
    """
    source = _made(name, data)
    if not source.length or not source.fields[0].nbytes:
        raise ShapeError(
            f"{name} has shape {(source.length, *source.fields[0].shape)}, so it holds no values. "
            "Expected at least one sample."
        )
    return source


def _made(name: str, data: Any) -> Source:
    if isinstance(data, (str, os.PathLike)):
        return npy.source_at(name, npy.find(os.fspath(data)))
    library = type(data).__module__.split(".")[0]
    kinds = {(kind.__module__.split(".")[0], kind.__name__) for kind in type(data).__mro__}
    if kinds & {("pandas", "DataFrame"), ("pandas", "Series")}:
        return pandas_source(name, data)
    if kinds & {("polars", "DataFrame"), ("polars", "Series")}:
        return polars_source(name, data)
    if library == "scipy" and sys.modules["scipy"].sparse.issparse(data):
        if data.ndim != 2:
            raise ShapeError(f"{name} is a sparse array of {data.ndim} axes. Expected 2.")
        return SparseSource(name, data)
    if isinstance(data, np.memmap) and (place := npy.place_of_mapped(data)) is not None:
        return npy.source_at(name, place)
    if isinstance(data, np.ndarray) or library in _IN_MEMORY:
        return ArraySource(name, _in_memory(name, data))
    shape = getattr(data, "shape", None)
    if not isinstance(shape, (tuple, list)) or not hasattr(data, "__getitem__"):
        raise OptionError(
            f"Expected {name} to be an array, the path of a .npy or .npz file, a data frame, or an "
            f"object with shape and [start:stop]. Received: {_shown(data)}"
        )
    if not shape:
        raise ShapeError(f"{name} is a single value. Expected an axis that runs over samples.")
    return _stored_in_hdf5(name, data) if library == "h5py" else LazySource(name, data)


def _in_memory(name: str, data: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.asanyarray(data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"{name} cannot be used as a NumPy array: {error}") from error
    if isinstance(array, np.ma.MaskedArray):
        raise TypeNotSupportedError(
            f"{name} is a masked array, and a batch has no mask. Replace the masked values, for "
            "example with array.filled(0)."
        )
    if array.dtype.hasobject:
        raise TypeNotSupportedError(
            f"{name} holds Python objects. Expected numbers, or text of one length: "
            "array.astype('float32') or array.astype('S')."
        )
    if not array.ndim:
        raise ShapeError(f"{name} is a single value. Expected an axis that runs over samples.")
    return np.asarray(array)


def _stored_in_hdf5(name: str, dataset: Any) -> Source:
    """A source for an h5py dataset: reads its file directly, unless the file is open to write."""
    file = dataset.file
    if file.mode != "r" or file.driver != "sec2" or dataset.name is None:
        return LazySource(name, dataset)
    from headrace.sources.hdf5 import HDF5Source

    source = HDF5Source(file.filename, [dataset.name])
    return ZipSource([Member(source, {name: source.fields[0].name})])


def _shown(data: Any) -> str:
    if isinstance(data, (bool, int, float)):
        return f"{data!r}. A list means several inputs; use np.asarray() for an array of numbers"
    return f"a {type(data).__name__}"
