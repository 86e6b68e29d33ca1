"""Selects rows by a function of some fields."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError, OptionError
from headrace.lists import array_of
from headrace.loading import View
from headrace.order import STEP
from headrace.splits.grouping import array_beside
from headrace.splits.reading import FieldReader

Array = npt.NDArray[Any]
FilterFn = Callable[..., Any]


def filtered(view: View, keep: FilterFn | Array, given: Sequence[Any]) -> View:
    """The rows for which the mask or function `keep` is true; see `Dataset.filter`."""
    (kept,) = view.divide(_outside(_masks(view, keep, given)), 1)
    return kept


def _outside(masks: Iterable[Array]) -> Iterator[Array]:
    for mask in masks:
        yield np.where(mask, 0, 1).astype(np.uint8)


def _masks(view: View, keep: FilterFn | Array, given: Sequence[Any]) -> Iterator[Array]:
    if not callable(keep):
        mask = array_of(keep, "The array for filter()")
        if mask.dtype != np.bool_ or mask.shape != (len(view),) or given:
            raise OptionError(
                "Expected filter() with a function and the names of its fields, or with a boolean "
                f"array of shape {(len(view),)} alone. Received: a {type(keep).__name__}"
                + (f" of shape {mask.shape} and {mask.dtype}" if mask.ndim else "")
            )
        for start in range(0, len(mask), STEP):
            yield mask[start : start + STEP]
        return
    start = 0
    for values in _values(view, given or _parameters(keep)):
        yield _mask(keep, values, start)
        start += len(values[0])


def _values(view: View, given: Sequence[Any]) -> Iterator[list[Array]]:
    """The values of fields and of external arrays, for the same rows."""
    names = [one for one in given if isinstance(one, str)]
    beside = [None if isinstance(one, str) else array_beside(view, one) for one in given]
    runs: Iterable[Mapping[str, Array]] = FieldReader(view, names)
    if not names:
        steps = range(0, len(view), STEP)
        runs = ({"": np.empty(min(STEP, len(view) - start), np.bool_)} for start in steps)
    start = 0
    for read in runs:
        stop = start + len(next(iter(read.values())))
        yield [
            read[name] if array is None else array[start:stop]
            for name, array in zip(given, beside, strict=True)
        ]
        start = stop


def _mask(fn: FilterFn, values: list[Array], start: int) -> Array:
    rows = len(values[0])
    name = getattr(fn, "__name__", repr(fn))
    try:
        kept = array_of(fn(*values), f"What filter function {name!r} returned")
    except StopIteration as error:
        # In a generator, StopIteration would look like the end of the rows.
        raise DataError(f"Filter function {name!r} raised StopIteration.") from error
    if kept.dtype != np.bool_ or kept.shape != (rows,):
        raise DataError(
            f"Expected filter function {name!r} to return a boolean array of shape {(rows,)}, for "
            f"rows {start} to {start + rows - 1}. It returned shape {kept.shape} and {kept.dtype}: "
            "it gets arrays, and compares them element by element (& and | instead of and and or)."
        )
    return kept


def _parameters(fn: FilterFn) -> list[str]:
    """The fields with the names of the function's parameters."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have no signature
        parameters = ()  # type: ignore[assignment]
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.default is inspect.Parameter.empty]
    if not needed or any(p.kind not in plain for p in needed):
        raise OptionError(
            "Expected filter() with a function whose parameters are names of fields, or with the "
            "names after it: data.filter(fn, 'label')."
        )
    return [p.name for p in needed]
