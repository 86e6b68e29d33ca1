"""h5py alone, used as Keras 2's `HDF5Matrix` and simple scripts use it."""

from collections.abc import Iterator
from contextlib import suppress

import h5py
import numpy as np

from benchmarks.contestants import Reader, ReadJob
from benchmarks.work import Batch

with suppress(ImportError):
    import hdf5plugin  # noqa: F401 - registers more filters with h5py


def open_fancy(job: ReadJob) -> Reader:
    """Random rows for each batch, sorted since h5py requires it (`HDF5Matrix`, shuffle=True)."""
    file = h5py.File(job.path, "r")
    images, labels = file["image"], file["label"]

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng([job.seed, number]).permutation(len(labels))
        for start in range(0, len(order), job.batch):
            rows = np.sort(order[start : start + job.batch])
            yield images[rows], labels[rows]

    return Reader(epoch)


def open_slices(job: ReadJob) -> Reader:
    """Slices of neighbouring rows, in file order (an upper bound for shuffle="batch")."""
    file = h5py.File(job.path, "r")
    images, labels = file["image"], file["label"]

    def epoch(_number: int) -> Iterator[Batch]:
        for start in range(0, len(labels), job.batch):
            stop = start + job.batch
            yield images[start:stop], labels[start:stop]

    return Reader(epoch)
