"""`DatasetField`: elements of a dataset, or members of its compound values."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5t

from headrace.errors import FieldNotFoundError, TypeNotSupportedError, field_not_found
from headrace.sources.file import Bytes
from headrace.spec import Field

Array = npt.NDArray[Any]

Members = tuple[str, ...]
"""The path of names from a compound element to one of its members; () for the whole element."""

_MEMBER = re.compile(r"""(.+)\[(?:'([^']+)'|"([^"]+)")\]""", re.DOTALL)


class Wanted(NamedTuple):
    """A requested field: its full name, and the members at the end of this name."""

    name: str
    members: Members


@dataclass(frozen=True)
class DatasetField:
    """One field of a dataset.

    Attributes:
        field: Name, shape and dtype for the model, in native byte order.
        members: The path of names from an element to the field.
        offset: Its offset in a stored element, in bytes.
        stored: The stored dtype at this offset.
        inside: The rest of the path, within `stored`, if it passes arrays of compound values.
        fill: Its value where nothing was written.
        obstacle: Why its stored bytes cannot be used directly; None if they can.
    """

    field: Field
    members: Members
    offset: int
    stored: np.dtype[Any]
    inside: Members
    fill: Array
    obstacle: str | None

    @property
    def swapped(self) -> bool:
        """Whether it is stored in the byte order that is not native here."""
        return self.stored != self.stored.newbyteorder("=")

    @property
    def plain(self) -> bool:
        """Whether its values are whole stored elements, which at most need a byte swap."""
        return not self.members and not (self.swapped and self.stored.base.names)

    def values(self, raw: Bytes, shape: tuple[int, ...], start: int = 0) -> Array:
        """A view of its values in stored bytes.

        Args:
            raw: Stored elements, or the part of each that begins at byte `start`; uint8, one axis.
            shape: Shape of the array of elements.
            start: The first byte of each element that is in `raw`.
        """
        size = raw.size // math.prod(shape)
        record = _one_member(self.stored, self.offset - start, size)
        return follow(raw.view(record).reshape(shape), ("value", *self.inside))


def follow(values: Array, members: Members) -> Array:
    """A view of a nested member of compound values."""
    for name in members:
        values = values[name]
    return values


def split_member(name: str) -> tuple[str, str] | None:
    """`("table", "pt")` for `"table['pt']"`; None for a name without a member at its end."""
    found = _MEMBER.fullmatch(name)
    return (found[1], found[2] or found[3]) if found else None


def find_columns(
    dataset: h5py.Dataset, wanted: Iterable[Wanted], path: str
) -> tuple[DatasetField, ...]:
    """The requested fields of a dataset in the file at `path`.

    Raises:
        FieldNotFoundError: If there is no such member.
        TypeNotSupportedError: If it has no fixed-size NumPy form.
    """
    return tuple(_find_column(dataset, name, members, path) for name, members in wanted)


def memory_dtype(kind: Any, wanted: Iterable[Members]) -> np.dtype[Any]:
    """The dtype with which libhdf5 returns only these members, without converting them.

    Byte order is converted later, because libhdf5 cannot do it for some types.

    Args:
        kind: The stored h5t type.
        wanted: Paths of members, or `()` for the whole element.
    """
    wanted = list(wanted)
    if not all(wanted):
        return kind.dtype  # type: ignore[no-any-return]
    if isinstance(kind, h5t.TypeArrayID):
        return np.dtype((memory_dtype(kind.get_super(), wanted), kind.get_array_dims()))
    parts = []
    for name in dict.fromkeys(members[0] for members in wanted):
        inner = kind.get_member_type(kind.get_member_index(name.encode()))
        parts.append((name, memory_dtype(inner, [m[1:] for m in wanted if m[0] == name])))
    return np.dtype(parts)


def _one_member(stored: np.dtype[Any], offset: int, size: int) -> np.dtype[Any]:
    # A type that only libhdf5 can read may be larger in NumPy than in the file.
    size = max(size, offset + stored.itemsize)
    return np.dtype(
        {"names": ["value"], "formats": [stored], "offsets": [offset], "itemsize": size}
    )


class _MemberPath(NamedTuple):
    """Where a member is in an element, and its h5t type."""

    kind: Any
    stored: np.dtype[Any]
    offset: int = 0
    inside: Members = ()


