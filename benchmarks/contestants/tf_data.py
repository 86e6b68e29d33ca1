"""tf.data over h5py slices with a shuffle buffer, and over tensors in memory."""

import os
from collections.abc import Iterator

# Set before the import, at which TensorFlow reads it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import tensorflow as tf

from benchmarks.contestants import Reader, ReadJob
from benchmarks.contestants.ram import load
from benchmarks.work import Batch

SLICE_ROWS = 1024
BUFFER_ROWS = 32_768


def open_buffered(job: ReadJob) -> Reader:
    """`from_generator` over slices of 1,024 rows, a shuffle buffer of 32,768 rows, batches."""
    file = h5py.File(job.path, "r")
    images, labels = file["image"], file["label"]

    def slices() -> Iterator[Batch]:
        for start in range(0, len(labels), SLICE_ROWS):
            stop = start + SLICE_ROWS
            yield images[start:stop], labels[start:stop]

    signature = (
        tf.TensorSpec((None, *images.shape[1:]), tf.uint8),
        tf.TensorSpec((None,), tf.int64),
    )

    def epoch(number: int) -> Iterator[Batch]:
        dataset = tf.data.Dataset.from_generator(slices, output_signature=signature)
        dataset = dataset.unbatch().shuffle(BUFFER_ROWS, seed=job.seed + number)
        dataset = dataset.batch(job.batch).prefetch(tf.data.AUTOTUNE)
        yield from dataset.as_numpy_iterator()

    return Reader(epoch)


def open_tensors(job: ReadJob) -> Reader:
    """`from_tensor_slices`, a shuffle buffer as large as the data, batches."""
    arrays = load(job)
    rows = tf.data.Dataset.from_tensor_slices(arrays)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = rows.shuffle(job.rows, seed=job.seed + number)
        yield from dataset.batch(job.batch).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()

    return Reader(epoch)
