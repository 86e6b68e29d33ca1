"""Converts lists that users pass into arrays of the same values."""

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError

_EXACT = 1 << 53
"""Up to this number, float64 holds every integer."""


def array_of(given: Any, what: str) -> npt.NDArray[Any]:
    """The array that NumPy makes of a user's list, checked to hold the same values.

    NumPy turns a list of integers into floats if some are beyond int64, which loses digits; it
    turns numbers into text if the list has text; and it drops masks.

    Args:
        given: An array, a list, or a number.
        what: The name of the argument, for the error.

    Raises:
        DataError: If the array would hold other values.
        ValueError: If lists are of unequal lengths.
    """
    if isinstance(given, np.ma.MaskedArray):
        raise DataError(
            f"{what} is a masked array, and masks are not kept. Say filled() to give masked values "
            "a value, or leave them out."
        )
    array = np.asarray(given)
    if not isinstance(given, (list, tuple)) or array.dtype.kind not in "fcUS":
        return array
    single: list[Any] = np.asarray(given, np.object_).reshape(-1).tolist()
    if array.dtype.kind in "US":
        if not all(isinstance(value, (str, bytes)) for value in single):
            raise DataError(f"{what} mixes text with other values. Expected one type of value.")
        return array
    whole = [isinstance(value, (int, np.integer)) for value in single]
    large = [v for v, i in zip(single, whole, strict=True) if i and abs(int(v)) > _EXACT]
    if not large:
        return array
    if all(whole) and min(single) >= 0 and max(single) < 1 << 64:
        return np.array([int(value) for value in single], np.uint64).reshape(array.shape)
    raise DataError(
        f"{what} has {large[0]} in a list with others that no type of integers holds as well, and "
        "floats have no room for all of its digits. Give an array of one dtype."
    )
