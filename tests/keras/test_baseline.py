"""The baseline model: shapes and dtypes in, a model that learns out."""

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import headrace as hr
from headrace.baseline import build, mean_and_variance
from headrace.errors import DataError, OptionError

# Without uint64, which Keras does not know on PyTorch.
INTEGERS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"]
FLOATS = ["float16", "float32", "float64"]


@pytest.fixture
def dataset(tmp_path):
    """Writes arrays to an HDF5 file and opens it."""

    def make(x, y, name="data.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["x"], file["y"] = x, y
        return hr.from_hdf5(tmp_path / name, x="x", y="y")

    return make


def fit(model, data, epochs=1, batch_size=32):
    """The history of a short training."""
    loader = data.batch(batch_size, shuffle=True, seed=0)
    return model.fit(loader, epochs=epochs, verbose=0).history


def striped_images(n, shape=(16, 16), dtype="uint8"):
    """Images with stripes along one of two axes, and which."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=n)
    rows, columns = np.indices(shape)
    phase = rng.integers(4, size=n)[:, None, None]
    stripes = np.where(labels[:, None, None] == 1, rows, columns) + phase
    images = (stripes // 2 % 2) * 100 + rng.integers(50, size=(n, *shape))
    return images.astype(dtype), labels


@pytest.mark.parametrize("layout", ["plain", "channels last", "channels first"])
def test_learns_images(dataset, layout):
    """A few epochs tell vertical from horizontal stripes, in each layout of the axes."""
    keras.utils.set_random_seed(0)
    x, y = striped_images(512)
    if layout == "channels last":
        x = np.repeat(x[..., None], 3, axis=-1)
    elif layout == "channels first":
        x = np.repeat(x[:, None], 3, axis=1)
    data = dataset(x, y)
    model = build(data)
    assert model.input_shape == (None, *x.shape[1:])
    assert fit(model, data, epochs=5)["accuracy"][-1] > 0.95


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (28, 28), (5, 40), (64, 64, 3)])
def test_takes_images_of_any_size(dataset, shape):
    """From a pixel to a large image the network ends in one vector per class."""
    rng = np.random.default_rng(0)
    data = dataset(rng.integers(256, size=(8, *shape)).astype("uint8"), np.arange(8) % 3)
    assert build(data).output_shape == (None, 3)


@pytest.mark.parametrize(
    "shape, dtype",
    [
        *(((5,), dtype) for dtype in INTEGERS + FLOATS),
        *(((4, 4), dtype) for dtype in ("bool", "uint16", "float64")),
        ((), "float32"),
    ],
)
def test_takes_x_of_every_numeric_dtype(dataset, shape, dtype):
    """Vectors, images and scalars of every dtype reach the model, with a finite loss."""
    rng = np.random.default_rng(0)
    x = rng.integers(2 if dtype == "bool" else 100, size=(40, *shape)).astype(dtype)
    data = dataset(x, np.arange(40) % 2)
    assert np.isfinite(build(data).evaluate(data.batch(20), verbose=0)).all()


@pytest.mark.parametrize("dtype, shape", [*((dtype, ()) for dtype in INTEGERS), ("int64", (1,))])
def test_counts_classes_of_integer_labels(dataset, dtype, shape):
    """Labels 0..K-1 give K outputs, and train."""
    classes = 2 if dtype == "bool" else 5
    x = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
    data = dataset(x, (np.arange(40) % classes).astype(dtype).reshape(40, *shape))
    model = build(data)
    assert model.output_shape == (None, classes)
    assert np.isfinite(fit(model, data)["loss"]).all()


def test_counts_the_labels_of_the_validation_samples_too(dataset):
    """A class that only validation samples have gets its output."""
    x = np.zeros((10, 3), "float32")
    data, validation = dataset(x, np.arange(10) % 2), dataset(x, np.arange(10) % 4, "valid.h5")
    assert build(data, validation=validation).output_shape == (None, 4)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_one_hot_labels_mean_classification(dataset, dtype):
    """Rows with a single 1 are classes, in whatever dtype they are."""
    x = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
    data = dataset(x, np.eye(4)[np.arange(40) % 4].astype(dtype))
    model = build(data)
    assert model.output_shape == (None, 4)
    assert model.loss == "categorical_crossentropy"
    assert "accuracy" in fit(model, data)


def test_learns_vectors_of_unlike_scales(dataset):
    """Features a million times larger than others, and one that never changes, do no harm."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1024, 4))
    y = (x[:, 0] + x[:, 1] > 0).astype("int64")
    data = dataset(x * [1e6, 1e-6, 1, 0] + [1e6, 0, 0, 0.1], y)
    assert fit(build(data), data, epochs=5)["accuracy"][-1] > 0.95


def test_missing_values_count_as_the_mean(dataset):
    """NaN in a vector changes no weight into NaN, and predicts as the mean does."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3)).astype("float32") + 5
    x[::3, 0] = np.nan
    x[:, 2] = np.nan
    data = dataset(x, (x[:, 1] > 5).astype("int64"))
    model = build(data)
    assert np.isfinite(fit(model, data)["loss"]).all()
    mean = np.float32([[np.nanmean(x[:, 0]), 5, 0]])
    gap = np.float32([[np.nan, 5, np.nan]])
    np.testing.assert_allclose(
        model.predict(gap, verbose=0), model.predict(mean, verbose=0), atol=1e-5
    )


def test_float_targets_mean_regression_in_their_own_units(dataset):
    """Targets in the thousands are learned in a few epochs, and predicted in thousands."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((2048, 2)).astype("float32")
    data = dataset(x, 5000 + 1000 * x[:, 0])
    model = build(data)
    assert model.output_shape == (None, 1)
    assert fit(model, data, epochs=5)["mae"][-1] < 200


def test_regression_of_several_targets(dataset):
    """A float vector as target gives one output for each element."""
    x = np.random.default_rng(0).standard_normal((64, 2)).astype("float32")
    data = dataset(x, np.stack([x[:, 0], 100 * x[:, 1], np.ones(64)], axis=1))
    model = build(data)
    assert model.output_shape == (None, 3)
    assert np.isfinite(fit(model, data)["loss"]).all()


@pytest.mark.parametrize(
    "x, y",
    [
        (np.ones((8, 8, 8, 3), "uint8") * np.arange(8, dtype="uint8")[:, None, None, None], "int"),
        (np.arange(32.0).reshape(8, 4), "int"),
        (np.arange(32.0).reshape(8, 4), "float"),
    ],
)
def test_survives_saving(dataset, tmp_path, x, y):
    """A saved and loaded baseline predicts the same, without Headrace's help."""
    targets = np.arange(8) % 2 if y == "int" else np.arange(8) / 3
    data = dataset(x, targets)
    model = build(data)
    fit(model, data)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)


