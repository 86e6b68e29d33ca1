"""Reads attributes of HDF5 objects: as text to show, and as values to copy."""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5a, h5s, h5t

from headrace.errors import DataError, HeadraceError, read_error
from headrace.sources.hdf5.limits import check_type
from headrace.sources.hdf5.opening import DAMAGE, refusal

MOST_ATTRIBUTES = 4
"""Attributes of one object that `read_attributes` returns; some programs write dozens."""

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
"""Attributes that PyTables and the dimension scales of netCDF-4 use internally."""

_LINKS = frozenset({b"DIMENSION_LIST", b"REFERENCE_LIST"})
"""The internal attributes that refer to other objects of the same file."""

_CLASSES = frozenset(
    {
        *(b"DIMENSION_SCALE", b"GROUP", b"TABLE", b"ARRAY", b"CARRAY", b"EARRAY", b"VLARRAY"),
        *(b"IMAGE", b"PALETTE"),
    }
)
"""Values of the attribute CLASS that these libraries write."""

_MOST_KEPT = 1 << 24
"""Most bytes of an attribute that is copied: far more than a list of class names needs."""


@dataclass(frozen=True)
class Attribute:
    """An attribute of an HDF5 object, kept without conversion.

    Attributes:
        kind: Its type, in libhdf5's encoding.
        form: The NumPy name of the type, for the checksum.
        shape: Its shape; None for an attribute without a value.
        values: Raw values of this shape, or variable-length strings as Python objects.
    """

    kind: bytes
    form: str
    shape: tuple[int, ...] | None
    values: npt.NDArray[Any]

    @property
    def checksum(self) -> int:
        """The CRC-32 of type, shape and values."""
        total = zlib.crc32(f"{self.form} {self.shape}".encode("utf-8", "backslashreplace"))
        if not self.values.dtype.hasobject:
            return zlib.crc32(self.values.tobytes(), total)
        for value in self.values.reshape(-1).tolist():
            text = value if isinstance(value, bytes) else str(value).encode(errors="replace")
            total = zlib.crc32(b"%d " % len(text) + text, total)
        return total


def attributes_of(item: h5py.Group | h5py.Dataset) -> dict[str, Attribute | None]:
    """All attributes of an object, without those that libraries use internally.

    Returns:
        Attributes by name; None for those that cannot be copied: references to objects of the
        file, variable-length arrays, more than 16 MiB, and those that libhdf5 cannot read.
    """
    names: list[bytes] = []
    try:
        h5a.iterate(item.id, lambda name, *_: names.append(name))
    except DAMAGE as error:
        return {_unreadable(item, error)[0]: None}
    theirs = _OF_LIBRARIES - {b"TITLE"} if _is_a_library_s(item, names) else _LINKS
    found: dict[str, Attribute | None] = {}
    for raw in names:
        if raw not in theirs:
            try:
                value = _read(item, raw)
            except DAMAGE as error:
                _unreadable(item, error)
                value = None
            found[raw.decode("utf-8", "surrogateescape")] = value
    return found


def write_attribute(item: h5py.Group | h5py.Dataset, name: str, attribute: Attribute) -> None:
    """Writes an attribute that was read from another object."""
    kind = h5t.decode(attribute.kind)
    space = h5s.create(h5s.NULL)
    if attribute.shape is not None:
        space = h5s.create_simple(attribute.shape) if attribute.shape else h5s.create(h5s.SCALAR)
    made = h5a.create(item.id, name.encode("utf-8", "surrogateescape"), kind, space)
    if attribute.values.size:
        raw = not attribute.values.dtype.hasobject
        made.write(attribute.values, mtype=kind if raw else None)


def _is_a_library_s(item: h5py.Group | h5py.Dataset, names: list[bytes]) -> bool:
    """Whether PyTables or the dimension scales of netCDF-4 wrote the attributes of an object."""
    if b"PYTABLES_FORMAT_VERSION" in names:
        return True
    said = _read(item, b"CLASS") if b"CLASS" in names else None
    return said is not None and said.values.tobytes().rstrip(b"\0") in _CLASSES


