"""`adapt` makes of layers what their own `adapt` makes of the whole array."""

import importlib.util

import h5py
import keras
import numpy as np
import pytest

import headrace as hr
from headrace.errors import DataError, OptionError, ShapeError
from headrace.statistics import scan

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="Keras needs TensorFlow for lookups and text, on every backend",
)
WORDS = np.array([b"the cat", b"The dog!", b"a cat, a dog", b"", b"caf\xc3\xa9 the", b"[UNK] x"])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of 4 kB, so that little data has many of them."""
    monkeypatch.setattr(scan, "PIECE_BYTES", 1 << 12)


def normal(shape, dtype="float32"):
    rng = np.random.default_rng(0)
    return (rng.normal(size=shape) * 50 + np.arange(shape[-1]) * 20).astype(dtype)


def same_weights(layer, own):
    assert len(layer.get_weights()) == len(own.get_weights())
    for one, other in zip(layer.get_weights(), own.get_weights(), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("axis", [-1, None, 1, 2, (1, 3), (-1, 1), (1, 2, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_normalization_keeps_any_axes(axis, dtype):
    array = normal((300, 4, 5, 3), dtype)
    own = keras.layers.Normalization(axis=axis)
    own.adapt(array)
    layer = keras.layers.Normalization(axis=axis)
    assert hr.adapt(layer, hr.from_arrays(array)) is layer
    same_weights(layer, own)
    outputs = [keras.ops.convert_to_numpy(one(array[:7])) for one in (layer, own)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


def test_normalization_inverts_and_is_saved(tmp_path):
    array = normal((500, 6))
    layer = hr.adapt(keras.layers.Normalization(invert=True), hr.from_arrays(array))
    model = keras.Sequential([keras.Input((6,)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    out = keras.ops.convert_to_numpy(loaded(np.zeros((2, 6), np.float32)))
    np.testing.assert_allclose(out, [array.mean(axis=0)] * 2, rtol=1e-4)


def test_normalization_of_single_numbers():
    array = normal((2000, 1))[:, 0]
    own = keras.layers.Normalization(axis=None)
    own.adapt(array)
    same_weights(hr.adapt(keras.layers.Normalization(axis=None), hr.from_arrays(array)), own)
    with pytest.raises(OptionError, match="axis=None"):
        hr.adapt(keras.layers.Normalization(), hr.from_arrays(array))


def test_normalization_keeps_the_spread_of_large_numbers():
    """Where float32, in which Keras would work, has lost it."""
    array = 1e9 + np.random.default_rng(0).random((3000, 2))
    layer = hr.adapt(keras.layers.Normalization(), hr.from_arrays(array))
    np.testing.assert_allclose(layer.get_weights()[1], array.var(axis=0), rtol=1e-5)


def test_a_built_layer_is_adapted_again_to_the_same_shape_only():
    layer = hr.adapt(keras.layers.Normalization(), hr.from_arrays(normal((50, 3))))
    array = normal((70, 3)) * 2
    own = keras.layers.Normalization()
    own.adapt(array)
    same_weights(hr.adapt(layer, hr.from_arrays(array)), own)
    with pytest.raises(ShapeError, match=r"built for \(3,\) means"):
        hr.adapt(layer, hr.from_arrays(normal((70, 4))))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_missing_is_not_learned(bad):
    """A mean of NaN would make NaN of every prediction; the statistics leave it out."""
    array = normal((2000, 3))
    array[1234, 1] = bad
    data = hr.from_arrays(array)
    with pytest.raises(DataError, match=r"hr\.stats\(data\)\.normalization\(\)"):
        hr.adapt(keras.layers.Normalization(), data)
    layer = hr.stats(data).normalization()
    assert np.isfinite(keras.ops.convert_to_numpy(layer(array[:10]))).all()


def own_bins(array, **options):
    """A layer adapted by Keras; its `adapt` would look for TensorFlow before it begins."""
    layer = keras.layers.Discretization(**options)
    layer.reset_state()
    layer.update_state(array)
    layer.finalize_state()
    return layer


@pytest.mark.parametrize("rows", [1, 7, 99, 100, 101, 1234, 5000])
@pytest.mark.parametrize("epsilon", [0.01, 0.0013, 0.3])
def test_bins_are_equal_to_the_last_bit(rows, epsilon):
    rng = np.random.default_rng(rows)
    for array in (
        rng.normal(size=(rows, 3)).astype(np.float32),
        rng.integers(-5, 5, rows),
        rng.normal(size=(rows, 2)) * 1e-40,
        np.full(rows, 3.0),
        rng.choice([np.inf, -np.inf, 0.0, 1.0], rows),
    ):
        own = own_bins(array, num_bins=5, epsilon=epsilon)
        layer = keras.layers.Discretization(num_bins=5, epsilon=epsilon)
        hr.adapt(layer, hr.from_arrays(array), memory="1MB")
        np.testing.assert_array_equal(layer.bin_boundaries, own.bin_boundaries)
        np.testing.assert_array_equal(layer.summary, own.summary)


@pytest.mark.parametrize("output_mode", ["int", "one_hot", "multi_hot", "count"])
def test_bins_are_used_in_all_output_modes(output_mode):
    array = normal((500, 4))
    options = {"num_bins": 6, "output_mode": output_mode}
    layer = hr.adapt(keras.layers.Discretization(**options), hr.from_arrays(array))
    own = own_bins(array, **options)
    outputs = [keras.ops.convert_to_numpy(one(array[:20])) for one in (layer, own)]
    np.testing.assert_array_equal(*outputs)
    assert hr.adapt(layer, hr.from_arrays(array * 2)).bin_boundaries != own.bin_boundaries


def test_missing_values_have_no_bin():
    data = hr.from_arrays(np.array([1.0, np.nan, 2.0]))
    with pytest.raises(DataError, match="NaN"):
        hr.adapt(keras.layers.Discretization(num_bins=2), data)


def check_lookup(make, array, look):
    """Both ways of adapting lead to the same vocabulary and the same outputs."""
    own = make()
    own.adapt(array)
    layer = hr.adapt(make(), hr.from_arrays(array), workers=3)
    assert layer.get_vocabulary() == own.get_vocabulary()
    outputs = [np.asarray(keras.ops.convert_to_numpy(one(look))) for one in (layer, own)]
    np.testing.assert_array_equal(*outputs)


@needs_tensorflow
@pytest.mark.parametrize("output_mode", ["int", "one_hot", "multi_hot", "count", "tf_idf"])
@pytest.mark.parametrize(
    "options", [{}, {"max_tokens": 5}, {"num_oov_indices": 3}, {"mask_token": 4}]
)
@pytest.mark.parametrize("shape", [(2000,), (700, 1), (300, 3)])
def test_integer_vocabularies_are_equal(output_mode, options, shape):
    """By frequency, ties in Keras' order."""
    array = np.random.default_rng(0).geometric(0.2, shape) * 3 - 5
    check_lookup(
        lambda: keras.layers.IntegerLookup(output_mode=output_mode, **options), array, array[:9]
    )


