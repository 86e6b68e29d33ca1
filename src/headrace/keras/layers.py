"""Keras layers made from known means, variances and ranges, without `adapt`."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def normalization(mean: Array, variance: Array, *, scalar: bool) -> keras.layers.Normalization:
    """A layer that needs no `adapt`.

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
