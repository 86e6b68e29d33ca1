"""Arrays in memory, and the base of sources with one field."""

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
"""About what a run of neighbouring rows holds where rows are read in runs."""

PIECE_BYTES = 1 << 18
"""Rows that have to be put together before they are copied are, this much at a time."""

_SAMPLES = 16
_SAMPLE_ROWS = 8


class FieldSource(Source):
    """One field.

    Args:
        name: The field's name.
        shape: Of all rows: the first axis runs over them.
        dtype: Of an element, in any byte order; the field has it in native order.
        path: How it is read.
    """

    def __init__(
        self, name: str, shape: Sequence[int], dtype: np.dtype[Any], path: ReadPath
    ) -> None:
        if dtype.hasobject:
            # Batches lie in memory that holds no Python objects.
            raise TypeNotSupportedError(f"{name} holds Python objects. Expected numbers.")
        self.length = int(shape[0])
        self.field = Field(name, tuple(map(int, shape[1:])), dtype.newbyteorder("="))
        self.fields = (self.field,)
        self._path = path

    def read_paths(self) -> dict[str, ReadPath]:
        return {self.field.name: self._path}

    def fingerprint(self) -> str:
        """Of the form of the field, and of some rows from places spread over it."""
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
    """A field in which reading one row costs about one row."""

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
    """The files that arrays are mapped from, or views of them."""
    found = []
    for array in arrays:
        while array is not None:
            if isinstance(array, np.memmap) and array.filename is not None:
                found.append(os.path.realpath(array.filename))
            array = getattr(array, "base", None)
    return tuple(dict.fromkeys(found))


class ArraySource(RowSource):
    """An array in memory, which is used as it is, and not copied.

    Args:
        name: The field's name.
        array: Of at least one axis, with at least one row and one value in it.
    """

    def __init__(self, name: str, array: npt.NDArray[Any]) -> None:
        super().__init__(name, array.shape, array.dtype, ReadPath("memory", "an array in memory"))
        self._array = array
        # From any other, `numpy.take` makes a whole copy at each call.
        self._plain = array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative

    def files(self) -> tuple[str, ...]:
        return mapped_files(self._array)

    def in_memory(self, names: Sequence[str]) -> bool:  # noqa: ARG002
        return True

    def _take(self, rows: Indices, out: npt.NDArray[Any]) -> None:
        if self._plain:
            # "clip" keeps take from copying through a buffer of its own.
            np.take(self._array, rows, axis=0, out=out, mode="clip")
            return
        step = max(1, PIECE_BYTES // self.field.nbytes)
        for first in range(0, len(rows), step):
            out[first : first + step] = self._array[rows[first : first + step]]

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002
        return 0 if self._plain else max(PIECE_BYTES, self.field.nbytes)
