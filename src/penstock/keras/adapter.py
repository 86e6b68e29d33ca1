"""Loaders as Keras's own: the data adapter that `fit`, `evaluate` and `predict` get for them.

Every backend asks one function, `get_data_adapter`, for an adapter, with all of
the caller's arguments in hand. `connect` wraps it, so that Penstock alone decides
order and read-ahead, and so that an argument that cannot be honoured is refused
instead of dropped. Should a later Keras move that function, loaders still work as
plain `PyDataset`s, with a warning.
"""

import math
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import Any

import keras
import numpy as np

from penstock import dataset as datasets
from penstock import formats
from penstock.dataset import Dataset
from penstock.errors import MemoryBudgetError, OptionError, TypeNotSupportedError
from penstock.loading import Batch, Batches, ItemLoader, Loader
from penstock.loading.items import ItemStream
from penstock.matrix import dataset_of, has_matrix
from penstock.resources import default_memory
from penstock.spec import leaves, map_structure

try:
    from keras.src.trainers import data_adapters
    from keras.src.trainers.data_adapters import array_slicing
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter

    _original = data_adapters.get_data_adapter
    _original_split = array_slicing.train_validation_split
except (ImportError, AttributeError):
    data_adapters = None
    DataAdapter = object


FEW_BYTES = 1 << 26
"""Memory for data that were given without batches, however small they are."""


class KerasLoader(Loader, keras.utils.PyDataset):
    """A loader that is a `keras.utils.PyDataset` as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        keras.utils.PyDataset.__init__(self)
        Loader.__init__(self, *args, **kwargs)


class KerasItemLoader(ItemLoader, keras.utils.PyDataset):
    """The same for a loader of somebody's own batches."""

    def __init__(self, items: Any, **options: Any) -> None:
        keras.utils.PyDataset.__init__(self)
        ItemLoader.__init__(self, items, **options)


def connect() -> None:
    """Makes Keras take loaders; safe to call again."""
    datasets.new_loader = KerasLoader
    formats.new_item_loader = KerasItemLoader
    if data_adapters is None:
        warnings.warn(
            f"Keras {keras.__version__} has no get_data_adapter where Penstock looks for it. "
            "Loaders work as a plain PyDataset: slower, with fit's own order of batches, and "
            "without checks of fit's other arguments. A newer Penstock may know this Keras.",
            stacklevel=2,
        )
    elif data_adapters.get_data_adapter is _original:
        data_adapters.get_data_adapter = _get_data_adapter
        array_slicing.train_validation_split = _train_validation_split


def _get_data_adapter(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    shuffle: bool | str = False,
    class_weight: Mapping[int, float] | None = None,
    **others: Any,
) -> Any:
    fit = _fit_frame(sys._getframe(1))
    if not isinstance(x, (Loader, ItemLoader)):
        if not _is_ours(x, y, sample_weight):
            return _original(
                x,
                y=y,
                sample_weight=sample_weight,
                batch_size=batch_size,
                steps_per_epoch=steps_per_epoch,
                shuffle=shuffle,
                class_weight=class_weight,
                **others,
            )
        x = _loader_of(x, y, sample_weight, batch_size, shuffle)
    else:
        _refuse("y", y, "y= of from_hdf5() and the like")
        _refuse("sample_weight", sample_weight, "sample_weight= of from_hdf5() and the like")
        split = fit.f_locals.get("validation_split") if fit is not None else None
        _refuse("validation_split", split or None, "data.split() before batch()")
    validating = fit is not None and "epoch_iterator" in fit.f_locals
    # Beside validation data, batch_size= may be meant for training arrays.
    if batch_size not in (None, x.batch_size) and not validating:
        have = f"have {x.batch_size} rows" if x.batch_size else "come as they are made"
        raise OptionError(
            f"batch_size={batch_size} beside a loader whose batches {have}. Leave it out: the "
            "batch size is said in batch()."
        )
    _check_distribution()
    # evaluate, predict and validation want row order; outside fit, shuffle= tells them apart.
    if validating or (fit is None and not shuffle):
        return LoaderAdapter(x, False, class_weight)
    if not shuffle and x.shuffle is not False:
        raise OptionError(
            f"fit(shuffle=False) was given beside a loader made with shuffle={x.shuffle!r}. "
            "The order is said in batch()."
        )
    known = fit.f_locals if fit is not None else {}
    initial_epoch = known.get("initial_epoch", 0)
    return LoaderAdapter(
        x,
        True,
        class_weight,
        steps_per_epoch,
        model=known.get("self"),
        initial_epoch=initial_epoch,
        epochs=max(known.get("epochs", 1) - initial_epoch, 1),
    )