X = np.zeros((20, 3), "float32")


@pytest.mark.parametrize(
    "x, y, error, words",
    [
        (X, np.arange(20) - 1, DataError, "down to -1"),
        (X, np.arange(20) * 10**6, DataError, "19,000,000"),
        (X, np.zeros(20, int), DataError, "nothing to learn"),
        (X, np.where(np.arange(20) == 7, np.nan, 1.0), DataError, "NaN"),
        (X, np.arange(40).reshape(20, 2), DataError, "one-hot"),
        (X, np.zeros((20, 2, 2)), OptionError, "--model"),
        (np.zeros((20, 2, 2, 2, 2)), np.arange(20), OptionError, "--model"),
        (np.zeros((20, 2), complex), np.arange(20), OptionError, "--model"),
    ],
    ids=["negative", "ids", "one class", "NaN", "not one-hot", "y rank", "x rank", "complex"],
)
def test_refuses_what_it_cannot_learn(dataset, x, y, error, words):
    """The error says what is wrong, and the way out."""
    with pytest.raises(error, match=words) as caught:
        build(dataset(x, y))
    assert "--model" in str(caught.value)


def test_refuses_several_inputs(tmp_path):
    """How to join several inputs is the user's to say."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["a"], file["b"], file["y"] = X, X, np.arange(20)
    with pytest.raises(OptionError, match=r"one x field.*a, b.*--model"):
        build(hr.from_hdf5(tmp_path / "data.h5", x=["a", "b"], y="y"))


def test_refuses_data_without_y(tmp_path):
    """Without y there is nothing to predict."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["a"] = X
    with pytest.raises(OptionError, match="one y field"):
        build(hr.from_hdf5(tmp_path / "data.h5", x="a"))


@given(
    hnp.arrays(
        "float64",
        st.tuples(st.integers(1, 30), st.integers(1, 3)),
        elements=st.floats(-1e6, 1e6) | st.just(np.nan),
    ),
    st.integers(1, 10),
    st.sampled_from([0.0, 1e9]),
)
def test_moments_are_numpys(values, rows, offset):
    """In pieces of any size, with NaN and far from zero: NumPy's nanmean and nanvar."""
    values = values + offset
    mean, variance = mean_and_variance(values[i : i + rows] for i in range(0, len(values), rows))
    known = ~np.isnan(values).all(axis=0)
    means = np.nanmean(values[:, known], axis=0)
    # Half of the least float there is rounds to it, or to 0.
    np.testing.assert_allclose(mean[known], means, rtol=1e-9, atol=1e-300)
    expected = np.nanvar(values[:, known], axis=0)
    np.testing.assert_allclose(variance[known], expected, rtol=1e-6, atol=1e-3)
    assert np.all(mean[~known] == 0)
    assert np.all(variance[~known] == 0)
