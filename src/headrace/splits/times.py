"""Splits rows at points in time, or at values of any column that has an order."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError, OptionError
from headrace.loading import View
from headrace.splits.grouping import Grouping

Array = npt.NDArray[Any]


def split_at(view: View, given: Any, at: Any) -> list[View]:
    """Parts between cuts: a row is in the part behind all cuts that are not above its value.

    Args:
        view: The rows.
        given: A field, or an array with a value for each row: dates, numbers or text.
        at: A cut, or several in ascending order.

    Raises:
        OptionError: If a cut cannot be compared with the values, or cuts do not ascend.
        DataError: If a value is missing.
    """
    column = Grouping(view, given, "on=")
    several = list(at) if isinstance(at, (list, tuple, np.ndarray)) else [at]
    if not several:
        raise OptionError("Expected at= to be a value, or several. Received: none")
    counts = np.zeros(len(several) + 1, np.int64)

    def codes() -> Iterator[npt.NDArray[np.int64]]:
        cuts = None
        for start, values in column.runs():
            if cuts is None:
                cuts = _cuts(several, values.dtype, column.name)
            _check_present(values, start, column.name)
            found = np.searchsorted(cuts, values.reshape(len(values)), side="right")
            counts[:] += np.bincount(found, minlength=len(counts))
            yield found

    parts = view.divide(codes(), len(counts))
    if not counts.all():
        empty = np.flatnonzero(counts == 0).tolist()
        warnings.warn(
            f"Splitting {column.name} at {at!r} leaves part{'s' * (len(empty) > 1)} "
            f"{', '.join(map(str, empty))} without rows.",
            stacklevel=4,
        )
    return parts


def _cuts(several: list[Any], dtype: np.dtype[Any], name: str) -> Array:
    """The cuts in a type that compares with the values."""
    try:
        if dtype.kind == "M":
            cuts = np.array([np.datetime64(cut) for cut in several])
        elif dtype.kind == "S":
            cuts = np.array([cut.encode() if isinstance(cut, str) else cut for cut in several])
        else:
            cuts = np.array(several)
        fits = cuts.dtype.kind == dtype.kind or {cuts.dtype.kind, dtype.kind} <= set("biuf")
    except (TypeError, ValueError):
        fits = False
    if not fits or cuts.ndim != 1:
        kinds = {"M": "a date", "S": "text", "U": "text"}
        raise OptionError(
            f"Expected at= to be {kinds.get(dtype.kind, 'a number')}, like the values of {name} "
            f"({dtype}). Received: {several if len(several) > 1 else several[0]!r}"
        )
    if (cuts[1:] <= cuts[:-1]).any():
        raise OptionError(f"Expected the values of at= to ascend. Received: {several}")
    return cuts


def _check_present(values: Array, start: int, name: str) -> None:
    if values.dtype.kind in "fM":
        absent = np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)
        if absent.any():
            row = start + int(np.flatnonzero(absent)[0])
            raise DataError(
                f"{name} has no value in row {row}, so the row is on neither side of at=. Filter "
                "such rows out first."
            )
