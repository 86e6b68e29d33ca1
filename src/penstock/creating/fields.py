"""What a new file holds, in the forms in which a user may say it."""

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

import numpy as np

from penstock.errors import OptionError, ShapeError, TypeNotSupportedError, field_not_found
from penstock.formats import check_names
from penstock.manifest import Note
from penstock.spec import PARTS, Field, Spec, Structure, leaves, map_structure, may_be_named

_KINDS = "biufcSV"
"""Of dtypes that HDF5 keeps as values of one size."""


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


def structure_of(
    fields: Any, names: Iterable[str], x: Structure, y: Structure, sample_weight: Structure
) -> dict[str, Structure]:
    """x, y and sample_weight of the file, made of names of fields; None where nobody said so.

    Raises:
        OptionError: If one is no nest of names, or there are weights and no target.
        FieldNotFoundError: If a name is of no field.
    """
    if isinstance(fields, Spec) and x is None and y is None and sample_weight is None:
        x, y, sample_weight = fields.x, fields.y, fields.sample_weight
    there = list(names)
    if x is ...:
        x = [name for name in there if name not in (*leaves(y), *leaves(sample_weight))]
    parts = dict(zip(PARTS, (x, y, sample_weight), strict=True))
    for part, structure in parts.items():
        check_names(part, structure)
        for name in leaves(structure):
            if name not in there:
                raise field_not_found(str(name), there, f"{part}= of the new file")
    if sample_weight is not None and y is None:
        raise OptionError("sample_weight= needs y=: Keras weighs the loss of targets.")
    kept = Note.from_json(Note(**parts).to_json()) or Note()
    for part, structure in parts.items():
        if getattr(kept, part) != map_structure(str, structure):
            raise OptionError(
                f"{part}= cannot be noted in a file: expected names in tuples, lists and dicts "
                f"whose keys are strings. Received: {structure!r}"
            )
    return parts


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