def _is_ours(x: Any, y: Any, sample_weight: Any) -> bool:
    """Whether there is a data set without batches, or an `HDF5Matrix`."""
    return isinstance(x, Dataset) or has_matrix(x, y, sample_weight)


def _loader_of(
    x: Any, y: Any, sample_weight: Any, batch_size: int | None, shuffle: bool | str
) -> Loader:
    """Batches of what was given to Keras in place of arrays; 32 rows each, if it does not say."""
    if isinstance(x, Dataset):
        _refuse("y", y, "y= of from_hdf5() and the like")
        _refuse("sample_weight", sample_weight, "sample_weight= of from_hdf5() and the like")
    data = x if isinstance(x, Dataset) else dataset_of(x, y, sample_weight)
    # Drawn where Keras draws for arrays: `keras.utils.set_random_seed` repeats it.
    seed = int(np.random.randint(2**31 - 1))  # noqa: NPY002
    batch = partial(data.batch, batch_size or 32, shuffle=shuffle, seed=seed)
    # Whoever gives this in place of arrays does not expect all of it in memory.
    share = max(data.nbytes // 2, FEW_BYTES)
    try:
        return batch(memory=min(share, default_memory()))
    except MemoryBudgetError:
        return batch()


def _train_validation_split(arrays: Any, validation_split: float) -> Any:
    """The first rows, and the last ones, which validate."""
    if isinstance(arrays[0], (Loader, ItemLoader, Dataset)):
        _refuse("validation_split", validation_split, "data.split() before fit()")
    if not has_matrix(*arrays):
        return _original_split(arrays, validation_split=validation_split)
    data = dataset_of(*arrays)
    first = math.floor(len(data) * (1.0 - validation_split))
    if not 0 < first < len(data):
        raise OptionError(
            f"validation_split={validation_split} of {len(data)} rows leaves nothing to "
            f"{'train on' if not first else 'validate'}."
        )
    return tuple((part, None, None) for part in data.split(first))


def _check_distribution() -> None:
    """Each process would get all rows, where Keras was told to share them out."""
    distribution = keras.distribution.distribution()
    if getattr(distribution, "_is_multi_process", False) and getattr(
        distribution, "auto_shard_dataset", False
    ):
        raise OptionError(
            "The distribution runs in several processes with auto_shard_dataset=True, and a "
            "Penstock loader is not shared out by Keras. Give each process its own part of the "
            "data, and set distribution.auto_shard_dataset = False."
        )


def _refuse(argument: str, value: Any, instead: str) -> None:
    if value is not None:
        raise OptionError(
            f"{argument}= was given beside a Penstock loader, which brings its own. "
            f"Leave it out and use {instead}."
        )


def _fit_frame(frame: FrameType | None) -> FrameType | None:
    """The running call of `fit` that asks for an adapter, if it is one.

    Its local names are the one place where `initial_epoch` and `validation_split` can be seen.
    """
    for _ in range(4):  # through the iterator's constructors and Keras's wrappers
        if frame is None:
            return None
        if frame.f_code.co_name in ("evaluate", "predict"):
            return None
        if frame.f_code.co_name == "fit" and "validation_data" in frame.f_locals:
            return frame
        frame = frame.f_back
    return None


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
            epochs = None if self._endless else self._epochs
            stream = self._loader.stream(epochs=epochs, finish=self._finish, ahead=ahead)
            self._batches_so_far = stream
        self._epochs = max(self._epochs - 1, 1)
        return stream

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

        signature = map_structure(
            lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), self._probe()
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
