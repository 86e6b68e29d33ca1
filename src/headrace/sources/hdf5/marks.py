"""Attributes with which programs mark the role of the objects in their files."""

import math
import os
from typing import Any

import h5py
import numpy as np
from h5py import h5a

from headrace.errors import DataError
from headrace.sources.hdf5.limits import check_type
from headrace.sources.hdf5.opening import damage_explained, path_of, reading

LABELS = (
    *("label", "labels", "class", "target", "y", "category"),
    *("class_id", "class_label", "class_name", "category_id", "label_id"),
)
"""Common names of attributes that hold the label of a sample."""

VALUES = (
    *LABELS,
    *("CLASS", "PSEUDOATOM", "pandas_type"),  # of PyTables; dimension scales have a CLASS as well
    *("encoding-type", "h5sparse_format", "h5sparse_shape", "shape"),  # of AnnData
    *("MATLAB_class", "MATLAB_empty", "MATLAB_sparse"),
    *("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned"),  # of netCDF
)
"""Marks whose values matter."""

PRESENT = (
    *("keras_version", "model_config", "layer_names"),  # of Keras, and megabytes long
    "nwb_version",
)
"""Marks whose presence alone matters; their values are not read."""

_MOST_BYTES = 1 << 12

_NOT_READ = (OSError, RuntimeError, TypeError, ValueError, KeyError, DataError)
"""Exceptions that h5py raises on an attribute that libhdf5 cannot decode."""


def read_marks(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """The marks that an object has, by name: text, numbers, or lists of them.

    The value is None if it is large, of another type, or not read.
    """
    marks = {name: _value(item, name) for name in VALUES if _has(item, name)}
    return marks | {name: None for name in PRESENT if _has(item, name)}


def _has(item: h5py.Group | h5py.Dataset, name: str) -> bool:
    """Whether an object has an attribute; False if libhdf5 cannot tell."""
    try:
        return bool(h5a.exists(item.id, name.encode()))
    except _NOT_READ:
        return False


def _value(item: h5py.Group | h5py.Dataset, name: str) -> Any:
    try:
        attribute = h5a.open(item.id, name.encode())
        kind, shape = attribute.get_type(), attribute.get_space().shape
        check_type(kind, repr(name))
        if shape is None or len(shape) > 1 or math.prod(shape) * kind.get_size() > _MOST_BYTES:
            return None
        dtype = kind.dtype
        if dtype.kind not in "biufS" and h5py.check_string_dtype(dtype) is None:
            return None
        value = np.asarray(item.attrs[name])
    except _NOT_READ:
        return None
    values = [_text(one) if isinstance(one, bytes) else one for one in value.reshape(-1).tolist()]
    return values[0] if len(values) == 1 else values


def axes_reversed(path: str | os.PathLike[str], name: str) -> bool:
    """Whether MATLAB wrote a dataset of several axes, whose order it reverses."""
    text = path_of(path)
    with reading(text) as file, damage_explained(f"{name!r} in {text!r}"):
        found = file[name]
        return _has(found, "MATLAB_class") and len(found.shape or ()) > 1


def first_values(path: str | os.PathLike[str], name: str, most: int = 1) -> list[Any]:
    """The first values of a dataset as Python objects: numbers, text, or variable-length arrays.

    Args:
        path: The file.
        name: A dataset with one axis or more, whose rows are small.
        most: How many rows are read.

    Raises:
        FileFormatError: If they cannot be read.
    """
    text = path_of(path)
    with reading(text) as file, damage_explained(f"{name!r} in {text!r}"):
        values = file[name][:most]
    return [
        _text(one) if isinstance(one, bytes) else one
        for one in (values if values.dtype.hasobject else values.tolist())
    ]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
