"""Encoders: how the values of columns become the array of a field."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.sources.tables.values import Values
from headrace.spec import Field

Array = npt.NDArray[Any]
Missing = list[tuple[int, str]]
"""Rows whose value is missing, each with the column: an encoder has nothing to put there."""


class Encoder(ABC):
    """Makes the array of one field of the values of one or more columns.

    Attributes:
        inputs: The columns.
        field: What they become.
    """

    inputs: tuple[str, ...]
    field: Field

    @abstractmethod
    def encode(self, values: Mapping[str, Values], out: Array) -> Missing:
        """Fills `out`, shape `(rows, *field.shape)`, with the values of the columns.

        Returns:
            The places in `out` for which there is no value, with their columns.
        """


@dataclass(frozen=True)
class NumberEncoder(Encoder):
    """A column of numbers, booleans or vectors as they are; `fill` in place of what is missing."""

    name: str
    dtype: np.dtype[Any]
    fill: float | None = None
    shape: tuple[int, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The column."""
        return (self.name,)

    @property
    def field(self) -> Field:  # type: ignore[override]
        """A number, or a vector, for each row."""
        return Field(self.name, self.shape, self.dtype)

    def encode(self, values: Mapping[str, Values], out: Array) -> Missing:
        """Copies the numbers."""
        return _put(self.name, values[self.name], self.fill, out)


@dataclass(frozen=True)
class MatrixEncoder(Encoder):
    """Columns of numbers as one vector for each row."""

    name: str
    columns: tuple[str, ...]
    dtype: np.dtype[Any]
    fill: float | None = None

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The columns, in the order of the vector."""
        return self.columns

    @property
    def field(self) -> Field:  # type: ignore[override]
        """A vector for each row."""
        return Field(self.name, (len(self.columns),), self.dtype)

    def encode(self, values: Mapping[str, Values], out: Array) -> Missing:
        """Copies the numbers, a column after the other."""
        missing: Missing = []
        for number, name in enumerate(self.columns):
            missing += _put(name, values[name], self.fill, out[:, number])
        return missing


@dataclass(frozen=True)
class TextEncoder(Encoder):
    """A column of text, as NumPy text of one width; missing text is empty."""

    name: str
    width: int

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The column."""
        return (self.name,)

    @property
    def field(self) -> Field:  # type: ignore[override]
        """A text for each row."""
        return Field(self.name, (), np.dtype(f"U{max(self.width, 1)}"))

    def encode(self, values: Mapping[str, Values], out: Array) -> Missing:
        """Copies the texts."""
        found = values[self.name]
        texts = np.array([*(found.texts or ()), ""], self.field.dtype)
        codes = found.data
        if found.missing is not None:
            codes = np.where(found.missing, len(texts) - 1, codes)
        out[:] = texts[codes]
        return []


@dataclass(frozen=True)
class DateEncoder(Encoder):
    """A column of dates, as `datetime64` of some unit; a missing one is "not a time"."""

    name: str
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("M8[us]"))

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The column."""
        return (self.name,)

    @property
    def field(self) -> Field:  # type: ignore[override]
        """A date for each row."""
        return Field(self.name, (), self.dtype)

    def encode(self, values: Mapping[str, Values], out: Array) -> Missing:
        """Copies the dates."""
        found = values[self.name]
        out[:] = found.data
        if found.missing is not None:
            out[found.missing] = np.datetime64("NaT")
        return []


def _put(name: str, values: Values, fill: float | None, out: Array) -> Missing:
    out[:] = values.data
    if values.missing is None:
        return []
    if fill is None:
        return [(row, name) for row in np.flatnonzero(values.missing).tolist()]
    out[values.missing] = fill
    return []


def inputs_of(encoders: Sequence[Encoder]) -> list[str]:
    """The columns that some encoders need, each once."""
    return list(dict.fromkeys(name for encoder in encoders for name in encoder.inputs))
