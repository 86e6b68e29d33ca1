"""Parses the fields that a user names for a new file."""

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

import numpy as np

from headrace.errors import OptionError, ShapeError, TypeNotSupportedError
from headrace.spec import Field, Spec, may_be_named

_KINDS = "biufcSV"
"""Kinds of the dtypes that HDF5 stores as values of one size."""


def fields_of(fields: Any) -> tuple[Field, ...]:
    """The fields that a user named.

    Args:
        fields: A `Spec`, a `Field` or several, or a dict of names to dtypes, or to tuples of a
            shape and a dtype.

    Raises:
        OptionError: If it is something else, or a name cannot be one of a dataset.
        ShapeError: If samples have no bytes.
        TypeNotSupportedError: If HDF5 has no such type.
    """
    found: list[Any]
    if isinstance(fields, Spec):
        found = list(fields.fields)
    elif isinstance(fields, Mapping):
        found = [_field(name, form) for name, form in fields.items()]
    elif isinstance(fields, Field):
        found = [fields]
    else:
        found = list(fields) if isinstance(fields, Iterable) else []
    if not found or not all(isinstance(field, Field) for field in found):
        raise OptionError(
            "Expected fields such as {'image': ((32, 32, 3), 'uint8'), 'label': 'float32'}, or the "
            f"spec of a data set. Received: {fields!r}"
        )
    names = [field.name for field in found]
    for name in names:
        if not may_be_named(name, names):
            raise OptionError(
                f"{name!r} cannot be the name of a field: expected a name of its own such as "
                "'image' or 'group/image', which is not a group of others."
            )
    return tuple(map(_storable, found))


def _field(name: Any, form: Any) -> Field:
    """A field from its dtype, or from a tuple of shape and dtype."""
    shape, dtype = form if isinstance(form, tuple) and len(form) == 2 else ((), form)
    try:
        if isinstance(shape, (str, bytes)):
            raise TypeError
        sizes = tuple(map(index, shape)) if isinstance(shape, Iterable) else (index(shape),)
        return Field(name, sizes, np.dtype(dtype))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"Expected {name!r} with a dtype, or with a tuple of the shape of a sample and a "
            f"dtype, as in ((32, 32, 3), 'uint8'). Received: {form!r}"
        ) from error


def _storable(field: Field) -> Field:
    """The field as it is stored: in native byte order, and with all axes in its shape."""
    base, inner = field.dtype.subdtype or (field.dtype, ())
    if base.kind not in _KINDS or base.hasobject:
        raise TypeNotSupportedError(
            f"{field.name!r} cannot hold {field.dtype}: its values have no fixed size in HDF5. Use "
            "numbers: 'int64' for times, 'S10' for texts of up to 10 bytes."
        )
    stored = Field(field.name, (*field.shape, *inner), base.newbyteorder("="))
    if min(stored.shape, default=1) < 1 or not stored.nbytes:
        raise ShapeError(f"Expected samples of at least one byte. Received: {field}")
    return stored
