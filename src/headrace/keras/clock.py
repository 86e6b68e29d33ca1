"""Measures when batches have been computed with, which is later than when they are requested."""

import weakref
from collections.abc import Callable
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Says when an epoch has ended for the model.

    JAX computes in the background: batches are taken faster than they are trained on. Keras has
    waited for the results of an epoch before it calls the hooks below.

    Args:
        training: Whether the epoch is one of `fit`, or of `evaluate` and `predict`.
        stop: A weak reference to what is called at its end.
    """

    def __init__(self, training: bool, stop: "weakref.WeakMethod[Callable[[], None]]") -> None:
        super().__init__()
        self._training = training
        self._end = stop
        self._outputs: Any = None

    def _stop(self) -> None:
        stop = self._end()
        if stop is not None:
            stop()

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - the protocol's
        """Validation begins where training has ended."""
        if self._training:
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - the protocol's
        """Training has ended, unless validation came in between."""
        if self._training:
            self._stop()

    def on_test_end(self, logs: Any = None) -> None:  # noqa: ARG002 - the protocol's
        """Evaluation has ended."""
        if not self._training:
            self._stop()

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Keeps the outputs that are computed last."""
        self._outputs = logs

    def on_predict_end(self, logs: Any = None) -> None:  # noqa: ARG002 - the protocol's
        """Prediction has ended once its last outputs are there."""
        if keras.backend.backend() == "jax":
            import jax

            jax.block_until_ready(self._outputs)  # type: ignore[no-untyped-call]
        self._outputs = None
        self._stop()
