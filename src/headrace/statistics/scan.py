"""`Scan`: passes over a data set, piece by piece, in the loader's threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.dataset import Dataset
from headrace.errors import DataError, OptionError, check_integer, did_you_mean
from headrace.loading import Loader
from headrace.loading.budget import least_memory
from headrace.progress import progress
from headrace.resources import (
    cpu_count,
    default_memory,
    format_bytes,
    parse_bytes,
    too_little_memory,
)
from headrace.spec import Field, leaves

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Result = TypeVar("Result")

PIECE_BYTES = 1 << 21
"""Bytes of a piece, unless one row has more: large enough for NumPy to be efficient per column."""

FEW_FIELDS = 32
"""With more fields than this a piece is larger, up to eight times, so that each field has
enough rows."""

MOST_ROWS = 1 << 18
"""Most rows of a piece: row numbers take more memory than rows of a few bytes."""

_BESIDE = 4
"""Memory that a thread may need to process a piece, as a multiple of the piece's bytes."""


class Scan:
    """Reads rows in order, in pieces that depend on nothing but the fields.

    Results that are merged in the order of the pieces are therefore the same for any number of
    workers and any memory. Fields that fit into memory stay there from pass to pass.

    Args:
        data: The rows, at least one.
        names: The fields to read; all by default.
        memory: As for `Dataset.batch`.
        workers: Likewise.

    Attributes:
        fields: The fields that are read.
        rows: Number of rows.
        row_bytes: Bytes of a row, before map functions.
        memory: The budget in bytes.

    Raises:
        OptionError: If `data` is no data set or has no rows, or there is no such field.
        MemoryBudgetError: If `memory` is too small.
    """

    def __init__(
        self,
        data: Dataset,
        names: tuple[str, ...] | None = None,
        *,
        memory: int | str | None = None,
        workers: int | None = None,
    ) -> None:
        check_integer("workers", workers, 1, or_none=True)
        self.fields = tuple(data.spec[name] for name in names or data.spec)
        used = data if data.pipeline.maps else data.only(*(field.name for field in self.fields))
        self._pipeline = used.pipeline
        self._names = list(data.spec)
        view = self._pipeline.view
        piece = PIECE_BYTES * min(max(len(self.fields), FEW_FIELDS), 8 * FEW_FIELDS) // FEW_FIELDS
        rows = min(piece // max(view.row_bytes, 1), MOST_ROWS, len(data))
        self.rows = len(data)
        self._rows = max(1, rows)
        self.row_bytes = view.row_bytes
        self._loader = self._make_loader(memory, cpu_count() if workers is None else workers)

    def _make_loader(self, memory: int | str | None, workers: int) -> Loader:
        self.memory = total = default_memory() if memory is None else parse_bytes(memory)
        sample = max(self.row_bytes, sum(field.nbytes for field in self.fields))
        beside = _BESIDE * self._rows * sample
        view = self._pipeline.view
        least = least_memory(view, self._rows, shuffle=False, keep=False, samples=self.rows)
        if total < least + beside:
            raise too_little_memory(
                total,
                f"rows are read in pieces of {self._rows:,}, {format_bytes(self._rows * sample)} "
                f"each, and work on one may take {_BESIDE} times as much",
                least + beside,
            )
        most = min(total // 4, total - least) // max(beside, 1)
        workers = max(1, min(workers, most))
        return self._pipeline.loader(
            self._rows,
            dict,
            memory=total - workers * beside,
            workers=workers,
            keep=False,
        )

    def run(
        self, work: Callable[[Arrays], Result], what: str, show: bool | None = False
    ) -> Iterator[Result]:
        """One pass.

        Args:
            work: Called in the threads with the arrays of a piece, by the names of their fields.
                Its result has `nbytes`.
            what: What the pass is for, in a few words, for the progress bar.
            show: Whether to show one; None shows it in a terminal.

        Yields:
            The results of `work`, in row order.
        """

        def finished(arrays: Arrays) -> _Worked[Result]:
            nbytes = sum(array.nbytes for array in arrays.values())
            return _Worked(work(self._arrays_of(arrays)), nbytes)

        left = self.rows
        pieces = self._loader.stream(in_row_order=True, collate=finished)
        try:
            with progress(what, left * self.row_bytes, show) as advance:
                for piece in pieces:
                    yield piece.result
                    rows = min(self._rows, left)
                    left -= rows
                    advance(rows * self.row_bytes)
        finally:
            pieces.close()

    def first(self, rows: int) -> Arrays:
        """The first rows, at most so many, and no more than a piece has."""
        some = np.arange(min(rows, self._rows, len(self._pipeline.view)))
        return self._arrays_of(self._pipeline.read(some))

    def _arrays_of(self, arrays: Arrays) -> Arrays:
        """The fields of a piece, after the map functions."""
        if not self._pipeline.maps:
            return arrays
        batch = self._pipeline.collate(arrays)
        found = dict(zip(self._names, leaves(batch), strict=False))
        for field in self.fields:
            _check_alike(field, found.get(field.name))
        return {field.name: found[field.name] for field in self.fields}


class _Worked(Generic[Result]):
    """The result of a piece. `nbytes` includes the piece, whose memory is kept for reuse."""

    def __init__(self, result: Result, nbytes: int) -> None:
        self.result = result
        self.nbytes = nbytes + getattr(result, "nbytes", 0)


def _check_alike(field: Field, array: Array | None) -> None:
    """Checks that map functions give the same shape and dtype as for the first row."""
    if array is None or array.shape[1:] != field.shape or array.dtype != field.dtype:
        found = "nothing" if array is None else f"{array.shape[1:]} {array.dtype}"
        raise DataError(
            f"Expected map functions to give {field} for every row, as for the first. "
            f"Received: {found}"
        )


def chosen(
    fields: Mapping[str, Any], named: Sequence[str], field: str | None, part: str, what: str
) -> Any:
    """The entry named by `field`, or the only candidate where `field` is None.

    Args:
        fields: All there are, by name.
        named: The candidates where `field` is None.
        field: A name, or None.
        part: What `named` are, for the error.
        what: The function that asks, for the error.

    Raises:
        OptionError: If there is no such field, or none or several are meant.
    """
    there = ", ".join(fields)
    if field is not None:
        if field not in fields:
            hint = did_you_mean(field, fields)
            raise OptionError(f"{what}: there is no field {field!r}.{hint} There are: {there}")
        return fields[field]
    names = list(dict.fromkeys(named))
    if len(names) != 1:
        have = f"{len(names)} {part} fields" if names else f"no {part} field"
        raise OptionError(f"{what} needs field=: the data have {have}. There are: {there}")
    return fields[names[0]]


def check_data(data: Any, what: str) -> Dataset:
    """Checks that `data` is a data set with rows.

    Raises:
        OptionError: If not.
    """
    if not isinstance(data, Dataset):
        raise OptionError(
            f"Expected {what} with a data set. Received: {type(data).__name__}. "
            "from_arrays() makes one of arrays, from_hdf5() of a file."
        )
    if not len(data):
        raise OptionError(f"The data set has no rows, so {what} has nothing to read.")
    return data
