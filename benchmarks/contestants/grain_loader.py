"""Grain: a random-access source over an h5py file or arrays, read by threads."""

from collections.abc import Iterator
from typing import Any

import grain.python as grain
import h5py

from benchmarks.contestants import Reader, ReadJob
from benchmarks.contestants.ram import load
from benchmarks.work import Batch

READ_THREADS = 16


class Rows:
    """A source in Grain's random-access protocol, with single rows as items."""

    def __init__(self, image: Any, label: Any) -> None:
        self.image, self.label = image, label

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, row: int) -> Batch:
        return self.image[row], self.label[row]


def open_map_dataset(job: ReadJob) -> Reader:
    """`MapDataset.shuffle` over an h5py file, 16 read threads, batches."""
    file = h5py.File(job.path, "r")
    return _reader(job, Rows(file["image"], file["label"]))


def open_arrays(job: ReadJob) -> Reader:
    """`MapDataset.shuffle` over arrays in memory."""
    return _reader(job, Rows(*load(job)))


def _reader(job: ReadJob, rows: Rows) -> Reader:
    def epoch(number: int) -> Iterator[Batch]:
        dataset = grain.MapDataset.source(rows).shuffle(seed=job.seed + number)
        options = grain.ReadOptions(num_threads=READ_THREADS)
        yield from dataset.to_iter_dataset(options).batch(job.batch)

    return Reader(epoch)
