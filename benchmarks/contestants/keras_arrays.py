"""Keras: the batches that `model.fit(x, y)` makes of arrays in memory."""

from collections.abc import Iterator

from benchmarks import by_keras
from benchmarks.contestants import Reader, ReadJob
from benchmarks.contestants.ram import load
from benchmarks.work import Batch


def open_arrays(job: ReadJob) -> Reader:
    """The batches that the trainer gets on JAX."""
    images, labels = load(job)

    def epoch(number: int) -> Iterator[Batch]:
        by_keras.keras.utils.set_random_seed(job.seed + number)
        yield from by_keras.run_arrays(x=images, y=labels, batch_size=job.batch, shuffle=True)

    return Reader(epoch)
