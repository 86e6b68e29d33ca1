"""Layers made from statistics give what they promise, on every backend."""

import keras
import numpy as np
import pytest

import headrace as hr
from headrace.errors import DataError, OptionError


def output(layer, array):
    return keras.ops.convert_to_numpy(layer(array))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(5,), (1,), (4, 6, 3), (300,)])
def test_normalization_is_that_of_adapt(dtype, shape):
    array = (np.random.default_rng(0).normal(size=(400, *shape)) * 30 + 100).astype(dtype)
    layer = hr.stats(hr.from_arrays(array)).normalization()
    own = keras.layers.Normalization()
    own.adapt(array)
    np.testing.assert_allclose(output(layer, array[:9]), output(own, array[:9]), atol=1e-4)
    assert layer.axis == (-1,)


@pytest.mark.parametrize("batch", [(9,), (9, 1)])
def test_normalization_of_single_numbers_takes_both_forms_of_batches(batch):
    array = np.arange(1000.0)
    layer = hr.stats(hr.from_arrays(array)).normalization()
    expected = (array - array.mean()) / array.std()
    found = output(layer, array[:9].reshape(batch).astype(np.float32))
    np.testing.assert_allclose(found, expected[:9].reshape(batch), rtol=1e-4)


def test_normalization_is_saved_with_its_model(tmp_path):
    array = np.random.default_rng(0).normal(5, 2, (300, 4)).astype(np.float32)
    layer = hr.stats(hr.from_arrays(array)).normalization()
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(output(loaded, array), output(layer, array), rtol=1e-6)


def test_normalization_leaves_out_what_is_missing():
    array = np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0], [np.inf, 20.0]])
    layer = hr.stats(hr.from_arrays(array)).normalization()
    found = output(layer, np.array([[3.0, 20.0], [3 + np.sqrt(8 / 3), 0.0]], np.float32))
    expected = [[0, 0], [1, -20 / np.sqrt(200 / 3)]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "array, low, high, scale, offset",
    [
        (np.array([[10, 20]], np.uint8), 0.0, 1.0, 1 / 255, 0.0),
        (np.array([[10, 20]], np.uint8), -1.0, 1.0, 2 / 255, -1.0),
        (np.array([[10, 20]], np.int64), 0.0, 1.0, 0.1, -1.0),
        (np.array([-2.0, 6.0, np.nan, np.inf]), -1.0, 1.0, 0.25, -0.5),
        (np.array([False, True]), 0.0, 5.0, 5.0, 0.0),
    ],
)
def test_rescaling_brings_values_between_its_bounds(array, low, high, scale, offset):
    layer = hr.stats(hr.from_arrays(array)).rescaling(low=low, high=high)
    assert (layer.scale, layer.offset) == pytest.approx((scale, offset))
    x = np.array([[0.0, 3.0]], np.float32)
    np.testing.assert_allclose(output(layer, x), x * scale + offset, rtol=1e-6)


def test_layers_are_trained_with(data):
    """From the statistics to a fit, with weights of classes."""
    found = hr.stats(data)
    for layer in (found.normalization(), found.rescaling()):
        layers = [keras.Input((4, 4, 3)), layer, keras.layers.Flatten(), keras.layers.Dense(3)]
        model = keras.Sequential(layers)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        loader = data.batch(16, shuffle=True, seed=0, class_weight=found.class_weight())
        history = model.fit(loader, epochs=2, verbose=0).history
        assert history["loss"][1] < history["loss"][0]


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda s: s.normalization("x.text"), OptionError, "no numbers"),
        (lambda s: s.rescaling("x.text"), OptionError, "no numbers"),
        (lambda s: s.normalization("x.gone"), DataError, "no finite value at index 1"),
        (lambda s: s.rescaling("x.same"), DataError, "is 7"),
        (lambda s: s.normalization(), OptionError, "3 x fields"),
        (lambda s: s.rescaling("none"), OptionError, "no field 'none'"),
    ],
)
def test_fields_that_cannot_be_scaled_are_refused(call, error, words):
    gone = np.full((3, 2), np.nan)
    gone[:, 0] = 1
    arrays = {"text": np.array([b"a"] * 3), "gone": gone, "same": np.full(3, 7)}
    found = hr.stats(hr.from_arrays(arrays))
    with pytest.raises(error, match=words):
        call(found)
