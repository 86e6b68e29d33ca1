"""Grain over an h5py file: a random-access source, read by threads."""

from collections.abc import Iterator

import grain.python as grain
import h5py

from benchmarks.contestants import Reader, ReadJob
from benchmarks.work import Batch

READ_THREADS = 16


class Rows:
    """Grain's random-access protocol: a length, and one row at a time."""

    def __init__(self, path: str) -> None:
        file = h5py.File(path, "r")
        self.image, self.label = file["image"], file["label"]

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, row: int) -> Batch:
        return self.image[row], self.label[row]


def open_map_dataset(job: ReadJob) -> Reader:
    """`MapDataset.shuffle`, 16 read threads, batches."""
    rows = Rows(job.path)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = grain.MapDataset.source(rows).shuffle(seed=job.seed + number)
        options = grain.ReadOptions(num_threads=READ_THREADS)
        yield from dataset.to_iter_dataset(options).batch(job.batch)

    return Reader(epoch)
