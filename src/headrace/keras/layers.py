"""Keras preprocessing layers: set what `adapt` would learn, and make layers from known numbers."""

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
    """The axes of a sample that have a mean for each index, ascending; builds the layer if need be.

    Raises:
        OptionError: If the layer has its mean already, or keeps axes that samples do not have.
        ShapeError: If it was built for samples of another shape.
    """
    if layer.input_mean is not None:
        raise OptionError(
            "This Normalization layer was given mean= and variance=, so it has nothing to learn."
        )
    ndim = len(field.shape) + 1
    if any(not -ndim <= axis < ndim for axis in layer.axis):
        raise OptionError(
            f"Normalization(axis={layer.axis}) keeps axes that batches of field {field} do not "
            f"have: those have {ndim}."
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
    """Sets mean and variance of a built layer."""
    for variable, values in ((layer.adapt_mean, mean), (layer.adapt_variance, variance)):
        variable.assign(values.astype(variable.dtype).reshape(variable.shape))
    layer.finalize_state()


def ranks_of(layer: keras.layers.Discretization, count: int) -> tuple[range, float]:
    """The ranks, from 0, that the layer would pick from an array of `count` sorted values.

    Returns:
        The ranks, and how many values each stands for.

    Raises:
        OptionError: If the layer has its bins already.
    """
    if layer.num_bins is None:
        raise OptionError(
            "This Discretization layer was given bin_boundaries=, so it has nothing to learn. "
            "Make it with num_bins=."
        )
    if internals.merge_summaries is None:
        raise OptionError(
            f"Keras {keras.__version__} computes bins in a way that Headrace does not support. Use "
            "Discretization(bin_boundaries=...) with quantiles that stats() found."
        )
    # As in `summarize` of keras.layers.Discretization, step by step: rounding decides on ranks.
    step = max(count / (1.0 / layer.epsilon), 1)
    return range(int(step - 1), count, int(step)), step


def set_bins(layer: keras.layers.Discretization, values: Array, weight: float) -> None:
    """Gives the layer the values at the ranks that it would pick, and makes it compute its bins."""
    layer.reset_state()
    summary = np.stack([values, np.ones_like(values) * weight])
    layer.summary = internals.merge_summaries(summary, layer.summary, layer.epsilon)
    layer.finalize_state()


def feed(layer: Any, pieces: Iterable[Array], field: Field) -> None:
    """Lets the layer count the values of all pieces.

    Raises:
        OptionError: If it cannot learn from them, or has its vocabulary already.
    """

    def documents() -> Iterator[Array]:
        for piece in pieces:
            # Of single values, each is a document, as in an array of all rows.
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
        mean: Of each index of the last axis, `(channels,)`.
        variance: Likewise.
        scalar: Whether samples are single numbers, of which Keras may see batches of shape
            `(batch,)` or `(batch, 1)`.
    """
    if scalar:
        return keras.layers.Normalization(
            axis=None, mean=float(mean[0]), variance=float(variance[0])
        )
    # As float32, the type in which `adapt` keeps them.
    return keras.layers.Normalization(
        axis=-1, mean=mean.astype(np.float32), variance=variance.astype(np.float32)
    )


def rescaling(scale: float, offset: float) -> keras.layers.Rescaling:
    """A layer that gives `x * scale + offset`."""
    return keras.layers.Rescaling(scale, offset)
