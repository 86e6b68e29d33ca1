"""Keras preprocessing layers: sets the state that `adapt` computes, makes layers."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from headrace.errors import OptionError, ShapeError
from headrace.keras import internals as internals
from headrace.spec import Field

Array = npt.NDArray[Any]

_KINDS: dict[str, tuple[type, ...]] = {
    "Normalization": (layers.Normalization,),
    "Discretization": (layers.Discretization,),
    "lookup": (layers.StringLookup, layers.IntegerLookup, layers.TextVectorization),
}


def kind_of(layer: Any) -> str:
    """The kind of layer: "Normalization", "Discretization" or "lookup".

    Raises:
        OptionError: If the layer has no adapt(), or its kind is not supported.
    """
    for kind, classes in _KINDS.items():
        if isinstance(layer, classes):
            return kind
    known = ", ".join(one.__name__ for classes in _KINDS.values() for one in classes)
    if isinstance(layer, type):
        raise OptionError(f"Expected adapt() with a layer. Received the class {layer.__name__}.")
    raise OptionError(
        f"Expected adapt() with a layer that learns from data before training: {known}. "
        f"Received: {type(layer).__name__}"
    )


def kept_axes(layer: keras.layers.Normalization, field: Field) -> tuple[int, ...]:
    """The axes of a sample, ascending, along which the layer has one mean for each index.

    Builds the layer if it is not built.

    Raises:
        OptionError: If the layer was given its mean, or keeps axes that samples do not have.
        ShapeError: If the layer was built for samples of another shape.
    """
    if layer.input_mean is not None:
        raise OptionError(
            "This Normalization layer was given mean= and variance=, so it has nothing to learn."
        )
    ndim = len(field.shape) + 1
    if any(not -ndim <= axis < ndim for axis in layer.axis):
        raise OptionError(
            f"Normalization(axis={layer.axis}) keeps axes that batches of field {field} do not "
            f"have: they have {ndim} axes."
        )
    kept = sorted({axis % ndim for axis in layer.axis})
    if 0 in kept:
        raise OptionError(
            f"Normalization(axis={layer.axis}) would keep a mean for each sample of field {field}. "
            "Use axis=None for samples that are single numbers."
        )
    if not layer.built:
        layer.build((None, *field.shape))
    sizes = tuple(field.shape[axis - 1] for axis in kept)
    if sizes != tuple(layer.adapt_mean.shape):
        raise ShapeError(
            f"The Normalization layer was built for {tuple(layer.adapt_mean.shape)} means, and "
            f"field {field} has {sizes} along the axes that it keeps."
        )
    return tuple(axis - 1 for axis in kept)


def set_moments(layer: keras.layers.Normalization, mean: Array, variance: Array) -> None:
    """Sets the mean and variance of a built layer."""
    for variable, values in ((layer.adapt_mean, mean), (layer.adapt_variance, variance)):
        variable.assign(values.astype(variable.dtype).reshape(variable.shape))
    layer.finalize_state()


def ranks_of(layer: keras.layers.Discretization, count: int) -> tuple[range, float]:
    """The ranks, from 0, that the layer would pick from an array of `count` sorted values.

    Returns:
        The ranks, and the number of values that each rank represents.

    Raises:
        OptionError: If the layer was given its bins, or this version of Keras is not supported.
    """
    if layer.num_bins is None:
        raise OptionError(
            "This Discretization layer was given bin_boundaries=, so it has nothing to learn. "
            "Make it with num_bins=."
        )
    if internals.merge_summaries is None:
        raise OptionError(
            f"Keras {keras.__version__} computes bins in a way that Headrace does not support. Use "
            "Discretization(bin_boundaries=...) with quantiles from stats()."
        )
    # The same operations in the same order as `summarize` of keras.layers.Discretization, so that
    # rounding gives the same ranks.
    step = max(count / (1.0 / layer.epsilon), 1)
    return range(int(step - 1), count, int(step)), step


def set_bins(layer: keras.layers.Discretization, values: Array, weight: float) -> None:
    """Sets the layer's summary to the values at the ranks of `ranks_of`, and computes its bins."""
    layer.reset_state()
    summary = np.stack([values, np.ones_like(values) * weight])
    layer.summary = internals.merge_summaries(summary, layer.summary, layer.epsilon)
    layer.finalize_state()


def feed(layer: Any, pieces: Iterable[Array], field: Field) -> None:
    """Adapts a lookup layer to the values of all pieces.

    Raises:
        OptionError: If the layer cannot learn from this dtype, or was given its vocabulary.
    """

    def documents() -> Iterator[Array]:
        for piece in pieces:
            # Each single value is a document, as when adapt() gets an array of all rows.
            yield piece[:, None] if piece.ndim == 1 else piece

    wanted = "iub" if isinstance(layer, layers.IntegerLookup) else "SU"
    if field.dtype.kind not in wanted:
        kind = "integers" if wanted == "iub" else "text"
        raise OptionError(f"{type(layer).__name__} learns from {kind}. Received: {field}")
    try:
        layer.adapt(documents())
    except ValueError as error:
        raise OptionError(
            f"Keras cannot adapt {type(layer).__name__} to {field}: {error}"
        ) from error


def normalization(mean: Array, variance: Array, *, scalar: bool) -> keras.layers.Normalization:
    """A Normalization layer with known mean and variance.

    Args:
        mean: The mean for each index of the last axis, `(channels,)`.
        variance: The variance, likewise.
        scalar: Whether samples are single numbers, so that batches have shape `(batch,)` or
            `(batch, 1)`.
    """
    if scalar:
        return keras.layers.Normalization(
            axis=None, mean=float(mean[0]), variance=float(variance[0])
        )
    # float32 is the dtype in which `adapt` stores them.
    return keras.layers.Normalization(
        axis=-1, mean=mean.astype(np.float32), variance=variance.astype(np.float32)
    )


def rescaling(scale: float, offset: float) -> keras.layers.Rescaling:
    """A layer that computes `x * scale + offset`."""
    return keras.layers.Rescaling(scale, offset)
