"""Resolves indexes to row numbers like NumPy: integers, slices, lists and masks."""

import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from headrace.spec import Indices

_ROWS = 1 << 16
"""Row numbers that are processed at a time."""


class Rows(NamedTuple):
    """The rows that an index selects, in its order.

    Attributes:
        numbers: A range, or an array of row numbers.
        single: Whether the index is an integer, so that the result has no axis of rows.
    """

    numbers: range | Indices
    single: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def stop(self) -> int:
        """The largest row number plus 1; 0 if there are no rows."""
        numbers = self.numbers
        if not len(numbers):
            return 0
        if isinstance(numbers, range):
            return max(numbers[0], numbers[-1]) + 1
        return int(numbers.max()) + 1

    def blocks(self, first: int = 0, count: int | None = None) -> Iterator[Indices]:
        """Some of the rows, as arrays of bounded size."""
        last = len(self.numbers) if count is None else first + count
        for start in range(first, last, _ROWS):
            some = self.numbers[start : min(start + _ROWS, last)]
            yield np.arange(some.start, some.stop, some.step) if isinstance(some, range) else some

    def runs(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Some of the rows as runs of adjacent rows: place in the index, first row, length."""
        if isinstance(self.numbers, range) and self.numbers.step == 1:
            yield first, self.numbers[first], count
            return
        place = first
        for rows in self.blocks(first, count):
            starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
            lengths = np.diff(starts, append=len(rows))
            heads = rows[starts]
            for start, row, length in zip(
                starts.tolist(), heads.tolist(), lengths.tolist(), strict=True
            ):
                yield place + start, row, length
            place += len(rows)


def positions_of(index: Any, n: int) -> tuple[Indices, bool]:
    """The rows that an index selects from `n` rows, and whether it is a single integer.

    Raises:
        IndexError: As `rows_of`, and for an index of several axes.
    """
    if isinstance(index, tuple) or index is Ellipsis:
        raise _not_rows(index)
    numbers, single = rows_of(index, n)
    if isinstance(numbers, range):
        return np.arange(numbers.start, numbers.stop, numbers.step), single
    return numbers, single


def rows_of(index: Any, length: int, most: int | None = None) -> Rows:
    """The rows that NumPy would select for an index.

    Args:
        index: An integer, a slice, integers, a boolean mask, or `...`.
        length: Rows of the array.
        most: For a growing array, its greatest length; the index may then exceed `length`.

    Raises:
        IndexError: If a row is out of range, or the index is of another kind.
    """
    if isinstance(index, tuple):
        index = _of_samples(index)
    if index is Ellipsis:
        index = slice(None)
    if isinstance(index, slice):
        return Rows(range(*index.indices(_reach(index, length, most))))
    if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
        row = int(index) + (length if index < 0 else 0)
        _check_row(row, int(index), length, most)
        return Rows(range(row, row + 1), single=True)
    array = np.asarray(index)
    if array.ndim != 1 or array.dtype.kind not in ("biu" if array.size else "biuf"):
        raise _not_rows(index)
    if array.dtype == bool:
        if len(array) != length:
            raise IndexError(f"The mask has {len(array)} values for {length} rows")
        return Rows(np.flatnonzero(array))
    if not len(array):
        return Rows(range(0))
    numbers = array
    if array.dtype.kind == "i":
        array = array.astype(np.int64)
        numbers = np.where(array < 0, array + length, array)
    for at in (int(numbers.argmin()), int(numbers.argmax())):
        _check_row(int(numbers[at]), int(array[at]), length, most)
    return Rows(numbers.astype(np.int64))


def _not_rows(index: Any) -> IndexError:
    return IndexError(
        "Expected an integer, a slice, a list or array of integers, or a boolean mask. "
        f"Received: {index!r}"
    )


def _of_samples(index: tuple[Any, ...]) -> Any:
    """The index of rows in an index tuple that selects whole samples, such as `[3, ...]`."""
    rows, *others = index or (Ellipsis,)
    whole = all(item is Ellipsis or item == slice(None) for item in others)
    if not whole or (rows is Ellipsis and others):
        raise IndexError(
            f"Only whole samples can be written: expected an index of rows. Received: {index!r}"
        )
    return rows


def _reach(index: slice, length: int, most: int | None) -> int:
    """The length that the array needs for a slice; it does not grow for `[-3:20]`."""
    ends = [operator.index(end) for end in (index.start, index.stop) if end is not None]
    backwards = index.step is not None and operator.index(index.step) < 0
    end = index.start if backwards else index.stop
    if most is None or end is None or min(ends) < 0:
        return length
    reach = operator.index(end) + backwards
    if reach > most:
        raise IndexError(f"row {reach - 1} is beyond the {most} rows that a file can have")
    return max(length, reach)


def _check_row(row: int, index: int, length: int, most: int | None) -> None:
    if row < 0 or row >= (length if most is None else most):
        raise IndexError(f"row {index} is out of range for {length} rows")
