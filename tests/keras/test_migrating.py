"""What docs/migrate.md says of lines that Keras itself no longer takes."""

import keras
import numpy as np
import pytest

import headrace as hr
from tests.sequences import Numbers


def test_the_schedule_is_what_decay_was():
    """Keras 2 divided the rate by `1 + decay * updates`."""
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.01, decay_steps=1, decay_rate=1e-3)
    for updates in (0, 1, 500, 10_000):
        assert float(schedule(updates)) == pytest.approx(0.01 / (1 + 1e-3 * updates), rel=1e-5)


def test_what_has_to_change_is_refused_or_ignored_by_keras():
    """Should a later Keras take it again, the page has to change."""
    with pytest.raises(ValueError, match="lr"):
        keras.optimizers.SGD(lr=0.1)
    with pytest.warns(UserWarning, match="decay.*ignored"):
        assert float(keras.optimizers.SGD(0.1, decay=0.5).learning_rate) == pytest.approx(0.1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    for name in ("fit_generator", "evaluate_generator", "predict_generator", "predict_classes"):
        assert not hasattr(model, name)
    for name in ("mean", "cast", "get_value", "set_value", "gradients"):
        assert not hasattr(keras.backend, name)
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="workers"):
        model.fit(np.zeros((8, 3)), np.zeros(8), workers=2)


def test_a_sequence_without_its_bases_constructor_needs_no_change():
    """`fit` warns of it; `from_sequence` does not call it, and takes it without a warning."""

    class Old(keras.utils.Sequence):
        def __init__(self):
            self.items = Numbers()

        def __len__(self):
            return len(self.items)

        def __getitem__(self, index):
            return self.items[index]

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    model.fit(hr.from_sequence(Old(), workers=2), verbose=0)
