"""Converts the user's values to a field's dtype; refuses values that would change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import HeadraceError, LossError, OptionError, ShapeError
from headrace.lists import array_of
from headrace.spec import Field
from headrace.writing.casts import Cast

Array = npt.NDArray[Any]

PIECE_BYTES = 1 << 22
"""Bytes of values that are cast at once, which stay in the processor's cache."""


class _Exact(Cast):
    """A cast that keeps every value."""

    KIND_WAY_OUT = "Turn it into an array of that dtype first."
    LOSS_WAY_OUT = "Say astype() if that is meant, or choose another dtype for the field."


class _Rounded(_Exact):
    """A cast of Python's numbers, which have no dtype: rounded, but never to infinity."""

    def _lost(self, values: Array, cast: Array) -> npt.NDArray[np.bool_]:
        lost: npt.NDArray[np.bool_] = np.isfinite(values) & ~np.isfinite(cast)
        return lost


@dataclass(frozen=True)
class Values:
    """The values of some rows of a field.

    Attributes:
        array: Array of shape `(rows, *shape)`, or of one that broadcasts to it.
        cast: Converts them to the field's dtype.
    """

    array: Array
    cast: Cast

    def __len__(self) -> int:
        return len(self.array)

    @property
    def nbytes(self) -> int:
        """Bytes of the values in the field's dtype."""
        return self.array.size * self.cast.target.itemsize

    def settled(self) -> "Values":
        """The same values, after a check that the cast refuses none of them.

        Raises:
            LossError: If a value would change.
        """
        if self.cast.safe or not self.array.size:
            return self
        if self.array.nbytes <= PIECE_BYTES:
            target = self.cast.target
            return Values(self.cast(self.array), _Exact(self.cast.name, target, target))
        for _ in self.pieces():
            pass
        return self

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """The first row and the values of each piece, C-contiguous and cast.

        Raises:
            LossError: If a value would change.
        """
        array = self.array
        if not array.size:
            return
        if array.dtype == self.cast.target and array.flags.c_contiguous:
            yield 0, array
            return
        step = max(1, PIECE_BYTES * len(array) // max(1, array.size * array.itemsize))
        for first in range(0, len(array), step):
            try:
                yield first, self.cast(array[first : first + step])
            except LossError as error:
                raise LossError(first + error.row, error.text) from error


def rows_of_batch(field: Field, value: Any) -> Values:
    """The rows of a field in a batch.

    Args:
        field: The field.
        value: An array of shape `(rows, *field.shape)`, or a list of samples.

    Raises:
        ShapeError: If it has another shape.
        LossError: If a value would change.
        OptionError, DataError: If the field cannot hold values of this kind.
    """
    values = _values(field, value)
    if values.array.shape[1:] != field.shape or values.array.ndim != len(field.shape) + 1:
        raise ShapeError(
            f"Expected {field.name!r} with shape {_shown('rows', field)}. "
            f"Received: {values.array.shape}"
        )
    return values.settled()


def values_for(field: Field, value: Any, rows: int, *, single: bool) -> Values:
    """The values that are assigned to rows, broadcast as NumPy does.

    Args:
        field: The field.
        value: A number, an array, or anything that `np.asarray` takes.
        rows: The number of rows.
        single: Whether a single row was indexed, so that the value has no axis of rows.

    Raises:
        ShapeError: If it does not fit.
        LossError: If a value would change.
        OptionError, DataError: If the field cannot hold values of this kind.
    """
    values = _values(field, value)
    shape = field.shape if single else (rows, *field.shape)
    array = values.array
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    if array.shape != shape:
        _check_broadcast(field, values.array.shape, array, shape)
    # The cast is checked before the value is broadcast to all rows.
    axes = (1,) * (len(field.shape) + 1 - array.ndim)
    settled = Values(array.reshape(*axes, *array.shape), values.cast).settled()
    if settled.array.shape == (rows, *field.shape):
        return settled
    return Values(np.broadcast_to(settled.array, (rows, *field.shape)), settled.cast)


def _check_broadcast(
    field: Field, came: tuple[int, ...], array: Array, shape: tuple[int, ...]
) -> None:
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise ShapeError(
            f"{field.name!r} cannot take values of shape {came} there. Expected shape {shape}, or "
            "one that is broadcast to it."
        ) from None


def _values(field: Field, value: Any) -> Values:
    typed = _typed(value)
    if field.dtype.names is not None and not typed:
        raise OptionError(
            f"{field.name!r} holds {field.dtype}: expected an array of that dtype. "
            f"Received: {value!r}"
        )
    try:
        # Python's numbers have no dtype, so that rounding them to floats is no loss.
        rounded = not typed and field.dtype.kind in "fc"
        array = np.asarray(value) if rounded else array_of(value, f"What {field.name!r} was given")
    except HeadraceError:
        raise
    except ValueError as error:
        raise ShapeError(f"{field.name!r} was given samples of unequal shapes: {error}.") from error
    if array.dtype.kind == "U" and field.dtype.kind == "S":
        array = _encoded(field, array)
    rounds = not typed and array.dtype.kind in "fc" and field.dtype.kind in "fc"
    if rounds and (array.dtype.kind == "f" or field.dtype.kind == "c"):
        return Values(array, _Rounded(field.name, array.dtype, field.dtype))
    return Values(array, _Exact(field.name, array.dtype, field.dtype))


def _typed(value: Any) -> bool:
    """Whether a value, or any item of a nested list, has a dtype."""
    if isinstance(value, (list, tuple)):
        return any(map(_typed, value))
    return hasattr(value, "dtype")


def _encoded(field: Field, array: Array) -> Array:
    try:
        encoded: Array = np.char.encode(array, "ascii")
    except UnicodeEncodeError as error:
        raise OptionError(
            f"{field.name!r} was given the text {error.object!r}, which is not ASCII. Expected "
            "bytes: text.encode()."
        ) from error
    return encoded


def _shown(first: str, field: Field) -> str:
    return f"({', '.join([first, *map(str, field.shape)])})" if field.shape else f"({first},)"