@needs_tensorflow
@pytest.mark.parametrize("output_mode", ["int", "multi_hot", "tf_idf"])
@pytest.mark.parametrize(
    "options", [{}, {"max_tokens": 4}, {"mask_token": "a cat, a dog"}, {"num_oov_indices": 2}]
)
@pytest.mark.parametrize("shape", [(1500,), (200, 3)])
def test_text_vocabularies_are_equal(output_mode, options, shape):
    array = WORDS[np.random.default_rng(0).integers(0, len(WORDS), shape)]
    check_lookup(
        lambda: keras.layers.StringLookup(output_mode=output_mode, **options), array, array[:9]
    )


@needs_tensorflow
@pytest.mark.parametrize("output_mode", ["int", "multi_hot", "tf_idf"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_tokens": 5},
        {"ngrams": 2},
        {"split": "character"},
        {"standardize": None},
        {"standardize": "lower"},
    ],
)
def test_words_of_texts_are_equal(output_mode, options):
    array = WORDS[np.random.default_rng(0).integers(0, len(WORDS), 1500)]
    check_lookup(
        lambda: keras.layers.TextVectorization(output_mode=output_mode, **options),
        array,
        array[:9],
    )


@needs_tensorflow
def test_a_given_vocabulary_is_not_learned_again():
    layer = keras.layers.StringLookup(vocabulary=["a"])
    with pytest.raises(OptionError, match="vocabulary"):
        hr.adapt(layer, hr.from_arrays(WORDS))


@needs_tensorflow
def test_lookups_learn_from_what_they_look_up():
    for layer, array in (
        (keras.layers.IntegerLookup(), np.array([1.5])),
        (keras.layers.IntegerLookup(), WORDS),
        (keras.layers.StringLookup(), np.arange(3)),
        (keras.layers.TextVectorization(), np.arange(3)),
    ):
        with pytest.raises(OptionError, match="learns from"):
            hr.adapt(layer, hr.from_arrays(array))


def test_a_field_is_chosen_by_name_or_is_the_only_x(data, images):
    layer = hr.adapt(keras.layers.Normalization(), data)
    with h5py.File(images) as file:
        image = file["image"][:]
        age = file["age"][:]
    np.testing.assert_allclose(layer.get_weights()[0], image.mean(axis=(0, 1, 2)), rtol=1e-5)
    many = hr.from_hdf5(images, x=["image", "age"], y="label")
    layer = hr.adapt(keras.layers.Normalization(axis=None), many, field="age")
    np.testing.assert_allclose(layer.get_weights()[1], age.var(), rtol=1e-5)
    with pytest.raises(OptionError, match=r"2 x fields\. There are: image, age, label"):
        hr.adapt(keras.layers.Normalization(), many)
    with pytest.raises(OptionError, match="no field 'old'"):
        hr.adapt(keras.layers.Normalization(), many, field="old")


def test_mapped_data_are_learned_as_they_reach_the_model(data):
    mapped = data.map(lambda x, y: (x.astype(np.float32) / 255, y))
    layer = hr.adapt(keras.layers.Normalization(axis=None), mapped)
    np.testing.assert_allclose(layer.get_weights()[0], (data[:][0] / 255).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "layer, words",
    [
        (lambda: keras.layers.Dense(3), "Received: Dense"),
        (lambda: keras.layers.Rescaling(3), "Received: Rescaling"),
        (lambda: keras.layers.Normalization, "Received the class Normalization"),
        (lambda: None, "Received: NoneType"),
        (lambda: keras.layers.Normalization(mean=0.0, variance=1.0), "given mean="),
        (lambda: keras.layers.Normalization(axis=7), r"axis=\(7,\)"),
        (lambda: keras.layers.Normalization(axis=0), "for each sample"),
        (lambda: keras.layers.Discretization(bin_boundaries=[0.0]), "given bin_boundaries="),
    ],
)
def test_layers_that_have_nothing_to_learn_are_refused(data, layer, words):
    with pytest.raises(OptionError, match=words):
        hr.adapt(layer(), data)


def test_text_has_no_mean():
    with pytest.raises(OptionError, match="learns from numbers"):
        hr.adapt(keras.layers.Normalization(), hr.from_arrays(WORDS))


def test_arrays_are_not_taken_for_data_sets():
    with pytest.raises(OptionError, match="from_arrays"):
        hr.adapt(keras.layers.Normalization(), np.zeros((3, 3)))
