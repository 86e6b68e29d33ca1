"""The data adapter that feeds a trainer from a loader."""

import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from headrace.errors import OptionError, TypeNotSupportedError
from headrace.keras.epoch_end import EpochEndCallback
from headrace.keras.internals import (
    Call,
    DataAdapter,
    PartialBatchList,
    add_callback,
    draws_ahead_on,
    learns_from_y,
    restored_epoch,
)
from headrace.loading import Batch, Batches, ItemLoader, Loader
from headrace.loading.items import ItemStream
from headrace.loading.timing import Stopwatch
from headrace.spec import leaves, map_structure
from headrace.transform import stacked


class LoaderAdapter(DataAdapter):
    """Feeds a trainer from a loader.

    Args:
        loader: Supplies the batches.
        training: If true, batches follow the loader's order and advance its position. Otherwise
            every row is read once in row order, and the position does not change.
        class_weight: Weights of classes, from `fit`.
        steps: `steps_per_epoch` from `fit`. If given, batches have no end, so that an epoch of
            the trainer may be shorter or longer than an epoch of the loader.
        call: The running call of `fit`, `evaluate` or `predict`.
    """

    def __init__(
        self,
        loader: Loader | ItemLoader,
        training: bool,
        class_weight: Mapping[int, float] | None = None,
        steps: int | None = None,
        call: Call | None = None,
    ) -> None:
        self._loader = loader
        self._training = training
        self._steps = steps
        self._endless = training and steps is not None
        self._collate = None
        if class_weight is not None:
            self._collate = loader.weighted(class_weight)
        self._call = call or Call()
        self._epochs = max(self._call.epochs - self._call.initial_epoch, 1)
        self._per_call = getattr(self._call.model, "steps_per_execution", 1)
        self._stream: Batches | ItemStream | None = None
        # Before the first epoch a trainer may draw batches to find out the shapes.
        self._probing = training
        self._checked = False
        self._stopwatch: Stopwatch | None = None
        self._has_clock = False
        if training:
            self._start_at(self._call.initial_epoch)

    def _start_at(self, epoch: int) -> None:
        """Moves the loader to the position at which an uninterrupted `fit` starts `epoch`."""
        if not epoch:
            return
        if self._steps is None:
            self._loader.go_to(epoch)
            return
        executions = -(-self._steps // self._per_call)
        self._loader.go_to(*divmod(epoch * executions * self._per_call, len(self._loader)))

    def _batches(self, ahead: int = 0, steps: int = 1) -> Iterator[Any]:
        if self._probing:
            # At most one execution: a trainer that trained on these batches by mistake would run
            # out of data immediately.
            for _ in range(self._per_call):
                yield self._probe()
            return
        if not self._training:
            # Not stored in self: its threads end with this generator.
            stream = self._loader.stream(in_row_order=True, collate=self._collate, steps=steps)
            self._stopwatch = stream.stopwatch
            for batch in stream:
                self._check(batch)
                yield batch
            return
        batches = self._next_stream(ahead, steps)
        self._stopwatch = batches.stopwatch
        while True:
            for _ in range(batches.left):
                batch = next(batches)
                self._check(batch)
                yield batch
            if not self._endless:
                break

    def _check(self, batch: Batch) -> None:
        """Raises if the model needs y and batches have none; Keras's own error would name None."""
        if self._checked:
            return
        parts = batch[0] if isinstance(batch, list) else batch
        if len(parts) < 2 and learns_from_y(self._call):
            whose = "the batches of validation_data=" if self._call.validating else "these batches"
            raise OptionError(
                f"{self._call.name}() compares predictions with y, and {whose} have only x. Name "
                "the field to predict as y= when you create the data set, as in "
                "from_hdf5(..., y=...), or return (x, y) from map()."
            )
        self._checked = True

    def _next_stream(self, ahead: int, steps: int) -> Batches | ItemStream:
        """A stream that continues from epoch to epoch, so that the next epoch is prefetched."""
        if self._stream is None:
            # A callback that restores training sets the epoch just before the first epoch.
            self._start_at(restored_epoch(self._call.model))
        if self._stream is None or not self._stream.is_next:
            if self._stream is not None:
                self._stream.close()
            self._stream = self._new_stream(ahead, steps)
        self._epochs = max(self._epochs - 1, 1)
        return self._stream

    def _new_stream(self, ahead: int, steps: int) -> Batches | ItemStream:
        if isinstance(self._loader, Loader):
            epochs = None if self._endless else self._epochs
            return self._loader.stream(
                epochs=epochs, collate=self._collate, ahead=ahead, steps=steps
            )
        if self._steps is None:
            return self._loader.stream(epochs=self._epochs, collate=self._collate)
        # Limited, so that no batch is requested that no step uses.
        most = self._steps * self._epochs
        return self._loader.stream(epochs=None, collate=self._collate, most=most)

    def _probe(self) -> Batch:
        batch = self._loader.peek(self._collate)
        self._check(batch)
        for array in leaves(batch):
            try:
                keras.ops.convert_to_tensor(array[:1])
            except (KeyError, TypeError, ValueError) as error:
                raise TypeNotSupportedError(
                    f"Keras on {keras.backend.backend()} has no tensors of type {array.dtype}, "
                    "which this batch holds. Convert values to another numeric dtype with map()."
                ) from error
        return batch

    def get_numpy_iterator(self) -> Iterator[Batch]:
        """Batches as NumPy arrays."""
        return self._batches()

    def get_jax_iterator(self, super_batch: int | None = None) -> Iterator[Batch]:
        """Batches as NumPy arrays, which JAX accepts.

        On an accelerator the trainer transfers one batch ahead of the batch that it trains on.

        Args:
            super_batch: Number of batches that one call of the trainer takes (Keras 3.16 and
                later). They are stacked into arrays of shape `(super_batch, batch, ...)`.
        """
        import jax

        ahead = int(draws_ahead_on(jax.default_backend()))
        if not super_batch:
            yield from self._batches(ahead)
        else:
            for several in self._several(ahead, super_batch):
                yield PartialBatchList(several) if isinstance(several, list) else several
        # A trainer that draws ahead finds the end of the data before it trains on the last batch.
        if self._training and self._stream is not None:
            self._stream.settle()

    def _several(self, ahead: int, steps: int) -> Iterator[Any]:
        if self._loader.gives_at_once(steps, self._endless):
            return self._batches(ahead, steps)
        return _stacked(self._batches(steps * ahead), steps)

    def get_torch_dataloader(self) -> Iterable[Batch]:
        """Batches as tensors on the model's device; CPU tensors share the arrays' memory."""
        import torch

        def tensor(array: np.ndarray) -> Any:
            if not array.flags.writeable:
                array = array.copy()
            return keras.ops.convert_to_tensor(torch.from_numpy(array))

        return _Reiterable(lambda: (map_structure(tensor, b) for b in self._batches()))

    def get_tf_dataset(self) -> Any:
        """Batches as a `tf.data.Dataset`."""
        import tensorflow as tf

        batch = self._probe()
        free = self._free_axes(batch)
        signature = map_structure(
            lambda array: tf.TensorSpec(
                [None if i in free[id(array)] else n for i, n in enumerate(array.shape)],
                array.dtype,
            ),
            batch,
        )
        options = tf.data.Options()
        # The loader prefetches already. Prefetching by tf.data as well would advance the loader's
        # position past the batches that were trained on.
        options.experimental_optimization.inject_prefetch = False
        options.autotune.enabled = False
        # TensorFlow keeps the generator function until the program ends. A strong reference would
        # keep the loader's threads alive as long.
        start = weakref.WeakMethod(self._batches)

        def batches() -> Iterator[Batch]:
            run = start()
            return run() if run is not None else iter(())

        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return dataset.with_options(options)

    def _free_axes(self, batch: Batch) -> dict[int, set[int]]:
        """For each array of a batch, the axes whose size may differ between batches.

        The row axis always may. For a user-supplied batch object (`ItemLoader`), so may the axes
        that have size None in the model's inputs or outputs.
        """
        free = {id(array): {0} for array in leaves(batch)}
        if isinstance(self._loader, Loader):
            return free
        for part, known in zip(batch, ("inputs", "outputs", "outputs"), strict=False):
            try:
                shapes = [tensor.shape for tensor in getattr(self._call.model, known, None) or ()]
            except (AttributeError, ValueError):  # a model that is not built
                shapes = []
            arrays = leaves(part)
            if len(shapes) != len(arrays):
                continue
            for array, shape in zip(arrays, shapes, strict=True):
                free[id(array)] |= {
                    i for i, n in enumerate(shape[: array.ndim]) if n is None and i < array.ndim
                }
        return free

    @property
    def num_batches(self) -> int | None:
        """Number of batches in an epoch; None if they have no end."""
        if self._endless:
            return None
        rows = self._loader.rows(every=not self._training)
        if rows is None or self._loader.batch_size is None:
            return len(self._loader)
        return -(-rows // self._loader.batch_size)

    @property
    def batch_size(self) -> int | None:
        """Number of rows in a batch; None if unknown."""
        return self._loader.batch_size

    @property
    def has_partial_batch(self) -> bool:
        """Whether the last batch is smaller than the others."""
        return self.partial_batch_size is not None

    @property
    def partial_batch_size(self) -> int | None:
        """Number of rows in the last batch; None if it is as large as the others."""
        rows = self._loader.rows(every=not self._training)
        if rows is None or self._loader.batch_size is None:
            return None
        return rows % self._loader.batch_size or None

    def on_epoch_begin(self) -> None:
        """Starts the clock.

        A callback stops it, since JAX still computes when the last batch was handed out.
        """
        if self._probing:
            return
        if not self._has_clock:
            self._has_clock = True
            # A weak reference: the callback outlives this adapter and must not keep its threads
            # alive.
            stop = weakref.WeakMethod(self._stop_clock)
            add_callback(sys._getframe(1), EpochEndCallback(self._training, stop))
        if self._training and self._stopwatch is not None:
            self._stopwatch.start()

    def _stop_clock(self) -> None:
        if self._stopwatch is not None:
            self._stopwatch.stop()

    def on_epoch_end(self) -> None:
        """Ends probing: the trainer calls this before the first epoch, too."""
        self._probing = False


class _Reiterable:
    """An iterable whose every iteration starts again, like a PyTorch DataLoader."""

    def __init__(self, start: Callable[[], Iterator[Batch]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        return self._start()


def _stacked(batches: Iterator[Batch], steps: int) -> Iterator[Any]:
    """Stacks every `steps` batches into arrays of shape `(steps, batch, ...)`.

    Batches left over at the end, or of different shapes, are yielded as a list instead.
    """
    while some := list(itertools.islice(batches, steps)):
        together = stacked(some) if len(some) == steps else None
        yield some if together is None else together
