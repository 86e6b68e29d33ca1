"""Split, filtered and balanced data sets in fit, evaluate and predict."""

import numpy as np
import pytest

import headrace as hr
from tests.keras.helpers import N, Recorder, small_model

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


@pytest.fixture
def skewed(images):
    """Class 0 in all rows but a few."""
    data = hr.from_hdf5(images, x="image", y="label")
    rows = np.arange(N)
    return data.filter(lambda label, row: (label == 0) | (row < 40), "label", rows)


@pytest.mark.parametrize("memory", ["60kB", "10MB"])
def test_a_model_learns_the_rare_classes_from_a_balanced_epoch(skewed, memory):
    """Stratified parts, one of them balanced; every step counts."""
    train, val = skewed.split(0.75, seed=0, stratify="label")
    assert np.ptp(np.bincount(train[:][1]) / len(train) - np.bincount(val[:][1]) / len(val)) < 0.1
    loader = train.balance("label", length=200).batch(16, shuffle=True, seed=0, memory=memory)
    recorder = Recorder(loader)
    model = small_model()
    history = model.fit(
        loader, validation_data=val.batch(64), epochs=12, verbose=0, callbacks=[recorder]
    ).history
    assert recorder.steps == [13] * 12
    assert recorder.positions[-1] == (12, 0)
    assert history["loss"][-1] < history["loss"][0]
    x, y = val[:]
    predicted = model.predict(x, verbose=0).argmax(axis=1)
    assert min(np.mean(predicted[y == c] == c) for c in range(3)) > 0.6


def test_training_on_a_balanced_set_equals_training_on_its_batches(skewed):
    """Weights after two epochs are those of train_on_batch over the loader's own batches."""
    model = small_model()
    start = model.get_weights()
    balanced = skewed.balance("label", length=100)
    model.fit(balanced.batch(32, shuffle=True, seed=3), epochs=2, verbose=0)
    trained = model.get_weights()
    model.set_weights(start)
    loader = balanced.batch(32, shuffle=True, seed=3)
    for _ in range(2):
        for x, y in loader:
            model.train_on_batch(x, y)
    for one, other in zip(trained, model.get_weights(), strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_predict_and_evaluate_take_the_first_epoch_in_row_order(skewed):
    """Whatever the loader's own order, and wherever it stands."""
    balanced = skewed.balance("label", length=100)
    loader = balanced.batch(32, shuffle=True, seed=0)
    expected = [np.concatenate(part) for part in zip(*balanced.batch(32), strict=True)]
    model = small_model()
    for _ in range(2):
        predicted = model.predict(loader, verbose=0)
        assert np.allclose(predicted, model.predict(expected[0], verbose=0), atol=1e-5)
        loss = model.evaluate(loader, verbose=0)[0]
        assert loss == pytest.approx(model.evaluate(*expected, verbose=0)[0], rel=1e-4)
        model.fit(loader, verbose=0)


def test_a_balanced_data_set_without_batches_is_trained_on_as_well(skewed):
    """In place of arrays; a validation share of it is refused, with the way out."""
    model = small_model()
    recorder = Recorder()
    model.fit(skewed.balance("label", length=50), batch_size=10, verbose=0, callbacks=[recorder])
    assert recorder.steps == [5]
    with pytest.raises(ValueError, match=r"balance\(\)|split\(\)"):
        model.fit(skewed.balance("label"), validation_split=0.2, verbose=0)
