"""The ceiling of reading: threads decode every chunk once, in file order.

The batches are pieces of about 1.5 MB in reused buffers, without new arrays for batches, shuffling
or gathering of rows.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import h5py
import numpy as np

from benchmarks.contestants import Reader, ReadJob
from benchmarks.contestants.decoders import Decode, decoder_of
from benchmarks.work import Batch

PIECE_BYTES = 3 << 19
PIECES_AHEAD = 3

Fill = Callable[[int, np.ndarray], int]
"""Fills a buffer with the rows from a given row on, and returns the number of rows."""


class Place(NamedTuple):
    """The address of a chunk in the file; `plain` means that its filters were skipped."""

    offset: int
    size: int
    plain: bool


def open_ceiling(job: ReadJob) -> Reader:
    """Collects the addresses of the chunks once; threads read `PIECES_AHEAD` pieces each ahead."""
    with h5py.File(job.path, "r") as file:
        image = file["image"]
        beside = [file[name][:] for name in job.fields[1:]]
        descriptor = os.open(job.path, os.O_RDONLY)
        fill = _filler(image, descriptor)
        rows = _piece_rows(image)
        shape, dtype = (rows, *image.shape[1:]), image.dtype
    ahead = PIECES_AHEAD * job.threads
    buffers = [np.empty(shape, dtype) for _ in range(ahead + 1)]
    for buffer in buffers:
        buffer.fill(0)

    def epoch(_number: int) -> Iterator[Batch]:
        with ThreadPoolExecutor(job.threads) as pool:
            starts = enumerate(range(0, job.rows, len(buffers[0])))
            submit = partial(_submit, pool, fill, buffers)
            waiting = [submit(*start) for start in islice(starts, ahead)]
            while waiting:
                start, buffer, future = waiting.pop(0)
                stop = start + future.result()
                # The consumer has finished with the previous buffer, so it can be filled again.
                waiting += [submit(*start) for start in islice(starts, 1)]
                yield buffer[: stop - start], *(array[start:stop] for array in beside)

    return Reader(epoch)


def _submit(
    pool: ThreadPoolExecutor, fill: Fill, buffers: list[np.ndarray], number: int, start: int
) -> tuple[int, np.ndarray, Any]:
    buffer = buffers[number % len(buffers)]
    return start, buffer, pool.submit(fill, start, buffer)


def _piece_rows(image: h5py.Dataset) -> int:
    """Number of rows in a piece, a multiple of the chunk's rows."""
    rows = max(1, PIECE_BYTES // (image.nbytes // len(image)))
    return max(1, rows // image.chunks[0]) * image.chunks[0] if image.chunks else rows


def _filler(image: h5py.Dataset, descriptor: int) -> Fill:
    if image.chunks is None:
        return partial(_read_rows, descriptor, image.id.get_offset(), image.shape)
    chunks: list[Any] = []
    image.id.chunk_iter(chunks.append)
    chunks.sort(key=lambda chunk: chunk.chunk_offset[0])
    places = [Place(chunk.byte_offset, chunk.size, chunk.filter_mask != 0) for chunk in chunks]
    return partial(_read_chunks, descriptor, places, image.chunks[0], len(image), decoder_of(image))


def _read_rows(
    descriptor: int, offset: int, shape: tuple[int, ...], start: int, buffer: np.ndarray
) -> int:
    rows = min(len(buffer), shape[0] - start)
    os.preadv(descriptor, [buffer[:rows]], offset + start * buffer[0].nbytes)
    return rows


def _read_chunks(
    descriptor: int,
    places: list[Place],
    chunk_rows: int,
    length: int,
    decode: Decode | None,
    start: int,
    buffer: np.ndarray,
) -> int:
    rows = min(len(buffer), length - start)
    first = start // chunk_rows
    for index, target in enumerate(range(0, rows, chunk_rows)):
        place = places[first + index]
        out = buffer[target : target + chunk_rows].reshape(-1).view(np.uint8)
        if decode is None or place.plain:
            os.preadv(descriptor, [out], place.offset)
        else:
            decode(os.pread(descriptor, place.size, place.offset), out)
    return rows
