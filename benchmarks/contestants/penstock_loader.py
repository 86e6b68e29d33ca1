"""Penstock itself, as a user would write it."""

from collections.abc import Iterator
from typing import Any

import h5py  # noqa: F401 - Penstock imports it when a file is opened; imports are not timed

import penstock as ps
from benchmarks.contestants import Reader, ReadJob
from benchmarks.work import Batch


def open_shuffled(job: ReadJob) -> Reader:
    """The order that Penstock picks for the layout."""
    return _open(job, True)


def open_exact(job: ReadJob) -> Reader:
    """A uniform permutation of all rows."""
    return _open(job, "exact")


def _open(job: ReadJob, shuffle: Any) -> Reader:
    x, *beside = job.fields
    data = ps.from_hdf5(job.path, x=x, y=beside[0] if len(beside) == 1 else beside or None)
    loader = data.batch(
        job.batch, shuffle=shuffle, seed=job.seed, memory=job.memory, workers=job.threads
    )

    def epoch(_number: int) -> Iterator[Batch]:
        if len(beside) > 1:
            for images, others in loader:
                yield images, *others
        else:
            yield from loader

    return Reader(epoch, lambda: loader.report().to_dict())
