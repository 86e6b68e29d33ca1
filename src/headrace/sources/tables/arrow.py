"""Columns of Arrow tables: what they hold, and their values as NumPy arrays."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import TypeNotSupportedError, field_not_found
from headrace.sources.tables.encoders import (
    DateEncoder,
    Encoder,
    NumberEncoder,
    TextEncoder,
)
from headrace.sources.tables.values import Values
from headrace.spec import Column


def flat_fields(schema: Any) -> Iterator[tuple[str, Any]]:
    """The columns of a schema, with the members of structs as "struct.member"."""
    for field in schema:
        if pa.types.is_struct(field.type):
            members = pa.schema([field.type.field(i) for i in range(field.type.num_fields)])
            yield from ((f"{field.name}.{name}", kind) for name, kind in flat_fields(members))
        else:
            yield field.name, field.type


def flattened(table: Any) -> Any:
    """A table whose columns are those of `flat_fields`."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def column_of(name: str, kind: Any, missing: bool, where: str) -> Column:
    """What a column of an Arrow type holds.

    Raises:
        TypeNotSupportedError: If nothing can be made of its values.
    """
    if _is_text(kind):
        return Column(name, "text", (), None, missing)
    dtype = _dtype(kind)
    if dtype is not None:
        words = {"b": "bool", "M": "date"}
        return Column(name, words.get(dtype.kind, "number"), (), dtype, missing)
    if pa.types.is_fixed_size_list(kind) and _dtype(kind.value_type) is not None:
        return Column(name, "number", (kind.list_size,), _dtype(kind.value_type), missing)
    raise TypeNotSupportedError(
        f"{name!r} in {where} holds values of the type {kind}. Expected numbers, booleans, text, "
        "dates, or lists of numbers of one length. Leave the column out, or convert it."
    )


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _dtype(kind: Any) -> np.dtype[Any] | None:
    """The NumPy dtype for the values of a type; None if there is none."""
    if pa.types.is_boolean(kind):
        return np.dtype(np.bool_)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        return found
    if pa.types.is_decimal(kind):
        return np.dtype(np.float64)
    if pa.types.is_date32(kind):
        return np.dtype("M8[D]")
    if pa.types.is_date64(kind):
        return np.dtype("M8[ms]")
    if pa.types.is_timestamp(kind):
        return np.dtype(f"M8[{kind.unit}]")
    return None


def values_of(column: Any) -> Values:
    """The values of a column: a chunked array, or an array."""
    array = column
    if isinstance(column, pa.ChunkedArray):
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    missing = texts = None
    if array.null_count:
        missing = pc.is_null(array).to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(array.type):
        return Values(_vectors(array), missing)
    if _is_text(array.type):
        if not pa.types.is_dictionary(array.type):
            array = pc.dictionary_encode(array)
        texts = array.dictionary.to_pylist()
        array = array.indices
    elif pa.types.is_decimal(array.type):
        array = pc.cast(array, pa.float64())
    if missing is not None:
        array = pc.fill_null(array, _zero(array.type))
    return Values(array.to_numpy(zero_copy_only=False), missing, texts)


def _vectors(array: Any) -> npt.NDArray[Any]:
    size = array.type.list_size
    if array.null_count:
        # The lists that are missing have no values in `flatten`, which the rows would lack.
        nothing = pa.array([[0] * size], array.type)[0]
        array = pc.if_else(pc.is_null(array), nothing, array)
    flat = array.flatten()
    if flat.null_count:
        flat = pc.fill_null(flat, float("nan") if pa.types.is_floating(flat.type) else 0)
    found: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
    return found


def _zero(kind: Any) -> Any:
    """What is put where a value is missing."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pa.scalar(0, pa.int64()).cast(kind) if not pa.types.is_date32(kind) else _DAY
    return False if pa.types.is_boolean(kind) else 0


_DAY = np.datetime64(0, "D").item()


def encoder_of(column: Column, fill: float | None, width: int) -> Encoder:
    """What makes a field of a column as it is.

    Args:
        column: What it holds.
        fill: The number in place of missing ones.
        width: The most characters of its values, for text.
    """
    if column.dtype is None:
        return TextEncoder(column.name, width)
    if column.dtype.kind == "M":
        return DateEncoder(column.name, column.dtype)
    return NumberEncoder(column.name, column.dtype, fill, column.shape)


def known_column(columns: Mapping[str, Any], name: str, names: Sequence[str], where: str) -> Any:
    """The type of a column.

    Raises:
        FieldNotFoundError: If there is no such column.
    """
    if name not in columns:
        raise field_not_found(name, names, where)
    return columns[name]
