"""Training from packed data, on every backend."""

import keras
import numpy as np
import pytest

import headrace as hr
from tests.files import gzip, write


@pytest.fixture
def data(tmp_path):
    """800 vectors in two classes, sorted by class, in a gzip file."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 400)
    vector = (rng.random((800, 6)) + 2 * label[:, None]).astype("f4")
    path = write(tmp_path / "in.h5", vector=gzip(vector, 16), label=label)
    return hr.from_hdf5(path, x={"v": "vector"}, y="label")


def trained(data):
    """The weights after two epochs, and the accuracy."""
    keras.utils.set_random_seed(0)
    given = keras.Input((6,), name="v")
    model = keras.Model({"v": given}, keras.layers.Dense(2, activation="softmax")(given))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(data.batch(16, shuffle="exact", seed=1), epochs=20, verbose=0)
    return model.get_weights(), history.history["accuracy"][-1]


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"shard_size": 5000}])
def test_packed_data_train_as_the_original(data, tmp_path, options):
    """The same weights, to the last bit; the structure is known."""
    packed = hr.pack(data, tmp_path / "out", **options)
    ours, accuracy = trained(packed)
    theirs, _ = trained(data)
    assert accuracy > 0.75
    for mine, original in zip(ours, theirs, strict=True):
        assert np.array_equal(mine, original)


def test_a_shuffled_file_trains_in_its_own_order(data, tmp_path):
    """Without any shuffle: batches hold both classes."""
    packed = hr.pack(data, tmp_path / "out.h5", shuffle=True, seed=0)
    shares = [y.mean() for _, y in packed.batch(80)]
    assert 0.25 < min(shares) < max(shares) < 0.75
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    flat = packed.map(lambda x, y: (x["v"], y))
    history = model.fit(flat.batch(80), epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]
