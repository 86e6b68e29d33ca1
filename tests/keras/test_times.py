"""What `report()` says of time: until the last batch was computed with, not handed out."""

import time

import keras
import numpy as np
import pytest

import headrace as hr
from tests.keras.helpers import small_model

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


class Slow(keras.callbacks.Callback):
    """Takes its time after the last batch of each epoch, and in validation."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 6:
            time.sleep(0.2)

    def on_test_batch_end(self, batch, logs=None):
        time.sleep(0.1)


def test_the_last_step_counts_and_validation_does_not(data):
    """Seconds of training, of each epoch; those of validation are its own loader's."""
    training, validation = data.batch(32), data.batch(64)
    began = time.perf_counter()
    small_model().fit(training, validation_data=validation, epochs=2, verbose=0, callbacks=[Slow()])
    wall = time.perf_counter() - began
    times, others = training.report(), validation.report()
    assert len(times.epoch_seconds) == len(others.epoch_seconds) == 2
    assert min(times.epoch_seconds) >= 0.2
    assert min(others.epoch_seconds) >= 0.4
    assert times.seconds == pytest.approx(sum(times.epoch_seconds))
    assert others.seconds == pytest.approx(sum(others.epoch_seconds))
    assert times.seconds + others.seconds <= wall


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX computes in the background")
def test_steps_that_jax_computes_in_the_background_count(data):
    """Seven steps of 0.1 s each are handed their batches at once."""
    import jax

    class Wait(keras.layers.Layer):
        def call(self, x):
            def wait(value):
                time.sleep(0.1)
                return value

            return x + jax.lax.stop_gradient(
                jax.pure_callback(wait, jax.ShapeDtypeStruct((), "float32"), np.float32(0))
            )

    model = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Flatten(), Wait(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    loader = data.map(lambda x, y: (x / np.float32(255), y)).batch(32)
    model.fit(loader, verbose=0)
    assert loader.report().seconds >= 0.7
    predicting = data.map(lambda x, y: x / np.float32(255)).batch(32)
    model.predict(predicting, verbose=0)
    assert predicting.report().seconds >= 0.7


def test_steps_per_epoch_have_times_of_their_own(data):
    """Three epochs of fit, which are not the loader's."""
    loader = data.batch(32)
    small_model().fit(loader, epochs=3, steps_per_epoch=2, verbose=0)
    assert len(loader.report().epoch_seconds) == 3
    assert loader.report().epochs == 0


def test_a_sequence_has_times_as_well():
    """Batches of an object that makes its own."""

    class Numbers:
        def __len__(self):
            return 7

        def __getitem__(self, index):
            return np.zeros((8, 4, 4, 3), np.float32), np.zeros(8)

    loader = hr.from_sequence(Numbers(), workers=1)
    small_model().fit(loader, epochs=2, verbose=0, callbacks=[Slow()])
    times = loader._timing.epoch_seconds
    assert len(times) == 2
    assert min(times) >= 0.2
