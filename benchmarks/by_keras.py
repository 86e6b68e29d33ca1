"""Iterates over batch objects and arrays in the same way as Keras' `fit` on JAX."""

import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from keras.src.trainers import data_adapters

from benchmarks.ways import Batch, Epoch


class Sequence(keras.utils.PyDataset):
    """A Keras 2 `Sequence`, wrapped in a Keras 3 `PyDataset`."""

    def __init__(self, items: Any, **options: Any) -> None:
        super().__init__(**options)
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def on_epoch_end(self) -> None:
        end = getattr(self.items, "on_epoch_end", None)
        if end is not None:
            end()


def run_sequence(items: Any, shuffle: bool, **options: Any) -> Epoch:
    """A function that iterates over an epoch as Keras' trainer does."""
    adapter = data_adapters.get_data_adapter(x=Sequence(items, **options), shuffle=shuffle)

    def epoch() -> Iterator[Batch]:
        adapter.on_epoch_begin()
        yield from adapter.get_jax_iterator()
        adapter.on_epoch_end()

    return epoch


def run_arrays(**arguments: Any) -> Iterator[Batch]:
    """An epoch of batches from `fit`'s data arguments, as Keras' trainer gets them."""
    adapter = data_adapters.get_data_adapter(**arguments)
    adapter.on_epoch_end()  # fit calls it before the first epoch, too
    yield from adapter.get_jax_iterator()
