"""The baseline model of `headrace fit`, chosen from the fields' shapes and dtypes.

Images get a small convolutional network, vectors a multilayer perceptron. The model
contains everything that was measured on the data (mean, variance, number of classes), so a
saved model takes raw samples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import keras
import numpy as np
from keras import layers

from headrace.dataset import Dataset
from headrace.errors import DataError, OptionError
from headrace.spec import Field, leaves
from headrace.statistics.accumulate import column_moments
from headrace.statistics.distinct import one_hot
from headrace.statistics.moments import Moments

SAMPLE_ROWS = 10_000
SAMPLE_BYTES = 2**25
SAMPLE_RUNS = 32
PIECE_BYTES = 2**20
MAX_CLASSES = 100_000
OWN_MODEL = "pass a model of your own (--model)"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Target:
    """The output layer, loss and metric for a target field.

    Attributes:
        units: Width of the last layer.
        activation: Activation of the last layer.
        loss: Name of the Keras loss.
        metric: Name of the Keras metric.
        scale: Factors from the last layer's output to the target's units, (units,).
        offset: Offsets that are added after scaling, (units,).
    """

    units: int
    activation: str
    loss: str
    metric: str
    scale: list[float] | None = None
    offset: list[float] | None = None


def build(
    data: Dataset, *, validation: Dataset | None = None, sample_rows: int = SAMPLE_ROWS
) -> keras.Model:
    """A compiled model for the samples of `data`.

    - x of shape `(height, width, channels)`, `(channels, height, width)` with 1, 3 or 4
      channels, or `(height, width)`: a convolutional network, with the pixels brought to
      zero mean and unit variance inside the model.
    - x of shape `(features,)` or `()`: a multilayer perceptron, with each feature brought
      to zero mean and unit variance; missing values (NaN) count as the mean.
    - Integer or boolean y of shape `()` or `(1,)`: classification; the classes are 0 to the
      largest label in the data.
    - y of shape `(classes,)` that is one-hot: classification.
    - Float y of shape `()` or `(outputs,)`: regression, by mean squared error.

    Args:
        data: The training data, with one x field and one y field.
        validation: Further samples whose labels are included in the number of classes.
        sample_rows: Rows from which mean and variance of x are taken, spread evenly over
            `data`; fewer where samples are large.

    Returns:
        A compiled `keras.Model` with new weights.

    Raises:
        OptionError: If no baseline fits these fields.
        DataError: If the labels or targets cannot be used: negative labels, only one class,
            far more classes than samples could teach, NaN.

    Example:

    ```python
    model = build(train, validation=val)
    model.fit(train.batch(32), validation_data=val.batch(256))
    ```
    """
    x, y = _fields(data)
    target = _target([data] if validation is None else [data, validation], y)
    inputs = keras.Input(x.shape, dtype="uint8" if x.dtype == np.uint8 else "float32", name="x")
    sample = _sample(data, x, sample_rows)
    features = (_image_features if len(x.shape) >= 2 else _vector_features)(inputs, x, sample)
    outputs = layers.Dense(target.units, activation=target.activation)(features)
    if target.scale is not None:
        outputs = layers.Rescaling(target.scale, target.offset)(outputs)
    model = keras.Model(inputs, outputs, name="baseline")
    model.compile(optimizer="adam", loss=target.loss, metrics=[target.metric])
    return model


def _fields(data: Dataset) -> tuple[Field, Field]:
    """The x field and the y field; raises `OptionError` if no baseline fits them."""
    for part, names in (("x", leaves(data.spec.x)), ("y", leaves(data.spec.y))):
        if len(names) != 1:
            raise OptionError(
                f"The baseline model takes one {part} field. Received: {len(names)} "
                f"({', '.join(names) or 'none'}). Choose one, or {OWN_MODEL}."
            )
    x, y = data.spec[leaves(data.spec.x)[0]], data.spec[leaves(data.spec.y)[0]]
    if x.dtype.kind not in "buif" or len(x.shape) > 3 or 0 in x.shape:
        raise OptionError(
            "The baseline model takes images of shape (height, width) or (height, width, "
            f"channels), or vectors, of numbers. Received: x={x}. For anything else {OWN_MODEL}."
        )
    if y.dtype.kind not in "buif" or len(y.shape) > 1 or 0 in y.shape:
        raise OptionError(
            "The baseline model learns a class or numbers for each sample. "
            f"Received: y={y}. For anything else {OWN_MODEL}."
        )
    return x, y


def _image_features(
    inputs: keras.KerasTensor, field: Field, sample: Iterator[Array]
) -> keras.KerasTensor:
    """Strided convolutions down to a side of 8 pixels or fewer, and one dense layer."""
    tensor, shape = inputs, field.shape
    if len(shape) == 2:
        shape = (*shape, 1)
        tensor = layers.Reshape(shape)(tensor)
    elif shape[0] in (1, 3, 4) and shape[2] not in (1, 2, 3, 4):
        shape = (*shape[1:], shape[0])
        tensor = layers.Permute((2, 3, 1))(tensor)
    # One mean and variance for all pixels: scaling a constant pixel by itself would amplify noise.
    pixels = (piece.reshape(-1, 1) for piece in sample)
    mean, variance = (value.item() for value in mean_and_variance(pixels))
    deviation = math.sqrt(variance) or 1.0
    tensor = layers.Rescaling(1 / deviation, offset=-mean / deviation)(tensor)
    if field.dtype.kind == "f":
        tensor = keras.ops.nan_to_num(tensor, posinf=0.0, neginf=0.0)
    halvings = max(1, math.ceil(math.log2(max(shape[:2]) / 8)))
    for i, strides in enumerate([2] * halvings if halvings > 1 else [1, 2]):
        tensor = layers.Conv2D(
            min(16 * 2**i, 128),
            3,
            strides=strides,
            padding="same",
            activation="relu",
            data_format="channels_last",
        )(tensor)
    tensor = layers.Flatten(data_format="channels_last")(tensor)
    tensor = layers.Dense(64, activation="relu")(tensor)
    return layers.Dropout(0.25)(tensor)


def _vector_features(
    inputs: keras.KerasTensor, field: Field, sample: Iterator[Array]
) -> keras.KerasTensor:
    """Two dense layers on normalised features."""
    tensor = inputs if field.shape else layers.Reshape((1,))(inputs)
    mean, variance = mean_and_variance(sample)
    tensor = layers.Normalization(mean=mean, variance=_divisible(mean, variance))(tensor)
    tensor = keras.ops.nan_to_num(tensor, posinf=0.0, neginf=0.0)
    for _ in range(2):
        tensor = layers.Dense(128, activation="relu")(tensor)
    return tensor


def _target(parts: list[Dataset], y: Field) -> Target:
    """The target of the model, from all values of y in `parts`."""
    pieces = (piece for data in parts for piece in _pieces(data, y))
    if len(y.shape) == 1 and y.shape[0] > 1:
        if all(one_hot(piece) is not None for piece in pieces):
            return Target(y.shape[0], "softmax", "categorical_crossentropy", "accuracy")
        if y.dtype.kind != "f":
            raise DataError(
                f"Field {y.name!r} has {y.shape[0]} integers for each sample that are not one-hot "
                "(a single 1 among zeros). Store class numbers, one-hot rows, or floats for "
                f"regression, or {OWN_MODEL}."
            )
    elif y.dtype.kind != "f":
        return Target(
            _count_classes(pieces, y), "softmax", "sparse_categorical_crossentropy", "accuracy"
        )
    pieces = (piece for data in parts for piece in _pieces(data, y))
    mean, variance = mean_and_variance(_finite(pieces, y))
    scale = np.sqrt(_divisible(mean, variance))
    return Target(len(mean), "linear", "mse", "mae", scale.tolist(), mean.tolist())


def _count_classes(pieces: Iterator[Array], y: Field) -> int:
    """The number of classes 0..K-1 in integer labels."""
    lowest, highest, count = 0, 0, 0
    for piece in pieces:
        lowest = min(lowest, int(piece.min()))
        highest = max(highest, int(piece.max()))
        count += len(piece)
    if lowest < 0:
        raise DataError(
            f"The labels in field {y.name!r} go down to {lowest}; classes are numbered 0, 1, 2 ... "
            f"Store them so, store floats for regression, or {OWN_MODEL}."
        )
    classes = highest + 1
    if classes == 1:
        raise DataError(
            f"Every label in field {y.name!r} is 0: there is nothing to learn. Choose another "
            f"field or other rows, or {OWN_MODEL}."
        )
    if classes > MAX_CLASSES or classes > max(1000, count):
        raise DataError(
            f"The labels in field {y.name!r} go up to {highest:,} over {count:,} samples, too many "
            "to be classes. Number the classes 0, 1, 2 ..., store floats for regression, "
            f"or {OWN_MODEL}."
        )
    return classes


def _finite(pieces: Iterator[Array], y: Field) -> Iterator[Array]:
    """Passes pieces through; raises `DataError` at the first target that is NaN or infinite."""
    for piece in pieces:
        missing = int((~np.isfinite(piece)).sum())
        if missing:
            raise DataError(
                f"Field {y.name!r} holds targets that are NaN or infinite ({missing} among the "
                f"first ones read). Leave those samples out, or {OWN_MODEL}."
            )
        yield piece


def _divisible(mean: Array, variance: Array) -> Array:
    """The variance, with 1 in place of a variance that is only rounding error."""
    return np.where(variance > (1e-6 * np.abs(mean)) ** 2, variance, 1.0)


def mean_and_variance(pieces: Iterator[Array]) -> tuple[Array, Array]:
    """Mean and variance of each element of a sample over all rows, in float64, `(elements,)`.

    Values that are not finite are left out; an element without any finite value gets mean 0 and
    variance 0.

    Args:
        pieces: Arrays `(rows, ...)` of samples of one shape.
    """
    columns = (np.ascontiguousarray(piece.reshape(len(piece), -1).T) for piece in pieces)
    found = reduce(Moments.merged, map(column_moments, columns))
    return found.mean + found.rest, found.squares / np.maximum(found.count, 1)


def _sample(data: Dataset, field: Field, rows: int) -> Iterator[Array]:
    """Consecutive rows of one field, taken at places spread evenly over the data."""
    most = max(1, min(rows, SAMPLE_BYTES // field.nbytes))
    if most >= len(data):
        yield from _pieces(data, field)
        return
    runs = min(SAMPLE_RUNS, most)
    length = most // runs
    for start in np.linspace(0, len(data) - length, runs).astype(int).tolist():
        yield from _pieces(data, field, start, start + length)


def _pieces(
    data: Dataset, field: Field, start: int = 0, stop: int | None = None
) -> Iterator[Array]:
    """The rows of one field in pieces of a megabyte."""
    column = data.only(field.name)
    rows = max(1, PIECE_BYTES // field.nbytes)
    stop = len(data) if stop is None else stop
    for begin in range(start, stop, rows):
        yield column[begin : min(begin + rows, stop)][0]
