"""Private parts of Keras that Headrace uses, and checks that they exist.

None of these is public API, so any release of Keras may change them. `differences` compares them
with the imported Keras. If a release has moved one, the user gets a warning that names the features
that still work, and never silently different behaviour.
"""

import inspect
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras

__all__ = [
    "Call",
    "DataAdapter",
    "PartialBatchList",
    "add_callback",
    "array_slicing",
    "data_adapters",
    "differences",
    "draws_ahead_on",
    "get_data_adapter",
    "learns_from_y",
    "merge_summaries",
    "restored_epoch",
    "running_call",
    "shards_data_itself",
    "train_validation_split",
]

try:
    from keras.src.trainers import data_adapters
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter
except (ImportError, AttributeError):
    data_adapters = None
    DataAdapter = object

try:
    from keras.src.layers.preprocessing.discretization import merge_summaries
except (ImportError, AttributeError):
    merge_summaries = None

try:
    from keras.src.trainers.data_adapters import array_slicing
except (ImportError, AttributeError):
    array_slicing = None

try:
    from keras.src.trainers.data_adapters.data_adapter_utils import PartialBatchList
except (ImportError, AttributeError):
    PartialBatchList = list  # Keras before 3.16 never asks for several batches in one array

get_data_adapter: Any = getattr(data_adapters, "get_data_adapter", None)
train_validation_split: Any = getattr(array_slicing, "train_validation_split", None)
"""Keras's own functions, before Headrace wraps them."""

ADAPTER_ARGUMENTS = {
    "x",
    "y",
    "sample_weight",
    "batch_size",
    "steps_per_epoch",
    "shuffle",
    "class_weight",
}
"""The arguments with which Keras calls `get_data_adapter`."""

FIT_NAMES = {
    "self",
    "epochs",
    "initial_epoch",
    "validation_data",
    "validation_split",
    "epoch_iterator",
    "callbacks",
}
"""Local variables of `fit` that are read. `fit` sets `epoch_iterator` after it has made the adapter
for the training data, so any later adapter is for validation."""

PLAIN = (
    "Loaders work as a plain PyDataset: fit() trains on every row, and Keras draws the order of "
    "batches; evaluate(), predict() and validation_data= need loaders made with shuffle=False; "
    "class_weight=, validation_split= and the position of a resumed run are not checked."
)


def differences(adapter: type) -> tuple[list[str], list[str]]:
    """Compares the imported Keras with the versions that Headrace supports.

    Args:
        adapter: The class of data adapter that trainers will get.

    Returns:
        The differences that make `adapter` unusable, and the differences that each break a single
        feature. Each is a predicate that follows "Keras 3.x" in a warning.
    """
    basic, single = [], []
    if data_adapters is None or get_data_adapter is None or DataAdapter is object:
        basic.append("has moved get_data_adapter()")
    elif missing := ADAPTER_ARGUMENTS - set(inspect.signature(get_data_adapter).parameters):
        basic.append(f"calls get_data_adapter() without {', '.join(sorted(missing))}")
    basic += _unknown_arguments(adapter)
    if missing := FIT_NAMES - _local_names(keras.Model.fit):
        basic.append(f"has no {', '.join(sorted(missing))} in fit()")
    if train_validation_split is None:
        single.append(
            "has moved train_validation_split(): fit(validation_split=) with an HDF5Matrix reads "
            "the whole matrix into memory"
        )
    if not isinstance(getattr(keras.callbacks.CallbackList(), "callbacks", None), list):
        single.append(
            "has moved the list of callbacks: the times in report() end when the last batch is "
            "handed out, although JAX is still computing"
        )
    if merge_summaries is None:
        single.append("has moved merge_summaries(): adapt() does not accept a Discretization layer")
    if "_initial_epoch" not in _names_used(keras.Model.fit):
        single.append(
            "has moved the epoch that BackupAndRestore restores: after a restart, give "
            "fit(initial_epoch=)"
        )
    return basic, single


def _unknown_arguments(adapter: type) -> list[str]:
    """Arguments that trainers pass to methods of a data adapter and `adapter` does not take."""
    found = []
    for name, method in inspect.getmembers(DataAdapter, inspect.isfunction):
        if not name.startswith("get_"):
            continue
        wanted = set(inspect.signature(method).parameters)
        if unknown := wanted - set(inspect.signature(getattr(adapter, name)).parameters):
            found.append(f"calls {name}() with {', '.join(sorted(unknown))}")
    return found


def _local_names(function: Any) -> set[str]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return set() if code is None else {*code.co_varnames, *code.co_cellvars}


def _names_used(function: Any) -> set[str]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return set() if code is None else set(code.co_names)


@dataclass(frozen=True)
class Call:
    """A running call of `fit`, `evaluate` or `predict`.

    Attributes:
        name: "fit", "evaluate" or "predict"; empty if the caller is unknown.
        model: The model whose method was called; None if unknown.
        validating: Whether `fit` asks for an adapter for its validation data.
        epochs: From `fit`.
        initial_epoch: From `fit`.
        validation_split: From `fit`.
    """

    name: str = ""
    model: Any = None
    validating: bool = False
    epochs: int = 1
    initial_epoch: int = 0
    validation_split: float | None = None


def running_call(frame: FrameType | None) -> Call:
    """The call that asks for an adapter, found from the local variables of its frame."""
    frame = _method(frame)
    if frame is None:
        return Call()
    names = frame.f_locals
    if frame.f_code.co_name != "fit":
        return Call(frame.f_code.co_name, names.get("self"))
    return Call(
        "fit",
        names["self"],
        validating="epoch_iterator" in names,
        epochs=names["epochs"],
        initial_epoch=names["initial_epoch"],
        validation_split=names["validation_split"],
    )


def add_callback(frame: FrameType | None, callback: keras.callbacks.Callback) -> None:
    """Adds a callback to the running call; works once its first epoch has begun."""
    frame = _method(frame)
    callbacks = None if frame is None else frame.f_locals.get("callbacks")
    found = getattr(callbacks, "callbacks", None)
    if isinstance(callbacks, keras.callbacks.CallbackList) and isinstance(found, list):
        found.append(callback)


def draws_ahead_on(device: str) -> bool:
    """Whether the JAX trainer draws the next batch before it trains on one, on this device type."""
    if device == "cpu":
        return False
    always = "super_batch" in inspect.signature(DataAdapter.get_jax_iterator).parameters
    return always or keras.distribution.distribution() is None


def learns_from_y(call: Call) -> bool:
    """Whether the call compares what the model predicts with y, as Keras's own steps do."""
    step = {"fit": "train_step", "evaluate": "test_step"}.get(call.name)
    if step is None or getattr(call.model, "loss", None) is None:
        return False
    return all(
        getattr(type(call.model), name, None) is getattr(keras.Model, name, None)
        for name in (step, "compute_loss")
    )


def _method(frame: FrameType | None) -> FrameType | None:
    for _ in range(4):  # through the iterator's constructors and Keras's wrappers
        if frame is None:
            return None
        name = frame.f_code.co_name
        if name in ("evaluate", "predict") or (
            name == "fit" and "validation_data" in frame.f_locals
        ):
            return frame
        frame = frame.f_back
    return None


def restored_epoch(model: Any) -> int:
    """The first epoch as set by a callback such as `BackupAndRestore`; 0 if none set it."""
    return getattr(model, "_initial_epoch", None) or 0


def shards_data_itself(distribution: Any) -> bool:
    """Whether Keras expects the same data set in all processes, and shards it itself."""
    return bool(
        getattr(distribution, "_is_multi_process", False)
        and getattr(distribution, "auto_shard_dataset", False)
    )
