"""The most that reading can give: every chunk read and decoded once, by threads, without order.

Pieces of 512 rows are handed out, in buffers that are used again and again:
no fresh batch arrays, no shuffle, no gathering.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import h5py
import numpy as np
from imagecodecs import deflate_decode

from benchmarks.contestants import Reader, ReadJob
from benchmarks.work import Batch

PIECE_ROWS = 512
PIECES_AHEAD = 3

Fill = Callable[[int, np.ndarray], int]
"""Fills a buffer from a row on, and gives the number of rows."""


def open_ceiling(job: ReadJob) -> Reader:
    """Addresses are taken once; some pieces for each thread are read while one is handed out."""
    with h5py.File(job.path, "r") as file:
        image, labels = file["image"], file["label"][:]
        descriptor = os.open(job.path, os.O_RDONLY)
        fill = _filler(image, descriptor)
        shape = (PIECE_ROWS, *image.shape[1:])
    ahead = PIECES_AHEAD * job.threads
    buffers = [np.empty(shape, np.uint8) for _ in range(ahead + 1)]
    for buffer in buffers:
        buffer.fill(0)

    def epoch(_number: int) -> Iterator[Batch]:
        with ThreadPoolExecutor(job.threads) as pool:
            starts = enumerate(range(0, len(labels), PIECE_ROWS))
            submit = partial(_submit, pool, fill, buffers)
            waiting = [submit(*start) for start in islice(starts, ahead)]
            while waiting:
                start, buffer, future = waiting.pop(0)
                rows = future.result()
                # The buffer handed out before this one is free again.
                waiting += [submit(*start) for start in islice(starts, 1)]
                yield buffer[:rows], labels[start : start + rows]

    return Reader(epoch)


def _submit(
    pool: ThreadPoolExecutor, fill: Fill, buffers: list[np.ndarray], number: int, start: int
) -> tuple[int, np.ndarray, Any]:
    buffer = buffers[number % len(buffers)]
    return start, buffer, pool.submit(fill, start, buffer)


def _filler(image: h5py.Dataset, descriptor: int) -> Fill:
    if image.chunks is None:
        return partial(_read_rows, descriptor, image.id.get_offset(), image.shape)
    chunks: list[Any] = []
    image.id.chunk_iter(chunks.append)
    chunks.sort(key=lambda chunk: chunk.chunk_offset[0])
    places = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    decode = image.compression is not None
    return partial(_read_chunks, descriptor, places, image.chunks[0], len(image), decode)


def _read_rows(
    descriptor: int, offset: int, shape: tuple[int, ...], start: int, buffer: np.ndarray
) -> int:
    rows = min(len(buffer), shape[0] - start)
    os.preadv(descriptor, [buffer[:rows]], offset + start * buffer[0].nbytes)
    return rows


def _read_chunks(
    descriptor: int,
    places: list[tuple[int, int]],
    chunk_rows: int,
    length: int,
    decode: bool,
    start: int,
    buffer: np.ndarray,
) -> int:
    rows = min(len(buffer), length - start)
    first = start // chunk_rows
    for index, target in enumerate(range(0, rows, chunk_rows)):
        offset, size = places[first + index]
        out = buffer[target : target + chunk_rows]
        if decode:
            deflate_decode(os.pread(descriptor, size, offset), out=out.reshape(-1))
        else:
            os.preadv(descriptor, [out], offset)
    return rows