def _find_column(dataset: h5py.Dataset, name: str, members: Members, path: str) -> DatasetField:
    kind = dataset.id.get_type()
    place = _find_member(kind, members, name, path)
    size = kind.get_size()
    one = follow(np.zeros((), _one_member(place.stored, place.offset, size)), ("value",))
    one = follow(one, place.inside)
    dtype = one.dtype.newbyteorder("=")
    return DatasetField(
        Field(name, dataset.shape[1:] + one.shape, dtype),
        members,
        place.offset,
        place.stored,
        place.inside,
        _fill_value(dataset, kind, members, one.shape, dtype),
        _obstacle(dataset, kind, place),
    )


def _find_member(kind: Any, members: Members, name: str, path: str) -> _MemberPath:
    """Finds the member at a path of names, starting at a type."""
    if not members:
        return _MemberPath(kind, _usable_dtype(kind, name, path))
    if isinstance(kind, h5t.TypeArrayID):
        base = kind.get_super()
        inner = _find_member(base, members, name, path)
        element = _one_member(inner.stored, inner.offset, base.get_size())
        stored = np.dtype((element, kind.get_array_dims()))
        return _MemberPath(inner.kind, stored, 0, ("value", *inner.inside))
    first, *rest = members
    there = _member_names(kind)
    if first not in there:
        raise _member_not_found(name, members, there, path)
    index = kind.get_member_index(first.encode())
    inner = _find_member(kind.get_member_type(index), tuple(rest), name, path)
    return inner._replace(offset=inner.offset + kind.get_member_offset(index))


def _member_names(kind: Any) -> list[str]:
    if not isinstance(kind, h5t.TypeCompoundID):
        return []
    return [kind.get_member_name(i).decode() for i in range(kind.get_nmembers())]


def _member_not_found(
    name: str, members: Members, there: list[str], path: str
) -> FieldNotFoundError:
    # Cut the members that were not found off the name.
    above = name
    for _ in members:
        above = split_member(above)[0]  # type: ignore[index]
    if not there:
        return FieldNotFoundError(
            f"There is no field {name!r} in {path!r}: {above!r} has no members. "
            "Name it without brackets."
        )
    return field_not_found(members[0], there, f"{above!r} of {path!r}")


def _fill_value(
    dataset: h5py.Dataset, kind: Any, members: Members, shape: tuple[int, ...], dtype: Any
) -> Array:
    """The value of elements that were never written; zeros where libhdf5 does not fill them."""
    plist = dataset.id.get_create_plist()
    values = np.zeros(1, memory_dtype(kind, [members]))
    if fills(plist) and not isinstance(kind, h5t.TypeArrayID):
        plist.get_fill_value(values)
    return np.broadcast_to(follow(values, members)[0], shape).astype(dtype)


def fills(plist: Any) -> bool:
    """Whether libhdf5 fills elements that were never written, or leaves memory uninitialized."""
    if plist.fill_value_defined() == h5d.FILL_VALUE_UNDEFINED:
        return False
    return bool(plist.get_fill_time() != h5d.FILL_TIME_NEVER)


def _obstacle(dataset: h5py.Dataset, kind: Any, place: _MemberPath) -> str | None:
    """Why the stored bytes cannot be used directly; None if they can."""
    dtype = place.kind.dtype
    if not h5t.py_create(dtype, logical=True).equal(_ordered(place.kind)):
        if dtype.kind == "S":
            return "its text is padded differently from NumPy's"
        if dtype.names:
            return f"NumPy lays out its {len(dtype.names)} members differently"
        return f"its stored type is not NumPy's {dtype}"
    if _varies(kind):
        # Such values have different sizes in memory and in the file, so offsets differ.
        return "its compound values also have members of variable length"
    user_defined = dataset.id.get_create_plist().fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED
    if isinstance(kind, h5t.TypeArrayID) and user_defined:
        return "its elements are arrays with a fill value"
    return None


def _ordered(kind: Any) -> Any:
    """The type itself, but with little-endian order if it is one byte, where order is void."""
    if isinstance(kind, h5t.TypeIntegerID) and kind.get_size() == 1:
        kind = kind.copy()
        kind.set_order(h5t.ORDER_LE)
    return kind


