"""Headrace, called as by a user."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py  # noqa: F401 - Headrace imports it when a file is opened; imports are not timed
import numpy as np

import headrace as hr
from benchmarks.contestants import Reader, ReadJob
from benchmarks.contestants.ram import load
from benchmarks.data import made_once
from benchmarks.work import Batch


def open_shuffled(job: ReadJob) -> Reader:
    """`shuffle=True`: the order that Headrace chooses for the layout."""
    return _open(job, True)


def open_exact(job: ReadJob) -> Reader:
    """`shuffle="exact"`: a uniform permutation of all rows."""
    return _open(job, "exact")


def open_arrays(job: ReadJob) -> Reader:
    """Arrays in memory, shuffled by a uniform permutation."""
    return _reader(job, hr.from_arrays(*load(job)), "exact")


def open_npy(job: ReadJob) -> Reader:
    """The arrays in `.npy` files, which are made next to the HDF5 file."""
    files = []
    for name, array in zip(job.fields, load(job), strict=True):
        path = Path(job.path).with_suffix(f".{name}.npy")
        files.append(made_once(path, partial(_save, array)))
    return _reader(job, hr.from_arrays(*files), "exact")


def _save(array: Any, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _open(job: ReadJob, shuffle: Any) -> Reader:
    x, *beside = job.fields
    data = hr.from_hdf5(job.path, x=x, y=beside[0] if len(beside) == 1 else beside or None)
    return _reader(job, data, shuffle)


def _reader(job: ReadJob, data: hr.Dataset, shuffle: Any) -> Reader:
    loader = data.batch(
        job.batch, shuffle=shuffle, seed=job.seed, memory=job.memory, workers=job.threads
    )

    def epoch(_number: int) -> Iterator[Batch]:
        if len(job.fields) > 2:
            for images, others in loader:
                yield images, *others
        else:
            yield from loader

    return Reader(epoch, lambda: loader.report().to_dict())
