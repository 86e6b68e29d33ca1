"""Distinct values of a column with their counts, and the class of each row."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError, OptionError
from headrace.spec import Indices

Values = npt.NDArray[Any]
Runs = Callable[[], Iterable[Values]]
Codes = npt.NDArray[np.uint16]

MOST_CLASSES = 1 << 16

_RANGE = 1 << 16
"""Integers within a range of this size are counted and looked up in a table."""


class Classes:
    """The classes of a column: a first pass over it counts them.

    Args:
        runs: Returns the values, run by run, each time it is called.
        name: The name of the column, for errors.
        most: The limit on the number of classes.
        way_out: The advice of the error for more classes.

    Attributes:
        values: Integers, floats, booleans or strings (bytes if not UTF-8), ascending.
        counts: The number of rows of each class, int64.

    Raises:
        OptionError: If there are more classes than `most`.
        DataError: If there are both numbers and text.
    """

    def __init__(self, runs: Runs, name: str, most: int, way_out: str) -> None:
        self._runs = runs
        self._name = name
        counted: Counter[Any] = Counter()
        for values in runs():
            counted.update(_counted(_comparable(values, name)))
            if len(counted) > most:
                raise OptionError(f"{name} has more than {most:,} different values. {way_out}")
        if len({isinstance(value, bytes) for value in counted}) > 1:
            raise DataError(f"{name} holds text in some files, and numbers in others.")
        self._sorted = sorted(counted)
        self.counts: Indices = np.array([counted[value] for value in self._sorted], np.int64)
        self.values = [_shown(value) for value in self._sorted]

    def __len__(self) -> int:
        return len(self.values)

    def listed(self) -> str:
        """The first 20 classes with their counts, as text."""
        pairs = zip(self.values, self.counts.tolist(), strict=True)
        shown = [f"{value!r} ({count:,})" for value, count in itertools.islice(pairs, 20)]
        return ", ".join(shown) + (", ..." if len(self) > len(shown) else "")

    @cached_property
    def _table(self) -> Values:
        return np.array(self._sorted)

    @cached_property
    def _lookup(self) -> npt.NDArray[np.uint16] | None:
        """A table of the codes of all integers in the range of the classes, if it is small."""
        if self._table.dtype != np.int64 or self._sorted[-1] - self._sorted[0] >= _RANGE:
            return None
        lookup = np.zeros(self._sorted[-1] - self._sorted[0] + 1, np.uint16)
        lookup[self._table - self._table[0]] = np.arange(len(self))
        return lookup

    def codes(self) -> Iterator[Codes]:
        """The class of each row as an index into `values`, run by run, in a second pass.

        Raises:
            DataError: If a value was not counted in the first pass.
        """
        for run in self._runs():
            values = _comparable(run, self._name)
            if self._lookup is not None and values.dtype == np.int64:
                inside = np.clip(values, self._table[0], self._table[-1])
                codes = self._lookup[inside - self._table[0]]
            else:
                found = np.searchsorted(self._table, values)
                codes = np.minimum(found, len(self) - 1).astype(np.uint16)
            if not np.array_equal(self._table[codes], values):
                raise DataError(f"The values of {self._name} changed while they were looked at.")
            yield codes


def _comparable(values: Values, name: str) -> Values:
    """Integers as int64: mixed with uint64, NumPy would turn them into floats."""
    if values.dtype.kind not in "iu":
        return values
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise DataError(
            f"{name} holds {values.max()}, and a class is a number below 2**63. "
            "Give an array of other numbers instead."
        )
    return values.astype(np.int64)


def _counted(values: Values) -> dict[Any, int]:
    """The distinct values as Python objects, with their counts."""
    if values.dtype == np.int64 and len(values):
        least, most = int(values.min()), int(values.max())
        if most - least < _RANGE:
            counts = np.bincount(values - least)
            present = np.flatnonzero(counts)
            return dict(zip((present + least).tolist(), counts[present].tolist(), strict=True))
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _shown(value: Any) -> Any:
    """A class as text for messages; bytes that are not UTF-8 stay bytes."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
