"""`LazySource`: reads slices of an array-like object when they are needed."""

import itertools
import os
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import HeadraceError, ReadError, TypeNotSupportedError
from headrace.forks import run_in_each_process
from headrace.sources.arrays.rows import FieldSource
from headrace.sources.base import Arrays, Read, ReadPath, ReadStats
from headrace.sources.jobs import part_of
from headrace.spec import Indices

Array = npt.NDArray[Any]

RUN_BYTES = 1 << 18
"""Bytes of a block of rows, for objects without chunks."""

_SAFE_IN_THREADS = ("zarr", "h5py", "dask", "tensorstore")
"""Libraries whose arrays may be read from several threads at once; a lock guards others."""


class LazySource(FieldSource):
    """Rows of an object with `shape` and `__getitem__`, which is called with slices of rows.

    Args:
        name: The field's name.
        data: The object. If it has `chunks`, as zarr, h5py and dask arrays do, blocks are whole
            chunks.
    """

    def __init__(self, name: str, data: Any) -> None:
        kind = f"{type(data).__module__.split('.')[0]}.{type(data).__name__}"
        dtype = _dtype_of(name, data)
        super().__init__(name, data.shape, dtype, ReadPath("slices", f"slices of a {kind}"))
        self._data = data
        self._block_offsets = self._cut()
        self._reset()

    def _reset(self) -> None:
        run_in_each_process(self, LazySource._make_lock)

    def _make_lock(self) -> None:
        safe = type(self._data).__module__.split(".")[0] in _SAFE_IN_THREADS
        self._lock: Any = nullcontext() if safe else threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _cut(self) -> Indices:
        chunks = getattr(self._data, "chunks", None)
        first = chunks[0] if isinstance(chunks, (tuple, list)) and chunks else None
        if isinstance(first, (tuple, list)) and sum(first) == self.length and min(first) > 0:
            return np.cumsum([0, *first])
        if not isinstance(first, (int, np.integer)) or first < 1:
            first = max(1, RUN_BYTES // self.field.nbytes)
        return np.append(np.arange(0, self.length, first), self.length)

    def files(self) -> tuple[str, ...]:
        return self._files() or ()

    def opaque(self) -> bool:
        return self._files() is None

    def _files(self) -> tuple[str, ...] | None:
        """The files of the object; None if they are unknown."""
        if type(self._data).__module__.split(".")[0] == "h5py":
            from headrace.sources.hdf5.readers.mappings import files_of

            return tuple(dict.fromkeys(files_of(self._data)))
        says = getattr(self._data, "files", None)
        return tuple(map(os.path.realpath, says())) if callable(says) else None

    def block_offsets(self, names: Sequence[str]) -> Indices:  # noqa: ARG002 - there is one field
        return self._block_offsets

    def addressable(self, names: Sequence[str]) -> bool:  # noqa: ARG002
        return False

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002
        # The returned array, and as much again that the object may allocate to decode it.
        return 2 * int(np.diff(self._block_offsets).max()) * self.field.nbytes

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        blocks = self._blocks(rows)
        cuts = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(rows)]
        return [
            partial(self._read_block, rows[a:b], part_of(out, a, b)[self.field.name])
            for a, b in itertools.pairwise(cuts)
            if a < b and out
        ]

    def blocks_of(self, names: Sequence[str], rows: Indices) -> dict[str, Indices]:  # noqa: ARG002
        return {self.field.name: np.unique(self._blocks(rows))}

    def _blocks(self, rows: Indices) -> Indices:
        return np.searchsorted(self._block_offsets, rows, side="right") - 1

    def _read_block(self, rows: Indices, out: Array) -> ReadStats:
        began = time.perf_counter_ns()
        first, stop = int(rows[0]), int(rows[-1]) + 1
        try:
            with self._lock:
                values = _as_array(self.field.name, self._data[first:stop])
        except HeadraceError:
            raise
        except Exception as error:
            raise ReadError(
                f"Rows {first} to {stop - 1} of {self.field.name!r} cannot be read: "
                f"{type(error).__name__}: {error}"
            ) from error
        expected = (stop - first, *self.field.shape)
        if values.shape != expected or values.dtype != self.field.dtype:
            raise ReadError(
                f"Expected [{first}:{stop}] of {self.field.name!r} to be of shape {expected} and "
                f"{self.field.dtype}. Received: shape {values.shape} and {values.dtype}."
            )
        out[...] = values if len(values) == len(rows) else values[rows - first]
        return ReadStats(read=time.perf_counter_ns() - began, stored=values.nbytes)


def _dtype_of(name: str, data: Any) -> np.dtype[Any]:
    """The dtype of slices, from one row: the `dtype` attribute may be missing or wrong."""
    found = _as_array(name, data[0:1])
    if found.shape != (1, *data.shape[1:]):
        raise TypeNotSupportedError(
            f"{name}: expected [0:1] of a {type(data).__name__} of shape {tuple(data.shape)} to "
            f"be one row. Received: an array of shape {found.shape}."
        )
    if found.dtype.hasobject:
        raise TypeNotSupportedError(f"{name} holds Python objects. Expected numbers.")
    return found.dtype


def _as_array(name: str, values: Any) -> Array:
    if np.ma.is_masked(values):
        raise TypeNotSupportedError(
            f"{name} holds masked values, and a batch has no mask. Wrap it in an object whose "
            "slices replace them."
        )
    return np.asarray(values)
