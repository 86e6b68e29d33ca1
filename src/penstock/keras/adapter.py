"""The data adapter that feeds a trainer from a loader."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from penstock.errors import TypeNotSupportedError
from penstock.loading import Batch, Batches, ItemLoader, Loader
from penstock.loading.items import ItemStream
from penstock.spec import leaves, map_structure

try:
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter
except (ImportError, AttributeError):
    DataAdapter = object


class LoaderAdapter(DataAdapter):
    """Feeds a trainer from a loader.

    Args:
        loader: Where batches come from.
        training: Whether the loader's order and position are followed; else rows
            come in row order, and the position stays.
        class_weight: Weights of classes, from `fit`.
        steps: `steps_per_epoch` from `fit`: batches then come without end, so that
            an epoch of the trainer may be shorter or longer than the loader's.
        model: The model that is fitted, as far as is known.
        initial_epoch: From `fit`.
        epochs: Epochs that `fit` runs, as far as is known.
    """

    def __init__(
        self,
        loader: Loader | ItemLoader,
        training: bool,
        class_weight: Mapping[int, float] | None = None,
        steps: int | None = None,
        model: Any = None,
        initial_epoch: int = 0,
        epochs: int = 1,
    ) -> None:
        self._loader = loader
        self._training = training
        self._steps = steps
        self._endless = training and steps is not None
        self._finish = None
        if class_weight is not None:
            self._finish = loader.weighted(class_weight)
        self._epochs = epochs
        self._batches_so_far: Batches | ItemStream | None = None
        # Before the first epoch a trainer may draw batches to learn the shapes.
        self._probing = training
        self._probes = getattr(model, "steps_per_execution", 1)
        self._model = model
        self._initial_epoch = initial_epoch

    def _batches(self, ahead: int = 0) -> Iterator[Batch]:
        if self._probing:
            # No more than this: should a trainer train on them, it runs out of data at once.
            for _ in range(self._probes):
                yield self._probe()
            return
        if not self._training:
            yield from self._loader.stream(in_row_order=True, finish=self._finish)
            return
        batches = self._stream(ahead)
        while True:
            for _ in range(batches.left):
                yield next(batches)
            if not self._endless:
                break
        batches.settle()

    def _stream(self, ahead: int) -> Batches | ItemStream:
        """Batches that go on from epoch to epoch, so that the next one is begun ahead of time."""
        stream = self._batches_so_far
        if stream is None:
            # A callback that restores training sets this just before the first epoch.
            epoch = getattr(self._model, "_initial_epoch", None) or self._initial_epoch
            if epoch:
                self._loader.go_to_epoch(epoch)
        if stream is None or not stream.is_next:
            if stream is not None:
                stream.close()
            stream = self._new_stream(ahead)
            self._batches_so_far = stream
        self._epochs = max(self._epochs - 1, 1)
        return stream

    def _new_stream(self, ahead: int) -> Batches | ItemStream:
        if isinstance(self._loader, Loader):
            epochs = None if self._endless else self._epochs
            return self._loader.stream(epochs=epochs, finish=self._finish, ahead=ahead)
        if self._steps is None:
            return self._loader.stream(epochs=self._epochs, finish=self._finish)
        # Nobody is asked for batches that no step will take.
        most = self._steps * self._epochs
        return self._loader.stream(epochs=None, finish=self._finish, most=most)

    def _probe(self) -> Batch:
        batch = self._loader.peek(self._finish)
        for array in leaves(batch):
            try:
                keras.ops.convert_to_tensor(array[:1])
            except (KeyError, TypeError, ValueError) as error:
                raise TypeNotSupportedError(
                    f"Keras on {keras.backend.backend()} has no tensors of type {array.dtype}, "
                    "which this batch holds. Turn the values into other numbers with map()."
                ) from error
        return batch

    def get_numpy_iterator(self) -> Iterator[Batch]:
        """Batches as they are."""
        return self._batches()

    def get_jax_iterator(self) -> Iterator[Batch]:
        """Batches as they are: JAX takes NumPy arrays.

        On an accelerator the trainer sends one batch ahead of the one that it trains on.
        """
        import jax

        looks_ahead = jax.default_backend() != "cpu" and keras.distribution.distribution() is None
        return self._batches(ahead=int(looks_ahead))

    def get_torch_dataloader(self) -> Iterable[Batch]:
        """Batches as tensors on the model's device; on the CPU they share the arrays' memory."""
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
        # Read-ahead is done already; more of it would count batches that were not trained on.
        options.experimental_optimization.inject_prefetch = False
        options.autotune.enabled = False
        # TensorFlow keeps what it calls for as long as the program runs; the threads must not live
        # that long.
        start = weakref.WeakMethod(self._batches)

        def batches() -> Iterator[Batch]:
            run = start()
            return run() if run is not None else iter(())

        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return dataset.with_options(options)

    def _free_axes(self, batch: Batch) -> dict[int, set[int]]:
        """For each array of a batch, the axes that may differ in others: of rows, and more.

        Only an object that makes its own batches can have more of them: those that the model
        leaves open.
        """
        free = {id(array): {0} for array in leaves(batch)}
        if isinstance(self._loader, Loader):
            return free
        for part, known in zip(batch, ("inputs", "outputs", "outputs"), strict=False):
            try:
                shapes = [tensor.shape for tensor in getattr(self._model, known, None) or ()]
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
        """Batches in an epoch; None if they come without end."""
        return None if self._endless else len(self._loader)

    @property
    def batch_size(self) -> int | None:
        """Rows in a batch, if that is known."""
        return self._loader.batch_size

    @property
    def has_partial_batch(self) -> bool:
        """Whether the last batch is smaller than the others."""
        return self._loader.last_rows is not None

    @property
    def partial_batch_size(self) -> int | None:
        """Rows of the last batch, if it is smaller than the others."""
        return self._loader.last_rows

    def on_epoch_end(self) -> None:
        """The trainer's reset before the first epoch comes here too: probing is over."""
        self._probing = False


class _Reiterable:
    """An iterable that starts over each time, as a DataLoader does."""

    def __init__(self, start: Callable[[], Iterator[Batch]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        return self._start()
