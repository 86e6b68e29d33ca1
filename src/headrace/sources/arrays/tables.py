"""Sources for data frames of pandas and polars, and for sparse matrices of scipy."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError, TypeNotSupportedError
from headrace.sources.arrays.rows import (
    PIECE_BYTES,
    ArraySource,
    FieldSource,
    RowSource,
    mapped_files,
)
from headrace.sources.base import ReadPath
from headrace.spec import Indices

Array = npt.NDArray[Any]

_NUMBERS = "biufc"

_FLOAT_DIGITS = {np.dtype(kind): np.finfo(kind).nmant + 1 for kind in ("f2", "f4", "f8")}
"""Bits of the significand: a float type holds all integers up to 2 to this power exactly."""


def pandas_source(name: str, frame: Any) -> FieldSource:
    """The field of a pandas `DataFrame`, of shape `(columns,)`, or of a `Series`, of shape `()`.

    Raises:
        TypeNotSupportedError: If a column does not hold numbers.
        DataError: If values are missing in a column of integers, or no common dtype holds the
            numbers of all columns exactly.
    """
    if frame.ndim == 1:
        return ArraySource(name, _of_pandas(name, frame, frame.name))
    columns = [_of_pandas(name, frame.iloc[:, i], label) for i, label in enumerate(frame.columns)]
    return _columns(name, columns, list(frame.columns), len(frame), "a pandas data frame")


def polars_source(name: str, frame: Any) -> FieldSource:
    """The field of a polars `DataFrame` or `Series`; see `pandas_source`."""
    if hasattr(frame, "get_columns"):
        series = frame.get_columns()
        columns = [_of_polars(name, one) for one in series]
        return _columns(name, columns, frame.columns, len(frame), "a polars data frame")
    return ArraySource(name, _of_polars(name, frame))


def _of_pandas(name: str, series: Any, label: Any) -> Array:
    kind = series.dtype
    if isinstance(kind, np.dtype):
        if kind.kind not in _NUMBERS:
            way_out = "Turn it into numbers, as series.cat.codes does for categories."
            if kind.kind in "mM":
                way_out = "Use series.astype('int64'), or an array of it: series.to_numpy()."
            raise _no_numbers(name, label, kind, way_out)
        return np.asarray(series)
    if type(kind).__name__ == "SparseDtype":
        way_out = "It is sparse: use series.sparse.to_dense()."
        raise _no_numbers(name, label, kind, way_out)
    stored = getattr(kind, "numpy_dtype", None)
    if stored is None or stored.kind not in _NUMBERS:
        raise _no_numbers(name, label, kind, "Turn it into numbers, as series.cat.codes does.")
    missing = bool(series.isna().any())
    if missing and stored.kind != "f":
        raise _missing(name, label, "series.fillna(0), or series.astype('float64') for NaN,")
    return np.asarray(
        series.to_numpy(stored, na_value=np.nan) if missing else series.to_numpy(stored)
    )


def _of_polars(name: str, series: Any) -> Array:
    if not (series.dtype.is_numeric() or str(series.dtype) == "Boolean"):
        why = "Turn it into numbers, as series.to_physical() does for categories."
        if hasattr(series.dtype, "inner"):
            why = "Give it as an array: series.to_numpy()."
        raise _no_numbers(name, series.name, series.dtype, why)
    if series.null_count() and not series.dtype.is_float():
        raise _missing(name, series.name, "series.fill_null(0), or series.cast(float) for NaN,")
    try:
        array = np.asarray(series.to_numpy())
    except sys.modules["polars"].exceptions.PolarsError as error:
        raise _no_numbers(name, series.name, series.dtype, f"{error}") from error
    if array.dtype.kind not in _NUMBERS:
        raise _no_numbers(name, series.name, series.dtype, "Use series.cast(pl.Float64).")
    return array


def _no_numbers(name: str, label: Any, kind: Any, way_out: str) -> TypeNotSupportedError:
    return TypeNotSupportedError(
        f"{name}: column {label!r} is of type {kind}, not of numbers. {way_out}"
    )


def _missing(name: str, label: Any, how: str) -> DataError:
    return DataError(
        f"{name}: values are missing in column {label!r} of integers, which have no NaN. "
        f"Replace them: {how} for example."
    )


def _columns(
    name: str, columns: list[Array], labels: Sequence[Any], length: int, kind: str
) -> FieldSource:
    if not columns:
        raise DataError(f"{name} is {kind} without columns.")
    common = np.result_type(*columns)
    digits = _FLOAT_DIGITS.get(common)
    for column, label in zip(columns, labels, strict=True):
        if digits is None or column.dtype.kind not in "iu" or not len(column):
            continue
        if max(int(column.max()), -int(column.min())) > 1 << digits:
            raise DataError(
                f"{name}: column {label!r} ({column.dtype}) holds numbers above 2**{digits}, which "
                f"{common}, the common dtype of all columns, cannot represent exactly. Convert the "
                "columns to one dtype, or pass the columns of each dtype as a separate input."
            )
    return ColumnSource(name, columns, common, length, f"columns of {kind} in memory")


class ColumnSource(RowSource):
    """Columns in memory, combined into rows."""

    def __init__(
        self, name: str, columns: list[Array], dtype: np.dtype[Any], length: int, reason: str
    ) -> None:
        super().__init__(name, (length, len(columns)), dtype, ReadPath("memory", reason))
        self._columns = columns

    def files(self) -> tuple[str, ...]:
        return mapped_files(*self._columns)

    def in_memory(self, names: Sequence[str]) -> bool:  # noqa: ARG002 - there is one field
        return True

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002
        return PIECE_BYTES

    def _take(self, rows: Indices, out: Array) -> None:
        step = PIECE_BYTES // 16
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            for number, column in enumerate(self._columns):
                out[first : first + step, number] = column[some]


class SparseSource(RowSource):
    """A sparse matrix of scipy, whose rows are made dense when they are read.

    Args:
        name: The field's name.
        matrix: A matrix of two axes, in any of scipy's formats.
    """

    def __init__(self, name: str, matrix: Any) -> None:
        reason = "a sparse matrix in memory, made dense batch by batch"
        super().__init__(name, matrix.shape, matrix.dtype, ReadPath("memory", reason))
        self._rows = matrix.tocsr()
        if not matrix.dtype.isnative:
            self._rows = self._rows.astype(self.field.dtype)

    def files(self) -> tuple[str, ...]:
        return mapped_files(self._rows.data, self._rows.indices, self._rows.indptr)

    def in_memory(self, names: Sequence[str]) -> bool:  # noqa: ARG002 - there is one field
        return True

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002
        # `_take` copies the values and column indices of a piece, at least of one row.
        widest = int(np.diff(self._rows.indptr).max(initial=0))
        per_value = self._rows.data.itemsize + self._rows.indices.itemsize
        return int(max(PIECE_BYTES, self.field.nbytes, widest * per_value))

    def _take(self, rows: Indices, out: Array) -> None:
        for start, stop in self._pieces(rows):
            self._rows[rows[start:stop]].toarray(out=out[start:stop])

    def _pieces(self, rows: Indices) -> Iterator[tuple[int, int]]:
        """Cuts `rows` into pieces of bounded size."""
        step = max(1, PIECE_BYTES // 2 // self.field.nbytes)
        for start in range(0, len(rows), step):
            yield start, min(start + step, len(rows))