def _varies(kind: Any) -> bool:
    """Whether a type holds values of variable length, or references, at any depth."""
    if isinstance(kind, h5t.TypeCompoundID):
        return any(_varies(kind.get_member_type(i)) for i in range(kind.get_nmembers()))
    if isinstance(kind, h5t.TypeArrayID):
        return _varies(kind.get_super())
    if isinstance(kind, h5t.TypeStringID):
        return bool(kind.is_variable_str())
    return isinstance(kind, (h5t.TypeVlenID, h5t.TypeReferenceID))


def _usable_dtype(kind: Any, name: str, path: str) -> np.dtype[Any]:
    """The NumPy dtype of a stored type, if fields can have it."""
    where = f"{name!r} in {path!r}"
    try:
        dtype: np.dtype[Any] = kind.dtype
    except (TypeError, ValueError, KeyError) as error:
        # h5py looks the byte order up in a table that lacks VAX order.
        why = "VAX byte order" if isinstance(error, KeyError) else error
        raise TypeNotSupportedError(
            f"{where} holds values that NumPy has no type for ({why}). Expected numbers of a "
            f"fixed size. {_others(kind, name)}Convert them, for example with h5py's low-level "
            "functions."
        ) from error
    if h5py.check_string_dtype(dtype) is not None and dtype.kind == "O":
        raise TypeNotSupportedError(
            f"{where} holds variable-length strings. Expected numbers of a fixed size. "
            "Encode them as integers first: pass the codes that np.unique(texts, "
            "return_inverse=True) returns to from_arrays(), along with the h5py datasets of the "
            "other fields."
        )
    if h5py.check_vlen_dtype(dtype) is not None:
        raise TypeNotSupportedError(
            f"{where} holds variable-length arrays. Expected samples of one shape. "
            "Pad or cut them to one length, or decode them, in the __getitem__ of an object for "
            "from_sequence()."
        )
    if dtype.hasobject:
        raise TypeNotSupportedError(
            f"{where} holds {_objects_in(dtype)}. Expected numbers of a fixed size. "
            f"{_others(kind, name)}Leave the field out, or store the numbers in a separate dataset."
        )
    if not dtype.itemsize:
        raise TypeNotSupportedError(f"{where} holds values of 0 bytes ({dtype}). Leave it out.")
    if _overlaps(dtype):
        raise TypeNotSupportedError(
            f"{where} holds compound values with numbers that are larger in NumPy than in the file "
            f"({dtype}), so that members overlap in h5py. {_others(kind, name)}Or convert them, "
            "for example with h5py's low-level functions."
        )
    if h5t.find(kind, h5t.py_create(dtype)) is None:
        raise TypeNotSupportedError(
            f"{where} holds values that libhdf5 cannot convert to NumPy's {dtype}. Leave it out, "
            "or convert it with h5py's low-level functions."
        )
    return dtype


def _overlaps(dtype: np.dtype[Any]) -> bool:
    """Whether members overlap, at any depth."""
    fields = sorted((dtype.fields or {}).values(), key=lambda field: field[1])
    starts = [*(field[1] for field in fields[1:]), dtype.itemsize]
    return any(
        field[1] + field[0].itemsize > start or _overlaps(field[0].base)
        for field, start in zip(fields, starts, strict=False)
    )


def _objects_in(dtype: np.dtype[Any]) -> str:
    if h5py.check_ref_dtype(dtype) is not None:
        return "references to other parts of the file"
    if not dtype.names:
        return "arrays of values of variable length"
    return f"compound values with parts of variable length ({dtype})"


def _others(kind: Any, name: str) -> str:
    """A sentence that lists the members of a compound value that can be used."""
    usable = []
    for number, member in enumerate(_member_names(kind)):
        try:
            dtype = kind.get_member_type(number).dtype
        except (TypeError, ValueError):
            continue
        if not dtype.hasobject:
            usable.append(f"{name}[{member!r}]")
    if not usable:
        return ""
    listed = ", ".join(f'"{one}"' for one in usable[:5]) + (", ..." if len(usable) > 5 else "")
    return f"Name the members that are usable: {listed}. "
