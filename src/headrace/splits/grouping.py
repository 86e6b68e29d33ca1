"""Keys or classes of rows, from a field or from an array with a value for each row."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError, OptionError, ShapeError, TypeNotSupportedError
from headrace.lists import array_of
from headrace.loading import View
from headrace.order import STEP
from headrace.splits.reading import FieldReader

Values = npt.NDArray[Any]

_KINDS = "biufSU"
"""The kinds of dtypes of keys: numbers, and text of fixed length."""


class Grouping:
    """One value for each row.

    Args:
        view: The rows.
        given: The name of a field, or an array with a value for each row.
        option: The name of the user's argument, such as `"by="`.

    Raises:
        FieldNotFoundError: If there is no such field.
        OptionError: If the array has another length than the data.
        TypeNotSupportedError: If it holds Python objects.
    """

    def __init__(self, view: View, given: Any, option: str) -> None:
        self.name = repr(given) if isinstance(given, str) else option
        self._field = given if isinstance(given, str) else None
        self._columns = FieldReader(view, [given]) if isinstance(given, str) else None
        if self._field is None:
            self._array = array_beside(view, given, option)

    @property
    def is_field(self) -> bool:
        """Whether `given` is the name of a field."""
        return self._field is not None

    def runs(self) -> Iterator[tuple[int, Values]]:
        """Runs of values, each with the position of its first row."""
        start = 0
        if self._columns is None:
            for start in range(0, len(self._array), STEP):
                yield start, self._array[start : start + STEP]
            return
        for arrays in self._columns:
            (values,) = arrays.values()
            yield start, values
            start += len(values)

    def one_each(self) -> Iterator[Values]:
        """One value for each row, shape `(k,)`: numbers without NaN, or bytes without padding.

        Raises:
            ShapeError: If a row has several values.
            TypeNotSupportedError: If they are neither numbers nor text.
            DataError: If a value is NaN.
        """
        for start, values in self.runs():
            if values[:1].size != len(values[:1]):
                raise ShapeError(
                    f"{self.name} has shape {values.shape[1:]} in each row. Expected one value."
                )
            yield self._plain(values.reshape(len(values)), start)

    def labels(self) -> Iterator[Values]:
        """As `one_each`; for one-hot rows, the index of the 1.

        Raises:
            ShapeError: If rows have several values and are not one-hot.
        """
        for start, values in self.runs():
            if values.ndim == 2 and values.shape[1] > 1:
                yield self._of_one_hot(values, start)
                continue
            if values.ndim > 1 and values[:1].size > 1:
                raise ShapeError(
                    f"{self.name} has shape {values.shape[1:]} in each row. Expected a class, or "
                    "a one-hot row."
                )
            yield self._plain(values.reshape(len(values)), start)

    def _plain(self, values: Values, start: int) -> Values:
        kind = values.dtype.kind
        if kind not in _KINDS:
            raise TypeNotSupportedError(
                f"{self.name} is of type {values.dtype}. Expected integers, floats, booleans or "
                "text of one length."
            )
        if kind == "f" and (missing := np.flatnonzero(np.isnan(values))).size:
            raise DataError(
                f"{self.name} is NaN in row {start + missing[0]}, and a missing value is neither a "
                "key nor a class. Leave such rows out first: "
                f"data.filter(lambda values: ~np.isnan(values), {self._field or '...'!r})"
            )
        if kind == "U":
            values = np.strings.encode(values, "utf-8")
        # Text of fixed length is padded by NULs or, in files from Fortran, by spaces.
        return values if kind not in "SU" else np.strings.rstrip(values, b" \0")

    def _of_one_hot(self, values: Values, start: int) -> Values:
        hot = values == 1
        wrong = (hot.sum(axis=1) != 1) | ((values != 0).sum(axis=1) != 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ShapeError(
                f"Row {start + row} of {self.name} is {values[row]}. Expected a class, or a "
                "one-hot row: one 1 among zeros. Give an array of classes instead."
            )
        found: Values = hot.argmax(axis=1)
        return found


def array_beside(view: View, given: Any, option: str = "a field") -> Values:
    """The array that the user gave, with a value for each row.

    Raises:
        OptionError: If it is no array, or has another length.
        TypeNotSupportedError: If it holds Python objects.
        DataError: If it is masked, or a list whose values NumPy would change.
    """
    array = array_of(given, option)
    if array.ndim == 0 or len(array) != len(view):
        received = f"an array of shape {array.shape}" if array.ndim else repr(given)
        raise OptionError(
            f"Expected {option} to be the name of a field, or an array with a value for each of "
            f"the {len(view)} rows. Received: {received}"
        )
    if array.dtype.hasobject:
        raise TypeNotSupportedError(
            f"{option} holds Python objects. Expected numbers, or text of one length: "
            "np.asarray(values, 'U') for text."
        )
    return array
