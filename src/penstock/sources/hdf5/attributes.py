"""Attributes, as text that tells a person something, and as values that are kept."""

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5a, h5t

from penstock.errors import DataError
from penstock.sources.hdf5.limits import check_type

MOST_ATTRIBUTES = 4
"""Of one object. Files of some programs carry dozens, all about those programs."""

_MOST_LOOKED_AT = 32

_MOST_TEXT = 1 << 28

_MOST_VALUES = 1000
_MOST_CHARACTERS = 200

_OF_LIBRARIES = frozenset(
    {
        *(b"CLASS", b"VERSION", b"TITLE", b"FLAVOR", b"NAME", b"FILTERS"),
        *(b"PYTABLES_FORMAT_VERSION", b"DIMENSION_LIST", b"REFERENCE_LIST"),
    }
)
"""What PyTables and the dimension scales of netCDF-4 note for themselves."""


def read_attributes(item: h5py.Group | h5py.Dataset) -> dict[str, str]:
    """Some attributes of an object, as text; those that are text or a few numbers."""
    found: dict[str, str] = {}
    for raw in _names(item, _MOST_LOOKED_AT):
        name = raw.decode("utf-8", "backslashreplace")
        if name.startswith("_"):
            continue
        value = _value(item, raw)
        if value is not None:
            found[name] = _text(value)
        if len(found) == MOST_ATTRIBUTES:
            break
    return found


def _names(item: h5py.Group | h5py.Dataset, most: int) -> list[bytes]:
    """The names of some attributes, without those that libraries note for themselves."""
    names: list[bytes] = []

    def note(name: bytes, *_: Any) -> bool | None:
        names.append(name)
        return True if len(names) >= most else None

    h5a.iterate(item.id, note)
    return [name for name in names if name not in _OF_LIBRARIES]


def attribute_values(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """The attributes of an object that are text or a few numbers, as h5py gives them."""
    values = ((raw, _value(item, raw)) for raw in _names(item, _MOST_VALUES))
    return {raw.decode("utf-8", "surrogateescape"): v for raw, v in values if v is not None}


def root_text(file: h5py.File, name: str) -> str | None:
    """A text of fixed length that the root group has as an attribute; None if there is none."""
    if not h5a.exists(file.id, name.encode()):
        return None
    attribute = h5a.open(file.id, name.encode())
    kind, shape = attribute.get_type(), attribute.get_space().shape
    if not isinstance(kind, h5t.TypeStringID) or kind.is_variable_str() or shape != ():
        return None
    if kind.get_size() > _MOST_TEXT:
        return None
    values = np.empty((), f"S{kind.get_size()}")
    attribute.read(values)
    return bytes(values[()]).decode("utf-8", "replace")


def numbers(file: h5py.File, dataset: str, name: str) -> npt.NDArray[np.uint32] | None:
    """A row of 32-bit numbers that a dataset has as an attribute; None if there is none."""
    item = file[dataset]
    if not h5a.exists(item.id, name.encode()):
        return None
    attribute = h5a.open(item.id, name.encode())
    space = attribute.get_space()
    if attribute.dtype != np.uint32 or len(space.shape or ()) != 1:
        return None
    values = np.empty(space.shape, np.uint32)
    attribute.read(values)
    return values


def _value(item: h5py.Group | h5py.Dataset, name: bytes) -> Any:
    """An attribute's value; None if it is large, or neither text nor numbers."""
    attribute = h5a.open(item.id, name)
    shape = attribute.get_space().shape
    if shape is None or len(shape) > 1 or (shape and not 0 < shape[0] <= _MOST_VALUES):
        return None
    try:
        check_type(attribute.get_type(), "")
        dtype = attribute.dtype
    except (TypeError, DataError):
        return None
    if dtype.kind not in "biufSU" and h5py.check_string_dtype(dtype) is None:
        return None
    return item.attrs[name]


def _text(value: Any) -> str:
    """A value as text, cut off where it is long."""
    values = np.atleast_1d(np.asarray(value, dtype=object)).tolist()
    text = ", ".join(map(_one, values))
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def _one(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return f"{value:g}" if isinstance(value, float) else str(value)
