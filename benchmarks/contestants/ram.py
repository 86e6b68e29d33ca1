"""NumPy arrays in memory, as a reference for loaders."""

from collections.abc import Iterator

import h5py
import numpy as np

from benchmarks.contestants import Reader, ReadJob
from benchmarks.work import Batch


def open_take(job: ReadJob) -> Reader:
    """Random rows of arrays in RAM, gathered into a new array for each batch."""
    arrays = load(job)

    def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *array.shape[1:]), array.dtype)
        # With mode="clip", NumPy writes directly to `out`; the default mode uses a buffer.
        return np.take(array, rows, axis=0, out=out, mode="clip")

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng([job.seed, number]).permutation(job.rows)
        for start in range(0, len(order), job.batch):
            rows = order[start : start + job.batch]
            yield tuple(take(array, rows) for array in arrays)

    return Reader(epoch)


def open_copy(job: ReadJob) -> Reader:
    """Neighbouring rows of arrays in RAM, copied to a new array for each batch."""
    arrays = load(job)

    def epoch(_number: int) -> Iterator[Batch]:
        for start in range(0, job.rows, job.batch):
            stop = start + job.batch
            yield tuple(array[start:stop].copy() for array in arrays)

    return Reader(epoch)


def load(job: ReadJob) -> Batch:
    """Loads the file's arrays."""
    with h5py.File(job.path, "r") as file:
        return tuple(file[name][:] for name in job.fields)
