"""A Keras callback that stops the loader's clock at the end of an epoch."""

import weakref
from collections.abc import Callable
from typing import Any

import keras


class EpochEndCallback(keras.callbacks.Callback):
    """Calls a function when the model has finished an epoch.

    JAX computes asynchronously: it takes batches faster than it trains on them. Keras waits for
    the results of an epoch before it calls the hooks below.

    Args:
        training: Whether the call is `fit`; otherwise it is `evaluate` or `predict`.
        stop: A weak reference to the method to call at the end of an epoch.
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
        """Within `fit`, validation begins: training of this epoch has ended."""
        if self._training:
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - the protocol's
        """The epoch has ended; without effect if validation has stopped the clock already."""
        if self._training:
            self._stop()

    def on_test_end(self, logs: Any = None) -> None:  # noqa: ARG002 - the protocol's
        """Evaluation has ended."""
        if not self._training:
            self._stop()

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Keeps the outputs of the last batch, for `on_predict_end`."""
        self._outputs = logs

    def on_predict_end(self, logs: Any = None) -> None:  # noqa: ARG002 - the protocol's
        """Waits until JAX has computed the last outputs: prediction ends only then."""
        if keras.backend.backend() == "jax":
            import jax

            jax.block_until_ready(self._outputs)  # type: ignore[no-untyped-call]
        self._outputs = None
        self._stop()
