"""`Chunks`, the index of chunks: the offset and size of each in the file."""

import math
import os
import time
import weakref
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5g

from headrace.errors import FileFormatError
from headrace.sources.hdf5.filters.names import Filter
from headrace.sources.hdf5.limits import (
    MOST_ROWS,
    SUPERBLOCK_BYTES,
    most_chunks_in,
    most_stored_bytes,
)
from headrace.sources.identity import Identity

UNALLOCATED = -1

_MOST_EMPTY = 1 << 20
"""Up to this many missing chunks, a sparse index takes little memory and is kept."""

_PIECE = 1 << 14
"""Chunks that are added to the index at a time."""

_SETTLED_NS = 2_000_000_000
"""Nanoseconds after a change in which another one may leave the same modification time."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """A chunked dataset's index: 13 bytes per chunk, or 20 where chunks are larger than 2 GB.

    Pickles include it: sending a million chunks takes milliseconds, while libhdf5 takes a second
    to list them again.

    Attributes:
        shape: Shape of one chunk, samples first.
        filters: Filters, in the order in which the writer applied them.
        offsets: int64, shape `(rows of chunks, chunks per row)`: the file offset of each chunk, or
            `UNALLOCATED`.
        sizes: uint32 or int64, same shape: stored bytes; 0 if offset or size is impossible in this
            file.
        masks: uint8 or uint32, same shape: bit i is set if filter i was skipped.
    """

    shape: tuple[int, ...]
    filters: tuple[Filter, ...]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[Any]
    masks: npt.NDArray[Any]

    @cached_property
    def per_row(self) -> int:
        """Chunks in one row of chunks, which together hold whole samples."""
        return int(self.offsets.shape[1])

    def start(self, number: int, k: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The index of the first element of chunk `k` in row `number` of chunks.

        Args:
            number: The row of chunks.
            k: The chunk in this row.
            shape: Shape of the dataset.
        """
        beside: Any = np.unravel_index(k, self._beside(shape))
        return tuple(int(i) * n for i, n in zip((number, *beside), self.shape, strict=True))

    def partial(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Which chunks extend beyond the edge of a dataset of this shape."""
        cut = np.zeros((1,), bool)
        for size, length, count in zip(shape[1:], self.shape[1:], self._beside(shape), strict=True):
            ends = np.arange(1, count + 1) * length > size
            cut = (cut[:, None] | ends).reshape(-1)
        ends = np.arange(1, len(self.offsets) + 1) * self.shape[0] > shape[0]
        return ends[:, None] | cut

    def _beside(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many chunks there are along each axis except the first."""
        return tuple(-(-n // c) for n, c in zip(shape[1:], self.shape[1:], strict=True))


_known: "weakref.WeakValueDictionary[Any, Chunks]" = weakref.WeakValueDictionary()
"""Indexes that are in use in this process."""


def read_index(dataset: h5py.Dataset, filters: tuple[Filter, ...], where: str) -> Chunks | None:
    """The index of a chunked dataset; None if nearly all of its chunks were never written.

    A small file may declare more chunks than memory and time allow to index. An index that is in
    use in this process is shared while its file does not change.

    Args:
        dataset: A chunked dataset in a file that the sec2 driver has open.
        filters: Its filters.
        where: The dataset, for error messages.

    Raises:
        FileFormatError: If the index is damaged.
    """
    status = os.fstat(dataset.file.id.get_vfd_handle())
    chunk_bytes = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    if math.prod(_grid(dataset)) > most_chunks_in(status.st_size, chunk_bytes):
        return None
    key = _key(dataset, status)
    # If two threads read the index at once, both results are equal.
    chunks = _known.get(key)
    if chunks is None:
        chunks = _Places(dataset, filters, status.st_size, where).read(dataset)
        if chunks is not None:
            _known[key] = chunks
    return chunks


def walk_chunks(dataset: h5py.Dataset, note: Callable[[Any], bool | None]) -> None:
    """Calls `note` with libhdf5's entry for each written chunk, until it returns True.

    Raises:
        FileFormatError: If the index lists more chunks than the file can hold: a damaged index may
            repeat chunks without end.
    """
    chunk_bytes = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    left = most_chunks_in(dataset.file.id.get_filesize(), chunk_bytes)

    def count(info: Any) -> bool | None:
        nonlocal left
        if info.byte_offset is None:
            return None
        left -= 1
        return True if left < 0 else note(info)

    dataset.id.chunk_iter(count)
    if left < 0:
        raise FileFormatError(
            f"The index of the chunks of {dataset.name!r} in {dataset.file.filename!r} is damaged: "
            "it lists more chunks than the file can hold. Copy or download the file again."
        )


def _grid(dataset: h5py.Dataset) -> tuple[int, ...]:
    """How many chunks there are along each axis."""
    return tuple(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))


def _orders(dataset: h5py.Dataset) -> set[tuple[int, ...]]:
    """The axis orders by which an index may sort chunks: as stored, or extensible axes first."""
    axes = tuple(range(len(dataset.shape)))
    growing = [axis for axis in axes if dataset.maxshape[axis] is None]
    return {axes, (*growing, *(axis for axis in axes if axis not in growing))}


def _key(dataset: h5py.Dataset, status: os.stat_result) -> tuple[Any, ...]:
    """A key that is equal for two handles or hard links of the same dataset."""
    place = h5g.get_objinfo(dataset.id)
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    settled = time.time_ns() - changed > _SETTLED_NS
    return Identity.of(status), place.objno, None if settled else place.fileno


class _Places:
    """Builds `Chunks` from libhdf5's list of chunks, and checks them.

    Args:
        dataset: A chunked dataset.
        filters: Its filters.
        file_size: Bytes of its file.
        where: The dataset, for error messages.
    """

    def __init__(
        self, dataset: h5py.Dataset, filters: tuple[Filter, ...], file_size: int, where: str
    ) -> None:
        self._where = where
        self._shape = dataset.chunks
        self._filters = filters
        self._grid = _grid(dataset)
        self._first = dataset.file.userblock_size + SUPERBLOCK_BYTES
        self._file_size = file_size
        chunk_bytes = math.prod(self._shape) * dataset.id.get_type().get_size()
        self._most = most_chunks_in(file_size, chunk_bytes)
        self._longest = most_stored_bytes(chunk_bytes)
        self._seen = 0
        self._orders = {axes: (-1,) * len(axes) for axes in _orders(dataset)}
        count = math.prod(self._grid)
        self._offsets = np.full(count, UNALLOCATED, np.int64)
        self._sizes = np.zeros(count, np.uint32 if self._longest < 1 << 32 else np.int64)
        self._masks = np.zeros(count, np.uint8 if len(filters) <= 8 else np.uint32)

    def read(self, dataset: h5py.Dataset) -> Chunks | None:
        """The index; None if nearly all chunks were never written."""
        # Unsigned, as in the file: values of a damaged index may exceed int64.
        starts, offsets, sizes, masks = waiting = array("Q"), array("Q"), array("Q"), array("Q")

        def note(info: Any) -> None:
            start, mask, offset, size = info
            # For a chunk that was never written, libhdf5 leaves the mask uninitialized.
            if offset is None:
                return
            starts.extend(start)
            offsets.append(offset)
            sizes.append(size)
            masks.append(mask)
            if len(offsets) == _PIECE:
                self._put(*waiting)

        dataset.id.chunk_iter(note)
        self._put(*waiting)
        count = len(self._offsets)
        if count > _MOST_EMPTY and count > 16 * self._seen:
            return None
        self._check_apart()
        in_rows = (self._grid[0], count // self._grid[0])
        return Chunks(
            self._shape,
            self._filters,
            self._offsets.reshape(in_rows),
            self._sizes.reshape(in_rows),
            self._masks.reshape(in_rows),
        )

    def _put(self, *waiting: "array[int]") -> None:
        """Puts some chunks into their places, and empties the arrays."""
        starts, offsets, sizes, masks = (np.array(values, np.uint64) for values in waiting)
        for values in waiting:
            del values[:]
        self._seen += len(offsets)
        if self._seen > self._most:
            # Nodes of a damaged tree may share children, or form a cycle.
            raise self._damaged("it lists more chunks than the file can hold")
        shape = np.array(self._shape, np.uint64)
        places, beside = np.divmod(starts.reshape(-1, len(shape)), shape)
        within = places < np.array(self._grid, np.uint64)
        if not within[:, 1:].all():
            raise self._damaged("chunks lie outside the data")
        # An interrupted writer may have left chunks beyond the end of the first axis.
        inside = within[:, 0]
        self._check_order(np.minimum(places, MOST_ROWS).astype(np.int64))
        if beside.any() or not self._orders:
            raise self._damaged("chunks overlap, or are out of order")
        numbers = np.ravel_multi_index(tuple(places[inside].astype(np.int64).T), self._grid)
        at, stored = offsets[inside], sizes[inside]
        readable = (at >= self._first) & (at <= self._file_size) & (stored <= self._longest)
        readable &= stored <= self._file_size - np.minimum(at, self._file_size)
        self._offsets[numbers] = np.where(readable, at, 0)
        self._sizes[numbers] = np.where(readable, stored, 0)
        self._masks[numbers] = masks[inside] & ((1 << len(self._filters)) - 1)

    def _check_order(self, places: npt.NDArray[np.int64]) -> None:
        """Drops the axis orders in which the chunks are not strictly ascending.

        Every valid index is sorted in one of the orders: libhdf5 searches it by bisection.
        """
        for axes, last in list(self._orders.items()):
            steps = np.diff(places[:, axes], axis=0, prepend=[last])
            first = (steps != 0).argmax(axis=1)
            if (np.take_along_axis(steps, first[:, None], axis=1) > 0).all():
                self._orders[axes] = tuple(places[-1:, axes].reshape(-1).tolist()) or last
            else:
                del self._orders[axes]

    def _check_apart(self) -> None:
        """Checks that chunks do not overlap in the file."""
        there = self._sizes.astype(np.bool_)
        starts = self._offsets[there]
        ends = starts + self._sizes[there].astype(np.int64)
        if (ends[:-1] > starts[1:]).any():
            # Offsets that are not ascending may still not overlap: sort and compare again.
            order = np.argsort(starts)
            if (ends[order[:-1]] > starts[order[1:]]).any():
                raise self._damaged("chunks overlap in the file")

    def _damaged(self, how: str) -> FileFormatError:
        return FileFormatError(
            f"The index of the chunks of {self._where} is damaged: {how}. "
            "Copy or download the file again."
        )
