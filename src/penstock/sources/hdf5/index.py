"""Where the chunks of a dataset are."""

import math
from array import array
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from penstock.errors import FileFormatError
from penstock.sources.hdf5.filters import Filter

UNALLOCATED = -1

_MOST_EMPTY = 1 << 20


@dataclass(frozen=True)
class Chunks:
    """A chunked dataset's index.

    Attributes:
        shape: Shape of one chunk, samples first.
        filters: In the order in which they were applied.
        offsets: int64, shape `(chunk rows, chunks in a row)`: where each chunk's bytes start, or
            `UNALLOCATED`.
        sizes: int64, same shape: bytes stored; 0 where they would lie outside the file.
        masks: uint32, same shape: bit i says that filter i was skipped.
    """

    shape: tuple[int, ...]
    filters: tuple[Filter, ...]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint32]

    @property
    def per_row(self) -> int:
        """Chunks side by side that together hold whole samples."""
        return int(self.offsets.shape[1])

    def start(self, number: int, k: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Where chunk `k` of a row of chunks begins in the data, which have this shape."""
        beside: Any = np.unravel_index(k, self._beside(shape))
        return tuple(int(i) * n for i, n in zip((number, *beside), self.shape, strict=True))

    def partial(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Which chunks reach beyond the data, which have this shape."""
        cut = np.zeros((1,), bool)
        for size, length, count in zip(shape[1:], self.shape[1:], self._beside(shape), strict=True):
            ends = np.arange(1, count + 1) * length > size
            cut = (cut[:, None] | ends).reshape(-1)
        ends = np.arange(1, len(self.offsets) + 1) * self.shape[0] > shape[0]
        return ends[:, None] | cut

    def _beside(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many chunks lie beside each other along each axis but the first."""
        return tuple(-(-n // c) for n, c in zip(shape[1:], self.shape[1:], strict=True))


def read_index(
    dataset: h5py.Dataset, filters: tuple[Filter, ...], file_size: int, where: str
) -> Chunks | None:
    """The index of a chunked dataset; None if nearly all its chunks were never written.

    A small file may declare more chunks than there is memory for their index.

    Args:
        dataset: A chunked dataset.
        filters: Its filters.
        file_size: Bytes of its file.
        where: The dataset, for error messages.

    Raises:
        FileFormatError: If the index is damaged.
    """
    starts, offsets, sizes, masks = _entries(dataset)
    shape = dataset.chunks
    grid = tuple(-(-n // c) for n, c in zip(dataset.shape, shape, strict=True))
    count = math.prod(grid)
    if count > _MOST_EMPTY and count > 16 * len(offsets):
        return None
    places, beside = np.divmod(starts.reshape(-1, len(shape)), np.array(shape, np.uint64))
    # A writer that broke off may have left chunks behind the end.
    inside = (places < np.array(grid, np.uint64)).all(axis=1)
    numbers = np.ravel_multi_index(tuple(places[inside].astype(np.int64).T), grid)
    if beside.any() or len(np.unique(numbers)) < len(numbers):
        raise FileFormatError(
            f"The index of the chunks of {where} is damaged: chunks overlap. "
            "Copy or download the file again."
        )
    at, stored = offsets[inside], sizes[inside]
    readable = (at <= file_size) & (stored <= file_size - np.minimum(at, file_size))
    in_rows = (grid[0], count // grid[0])
    return Chunks(
        shape,
        filters,
        _spread(np.where(readable, at, 0), numbers, in_rows, UNALLOCATED),
        _spread(np.where(readable, stored, 0), numbers, in_rows, 0),
        _spread(masks[inside], numbers, in_rows, 0).astype(np.uint32),
    )


def _entries(dataset: h5py.Dataset) -> tuple[npt.NDArray[np.uint64], ...]:
    """Place in the data, offset in the file, size and filter mask of each chunk that is there."""
    # Unsigned, as in the file: a damaged one holds anything.
    starts, offsets, sizes, masks = array("Q"), array("Q"), array("Q"), array("Q")

    def note(info: Any) -> None:
        # The mask of a chunk that was never written is whatever was in memory.
        if info.byte_offset is not None:
            starts.extend(info.chunk_offset)
            offsets.append(info.byte_offset)
            sizes.append(info.size)
            masks.append(info.filter_mask)

    dataset.id.chunk_iter(note)
    return tuple(np.array(entry, np.uint64) for entry in (starts, offsets, sizes, masks))


def _spread(
    values: npt.NDArray[np.uint64],
    numbers: npt.NDArray[np.intp],
    shape: tuple[int, int],
    rest: int,
) -> npt.NDArray[np.int64]:
    spread = np.full(math.prod(shape), rest, np.int64)
    spread[numbers] = values
    return spread.reshape(shape)
