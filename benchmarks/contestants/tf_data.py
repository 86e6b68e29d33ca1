"""tf.data: over h5py slices, shuffled in a buffer of rows, and over tensors in memory."""

import os
from collections.abc import Iterator

# TensorFlow reads this when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import tensorflow as tf

from benchmarks.contestants import Reader, ReadJob
from benchmarks.contestants.ram import load
from benchmarks.work import Batch

SLICE_ROWS = 1024
BUFFER_ROWS = 32_768


def open_buffered(job: ReadJob) -> Reader:
    """`from_generator` of slices of 1,024 rows, a buffer of 32,768 rows, then batches."""
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
    """`from_tensor_slices`, a buffer as large as the data, then batches."""
    arrays = load(job)
    rows = tf.data.Dataset.from_tensor_slices(arrays)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = rows.shuffle(job.rows, seed=job.seed + number)
        yield from dataset.batch(job.batch).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()

    return Reader(epoch)
