"""Connects loaders to Keras: wraps `get_data_adapter`, checks arguments of `fit`.

On every backend Keras calls one function, `get_data_adapter`, with the data arguments of `fit`,
`evaluate` or `predict`. `connect` wraps it, so that Headrace alone decides order and prefetching,
and an argument that Headrace cannot honour raises an error instead of being ignored. `internals`
checks whether the installed Keras has the functions that the wrapper needs. If it does not,
loaders still work as plain `PyDataset`s, with a warning.
"""

import math
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from headrace import dataset as datasets
from headrace import sequence
from headrace.dataset import Dataset
from headrace.errors import MemoryBudgetError, OptionError
from headrace.keras import internals as internals
from headrace.keras.adapter import LoaderAdapter
from headrace.loading import ItemLoader, Loader
from headrace.matrix import dataset_of, has_matrix
from headrace.resources import check_memory, default_memory, drawn_seed

FEW_BYTES = 1 << 26
"""The least memory budget for a data set that was passed to Keras without `batch()`."""


class KerasLoader(Loader, keras.utils.PyDataset):
    """A loader that is a `keras.utils.PyDataset` as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        keras.utils.PyDataset.__init__(self)
        Loader.__init__(self, *args, **kwargs)


class KerasItemLoader(ItemLoader, keras.utils.PyDataset):
    """An `ItemLoader` that is a `keras.utils.PyDataset` as well."""

    def __init__(self, items: Any, **options: Any) -> None:
        keras.utils.PyDataset.__init__(self)
        ItemLoader.__init__(self, items, **options)


def connect() -> None:
    """Makes Keras accept loaders; may be called repeatedly."""
    datasets.new_loader = KerasLoader
    sequence.new_item_loader = KerasItemLoader
    basic, single = internals.differences(LoaderAdapter)
    if basic:
        _warn(f"{'; '.join(basic)}. {internals.PLAIN}")
    elif internals.data_adapters.get_data_adapter is internals.get_data_adapter:
        internals.data_adapters.get_data_adapter = _get_data_adapter
    for difference in single:
        _warn(f"{difference}. Everything else works.")
    if internals.train_validation_split is not None and internals.array_slicing is not None:
        internals.array_slicing.train_validation_split = _train_validation_split


def _warn(text: str) -> None:
    warnings.warn(
        f"Keras {keras.__version__} {text} A newer Headrace may know this Keras.", stacklevel=3
    )


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
    call = internals.running_call(sys._getframe(1))
    if not isinstance(x, (Loader, ItemLoader)):
        if not _is_dataset_or_matrix(x, y, sample_weight):
            return internals.get_data_adapter(
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
        _refuse("validation_split", call.validation_split or None, "data.split() before batch()")
    for name, value in others.items():
        _refuse(name, value, "what batch() takes")
    # While validating, batch_size= may be meant for training arrays.
    if batch_size not in (None, x.batch_size) and not call.validating:
        have = f"have {x.batch_size} rows" if x.batch_size else "are made by your object"
        where = "from_sequence()" if isinstance(x, ItemLoader) else "batch()"
        raise OptionError(
            f"batch_size={batch_size} was given with a loader whose batches {have}. Leave it out: "
            f"the batch size is set in {where}."
        )
    _check_steps(steps_per_epoch)
    _check_distribution()
    # evaluate, predict and validation need row order. If the caller is unknown, shuffle= tells
    # whether it is fit.
    if call.validating or (call.name != "fit" and not shuffle):
        return LoaderAdapter(x, False, class_weight, call=call)
    if not shuffle and x.shuffle is not False:
        raise OptionError(
            f"fit(shuffle=False) was given with a loader made with shuffle={x.shuffle!r}. "
            "Set the order in batch()."
        )
    # Like Keras, treat 0 (n // batch_size for a small n) as "not given".
    return LoaderAdapter(x, True, class_weight, steps_per_epoch or None, call=call)


def _check_steps(steps: Any) -> None:
    if steps is None:
        return
    if not isinstance(steps, (int, np.integer)):
        raise OptionError(
            f"Expected steps_per_epoch to be an integer. Received: {steps!r}. Round it "
            "up with math.ceil(), or leave it out: a loader knows its length."
        )
    if steps < 0:
        raise OptionError(f"Expected a number of steps, or None for all batches. Received: {steps}")


def _is_dataset_or_matrix(x: Any, y: Any, sample_weight: Any) -> bool:
    """Whether x is a `Dataset`, or x, y or sample_weight holds an `HDF5Matrix`."""
    return isinstance(x, Dataset) or has_matrix(x, y, sample_weight)


def _loader_of(
    x: Any, y: Any, sample_weight: Any, batch_size: int | None, shuffle: bool | str
) -> Loader:
    """A loader for data passed to Keras in place of arrays; `batch_size` is 32 by default."""
    if isinstance(x, Dataset):
        _refuse("y", y, "y= of from_hdf5() and the like")
        _refuse("sample_weight", sample_weight, "sample_weight= of from_hdf5() and the like")
    data = x if isinstance(x, Dataset) else dataset_of(x, y, sample_weight)
    if batch_size is None:
        batch_size = 32
    if not isinstance(shuffle, str):
        shuffle = bool(shuffle)  # as Keras interprets it
    batch = partial(data.batch, batch_size, shuffle=shuffle, seed=drawn_seed())
    # Half of the data at most: a user who passes a data set does not expect it all in memory.
    share = max(data.nbytes // 2, FEW_BYTES)
    try:
        return batch(memory=min(share, default_memory()))
    except MemoryBudgetError as error:
        least = error.least or 0
        check_memory(least, "Reading these rows in batches", "Pack them in smaller chunks first.")
        return batch(memory=max(least, default_memory()))


def _train_validation_split(arrays: Any, validation_split: float) -> Any:
    """Keras's train_validation_split for HDF5Matrix: the last rows validate."""
    if isinstance(arrays[0], (Loader, ItemLoader, Dataset)):
        _refuse("validation_split", validation_split, "data.split() before fit()")
    if not has_matrix(*arrays):
        return internals.train_validation_split(arrays, validation_split=validation_split)
    data = dataset_of(*arrays)
    first = math.floor(len(data) * (1.0 - validation_split))
    if not 0 < first < len(data):
        raise OptionError(
            f"validation_split={validation_split} of {len(data)} rows leaves nothing to "
            f"{'train on' if not first else 'validate'}."
        )
    return tuple((part, None, None) for part in data.split(first))


def _check_distribution() -> None:
    """Refuses distributions in which each process would get all rows instead of its share."""
    if internals.shards_data_itself(keras.distribution.distribution()):
        raise OptionError(
            "The distribution runs in several processes with auto_shard_dataset=True, and Keras "
            "does not shard a Headrace loader. Give each process its own part of the "
            "data, and set distribution.auto_shard_dataset = False."
        )


def _refuse(argument: str, value: Any, instead: str) -> None:
    if value is not None:
        raise OptionError(
            f"{argument}= was given with a Headrace loader, which sets it itself. "
            f"Leave it out and use {instead}."
        )
