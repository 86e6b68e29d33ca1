"""`ArraySource` for arrays in memory, and bases of sources with one field."""

import os
import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import TypeNotSupportedError
from headrace.sources.base import Arrays, Read, ReadPath, ReadStats, Source
from headrace.sources.jobs import cut_jobs, part_of
from headrace.spec import Field, Indices

RUN_BYTES = 1 << 16
"""Approximate bytes of a block of adjacent rows."""

PIECE_BYTES = 1 << 18
"""Bytes of rows that are assembled at a time, where they cannot be copied directly."""

_SAMPLES = 16
_SAMPLE_ROWS = 8


class FieldSource(Source):
    """The base of sources with one field.

    Args:
        name: The field's name.
        shape: Shape of the array; its first axis runs over rows.
        dtype: dtype of the array, in any byte order; the field has native order.
        path: How it is read.
    """

    def __init__(
        self, name: str, shape: Sequence[int], dtype: np.dtype[Any], path: ReadPath
    ) -> None:
        if dtype.hasobject:
            # Buffers of batches cannot hold references to Python objects.
            raise TypeNotSupportedError(f"{name} holds Python objects. Expected numbers.")
        self.length = int(shape[0])
        self.field = Field(name, tuple(map(int, shape[1:])), dtype.newbyteorder("="))
        self.fields = (self.field,)
        self._path = path

    def read_paths(self) -> dict[str, ReadPath]:
        return {self.field.name: self._path}

    def fingerprint(self) -> str:
        """A hash of length, shape, dtype, and rows at evenly spaced places."""
        form = f"{self.length} {self.field.shape} {self.field.dtype.str}"
        digest = blake2b(form.encode(), digest_size=8)
        starts = np.linspace(0, self.length, _SAMPLES, endpoint=False).astype(np.int64)
        rows = np.unique(np.minimum(starts[:, None] + np.arange(_SAMPLE_ROWS), self.length - 1))
        rows = rows[:: max(1, len(rows) * self.field.nbytes // (1 << 24))]
        digest.update(self._values(rows).tobytes())
        return digest.hexdigest()

    def _values(self, rows: Indices) -> npt.NDArray[Any]:
        values = np.empty((len(rows), *self.field.shape), self.field.dtype)
        for read in self.reads(rows, {self.field.name: values}):
            read()
        return values


class RowSource(FieldSource):
    """The base of sources with one field whose rows can be read singly."""

    def block_offsets(self, names: Sequence[str]) -> Indices:  # noqa: ARG002 - there is one field
        step = max(1, min(RUN_BYTES // self.field.nbytes, self.length))
        return np.append(np.arange(0, self.length, step), self.length)

    def addressable(self, names: Sequence[str]) -> bool:  # noqa: ARG002
        return True

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002
        return 0

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        return [
            partial(self.read_rows, rows[start:stop], part_of(out, start, stop))
            for start, stop in cut_jobs(rows, self.field.nbytes)
            if out
        ]

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:
        began = time.perf_counter_ns()
        stored = 0
        for array in out.values():
            self._take(rows, array)
            stored += array.nbytes
        return ReadStats(read=time.perf_counter_ns() - began, stored=stored)

    @abstractmethod
    def _take(self, rows: Indices, out: npt.NDArray[Any]) -> None:
        """Fills `out[i]` with row `rows[i]`, for rows in any order."""


def mapped_files(*arrays: Any) -> tuple[str, ...]:
    """The files of memory-mapped arrays, or of arrays that are views of them."""
    found = []
    for array in arrays:
        while array is not None:
            if isinstance(array, np.memmap) and array.filename is not None:
                found.append(os.path.realpath(array.filename))
            array = getattr(array, "base", None)
    return tuple(dict.fromkeys(found))


class ArraySource(RowSource):
    """An array in memory, which is used without a copy.

    Args:
        name: The field's name.
        array: An array of at least one axis.
    """

    def __init__(self, name: str, array: npt.NDArray[Any]) -> None:
        super().__init__(name, array.shape, array.dtype, ReadPath("memory", "an array in memory"))
        self._array = array
        # From an array with another layout, `numpy.take` would copy all of it at each call.
        self._plain = array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative

    def files(self) -> tuple[str, ...]:
        return mapped_files(self._array)

    def in_memory(self, names: Sequence[str]) -> bool:  # noqa: ARG002
        return True

    def _take(self, rows: Indices, out: npt.NDArray[Any]) -> None:
        if self._plain:
            # With mode="raise", take would copy `out` through a temporary buffer.
            np.take(self._array, rows, axis=0, out=out, mode="clip")
            return
        step = max(1, PIECE_BYTES // self.field.nbytes)
        for first in range(0, len(rows), step):
            out[first : first + step] = self._array[rows[first : first + step]]

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002
        return 0 if self._plain else max(PIECE_BYTES, self.field.nbytes)