def _read(item: h5py.Group | h5py.Dataset, name: bytes) -> Attribute | None:
    attribute = h5a.open(item.id, name)
    kind, shape = attribute.get_type(), attribute.get_space().shape
    try:
        check_type(kind, "")
        dtype = kind.dtype
    except (TypeError, DataError):
        return None
    any_length = isinstance(kind, h5t.TypeStringID) and kind.is_variable_str()
    if dtype.hasobject and not any_length:
        return None
    if math.prod(shape or ()) * kind.get_size() > _MOST_KEPT:
        return None
    # Values of fixed size are read as raw bytes, so that nothing is converted.
    values = np.empty(
        (0,) if shape is None else shape, dtype if any_length else f"V{kind.get_size()}"
    )
    if values.size:
        attribute.read(values, mtype=None if any_length else kind)
    form = f"{dtype} {h5py.check_enum_dtype(dtype) or ''}"
    return Attribute(_plain(kind, dtype).encode(), form, shape, values)


def _plain(kind: h5t.TypeID, dtype: np.dtype[Any]) -> h5t.TypeID:
    """An equal type created anew if possible: the file's may have a later format version."""
    if isinstance(kind, h5t.TypeStringID):
        made = h5t.C_S1.copy()
        made.set_size(h5t.VARIABLE if kind.is_variable_str() else kind.get_size())
        made.set_strpad(kind.get_strpad())
        made.set_cset(kind.get_cset())
    else:
        made = h5t.py_create(dtype, logical=True)
    return made if made.equal(kind) else kind


def read_attributes(item: h5py.Group | h5py.Dataset) -> dict[str, str]:
    """The first few attributes of an object that are text or a few numbers, as text.

    For one that libhdf5 cannot read, the text is the reason. If libhdf5 cannot even list the
    attributes, one entry stands for all of them.
    """
    found: dict[str, str] = {}
    try:
        names = _names(item)
    except DAMAGE as error:
        return dict([_unreadable(item, error)])
    for raw in names:
        name = raw.decode("utf-8", "backslashreplace")
        if name.startswith("_"):
            continue
        try:
            value = _value(item, raw)
        except DAMAGE as error:
            found[name] = _unreadable(item, error)[1].replace("they are", "it is")
            value = None
        if value is not None:
            found[name] = _text(value)
        if len(found) == MOST_ATTRIBUTES:
            break
    return found


def _unreadable(item: h5py.Group | h5py.Dataset, error: Exception) -> tuple[str, str]:
    """A name for all attributes of an object together, and why they cannot be read.

    Raises:
        HeadraceError: If the system refused to read the file.
    """
    if isinstance(error, HeadraceError):
        raise error
    if refused := refusal(error):
        raise read_error(f"Reading attributes of {item.name!r}", refused) from error
    words = " ".join(str(error).split())
    version = h5py.version.hdf5_version
    why = f"cannot be read: HDF5 {version} is too old, or they are damaged ({words})"
    return f"all {h5a.get_num_attrs(item.id)} attributes", why


def _names(item: h5py.Group | h5py.Dataset) -> list[bytes]:
    """The names of the first attributes, without those that libraries use internally."""
    names: list[bytes] = []

    def note(name: bytes, *_: Any) -> bool | None:
        names.append(name)
        return True if len(names) >= _MOST_LOOKED_AT else None

    h5a.iterate(item.id, note)
    return [name for name in names if name not in _OF_LIBRARIES]


def root_text(file: h5py.File, name: str) -> str | None:
    """A fixed-length text attribute of the root group; None if there is none."""
    try:
        if not h5a.exists(file.id, name.encode()):
            return None
    except DAMAGE as error:
        # libhdf5 cannot read an attribute of the root; this does not affect the data.
        _unreadable(file, error)
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
    """A uint32 attribute of one axis that a dataset has; None if there is none."""
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
    """An attribute's value; None if it is large, or is neither text nor numbers."""
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
    """A value as text, cut to `_MOST_CHARACTERS`."""
    values = np.atleast_1d(np.asarray(value, dtype=object)).tolist()
    text = ", ".join(map(_one, values))
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def _one(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return f"{value:g}" if isinstance(value, float) else str(value)
