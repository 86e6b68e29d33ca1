"""Data that fits in memory: the epoch that every loader would like to match."""

from collections.abc import Iterator

import h5py
import numpy as np

from benchmarks.contestants import Reader, ReadJob
from benchmarks.work import Batch


def open_take(job: ReadJob) -> Reader:
    """Random rows of arrays in RAM, gathered to a fresh array for each batch."""
    images, labels = _load(job)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng([job.seed, number]).permutation(len(labels))
        for start in range(0, len(order), job.batch):
            rows = order[start : start + job.batch]
            x = np.empty((len(rows), *images.shape[1:]), images.dtype)
            y = np.empty(len(rows), labels.dtype)
            # mode="clip" lets NumPy write to `out` without a buffer in between.
            np.take(images, rows, axis=0, out=x, mode="clip")
            np.take(labels, rows, axis=0, out=y, mode="clip")
            yield x, y

    return Reader(epoch)


def open_copy(job: ReadJob) -> Reader:
    """Neighbouring rows of arrays in RAM, copied to a fresh array for each batch."""
    images, labels = _load(job)

    def epoch(_number: int) -> Iterator[Batch]:
        for start in range(0, len(labels), job.batch):
            stop = start + job.batch
            yield images[start:stop].copy(), labels[start:stop].copy()

    return Reader(epoch)


def _load(job: ReadJob) -> Batch:
    with h5py.File(job.path, "r") as file:
        return file["image"][:], file["label"][:]
