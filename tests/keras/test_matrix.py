"""HDF5Matrix in fit, evaluate and predict, as programs of ten years have it."""

import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

import headrace as hr
from headrace import HDF5Matrix
from headrace.errors import OptionError, ShapeError
from tests.bad_input.refusal import refused
from tests.keras.helpers import N, small_model

SPLIT = 150


@pytest.fixture
def parts(images):
    """x and y to train on, x and y to test on."""
    return (
        HDF5Matrix(images, "image", end=SPLIT),
        HDF5Matrix(images, "label", end=SPLIT),
        HDF5Matrix(images, "image", start=SPLIT),
        HDF5Matrix(images, "label", start=SPLIT),
    )


def test_the_old_program_learns(parts):
    """The call of every tutorial, unchanged."""
    x_train, y_train, x_test, y_test = parts
    model = small_model()
    history = model.fit(
        x_train, y_train, epochs=25, batch_size=16, validation_data=(x_test, y_test), verbose=0
    ).history
    assert history["loss"][-1] < history["loss"][0] * 0.8
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    assert accuracy == pytest.approx(history["val_accuracy"][-1])
    assert accuracy > 0.7
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_evaluate_and_predict_equal_those_on_arrays(parts):
    _, _, x, y = parts
    model = small_model()
    expected = model.evaluate(x[:], y[:], verbose=0)
    assert np.allclose(model.evaluate(x, y, batch_size=16, verbose=0), expected, rtol=1e-5)
    assert np.allclose(model.evaluate(x, y[:], verbose=0), expected, rtol=1e-5)
    predicted = model.predict(x, batch_size=16, verbose=0)
    assert np.allclose(predicted, model.predict(x[:], verbose=0), atol=1e-5)


def test_rows_that_need_more_than_the_usual_memory_get_it(parts, monkeypatch):
    """Nobody can name memory here; what a batch and a chunk need is taken, if there is as much."""
    _, _, x, _ = parts
    model = small_model()
    expected = model.predict(x[:], verbose=0)
    monkeypatch.setattr("headrace.keras.connect.default_memory", lambda: 1000)
    assert np.allclose(model.predict(x, batch_size=16, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
def test_training_equals_training_on_the_rows_in_their_order(images, shuffle):
    """Weights after fit are those after the same batches one by one."""
    x, y = HDF5Matrix(images, "image"), HDF5Matrix(images, "label")
    model = small_model()
    start = model.get_weights()
    keras.utils.set_random_seed(5)
    model.fit(x, y, batch_size=32, epochs=2, shuffle=shuffle, verbose=0)
    fitted = model.get_weights()
    model.set_weights(start)
    keras.utils.set_random_seed(5)
    seed = int(np.random.randint(2**31 - 1))  # noqa: NPY002 - as fit draws it
    data = hr.from_hdf5(images, x="image", y="label")
    loader = data.batch(32, shuffle=shuffle, seed=seed)
    for _ in range(2):
        for batch in loader:
            model.train_on_batch(*batch)
    for a, b in zip(fitted, model.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_class_and_sample_weights_count_as_for_arrays(images):
    x, y = HDF5Matrix(images, "image"), HDF5Matrix(images, "label")
    weight = HDF5Matrix(images, "weight")
    model = small_model()
    start = model.get_weights()

    def weights_after(*arrays, **options):
        model.set_weights(start)
        model.fit(*arrays, shuffle=False, batch_size=32, verbose=0, **options)
        return np.concatenate([array.ravel() for array in model.get_weights()])

    plain = weights_after(x[:], y[:])
    classes = {0: 3.0, 2: 0.5}
    for options in ({"class_weight": classes}, {"sample_weight": weight}):
        loaded = {name: value[:] if value is weight else value for name, value in options.items()}
        expected = weights_after(x[:], y[:], **loaded)
        assert not np.allclose(expected, plain, atol=1e-5)
        assert np.allclose(weights_after(x, y, **options), expected, atol=1e-5)
    expected = weights_after(x[:], y[:], sample_weight=weight[:])
    assert np.allclose(weights_after(x, y, sample_weight=weight[:]), expected, atol=1e-5)


@pytest.mark.parametrize("form", ["list", "dict"])
def test_several_inputs_and_arrays_beside_matrices(images, form):
    photo, age = HDF5Matrix(images, "image"), HDF5Matrix(images, "age")
    a, b = keras.Input((4, 4, 3), name="photo"), keras.Input((1,), name="age")
    flat = keras.layers.Flatten()(keras.ops.cast(a, "float32") / 255)
    out = keras.layers.Dense(3)(keras.layers.Concatenate()([flat, b]))
    model = keras.Model({"photo": a, "age": b} if form == "dict" else [a, b], out)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = HDF5Matrix(images, "label")
    column = HDF5Matrix(images, "age", normalizer=lambda values: np.asarray(values)[..., None])

    def inputs(first, second):
        return {"photo": first, "age": second} if form == "dict" else [first, second]

    expected = model.evaluate(inputs(photo[:], age[:][:, None]), labels[:], verbose=0)
    got = model.evaluate(inputs(photo, column), labels, verbose=0)
    assert got == pytest.approx(expected, rel=1e-5)
    mixed = model.evaluate(inputs(photo, age[:][:, None]), labels[:], verbose=0)
    assert mixed == pytest.approx(expected, rel=1e-5)
    model.fit(inputs(photo[:], column), labels, verbose=0)


def test_parts_of_one_file_that_start_at_other_rows(images):
    x, y = HDF5Matrix(images, "id", 0, 100), HDF5Matrix(images, "id", 100, 200)
    column = HDF5Matrix(images, "id", 0, 100, lambda rows: rows[..., None].astype("float32"))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "linear")])
    model.layers[0].set_weights([np.ones((1, 1)), np.array([100.0])])
    model.compile("sgd", "mse")
    assert model.evaluate(column, y, verbose=0) == pytest.approx(0, abs=1e-6)
    assert len(x) == len(y)


def test_validation_split_takes_the_last_rows(images):
    x, y = HDF5Matrix(images, "image"), HDF5Matrix(images, "label")
    model = small_model()
    history = model.fit(x, y, validation_split=0.2, batch_size=32, verbose=0).history
    first = int(N * 0.8)
    expected = model.evaluate(x[first:], y[first:], verbose=0)
    assert [history["val_loss"][0], history["val_accuracy"][0]] == pytest.approx(expected, rel=1e-4)
    weights = model.get_weights()
    assert model.fit(x[:], y[:], validation_split=0.2, verbose=0).history.keys() == history.keys()
    model.set_weights(weights)
    with refused(OptionError, "leaves nothing"):
        model.fit(x, y, validation_split=0.9999, verbose=0)


def test_a_data_set_without_batches_is_taken_in_place_of_arrays(data):
    train, val = data.split(0.8, seed=0)
    model = small_model()
    history = model.fit(train, validation_data=val, batch_size=16, epochs=12, verbose=0).history
    assert history["val_accuracy"][-1] > 0.7
    assert model.predict(val, verbose=0).shape == (len(val), 3)
    with refused(OptionError, "y= was given"):
        model.fit(train, np.zeros(len(train)))
    with refused(OptionError, "data.split()"):
        model.fit(train, validation_split=0.5)


def test_what_does_not_fit_together_is_refused(parts):
    x, y, _, y_test = parts
    model = small_model()
    with refused(ShapeError, "x has 150, y has 53"):
        model.fit(x, y_test, verbose=0)
    assert model.train_on_batch(x[:8], y[:8]) is not None
    for call in (lambda x: model.train_on_batch(x, y), model.predict_on_batch, model):
        with pytest.raises((TypeError, ValueError), match="HDF5Matrix"):
            call(x)


READ = """
import re
import sys
import threading
from pathlib import Path
import h5py, keras, numpy as np
from headrace import HDF5Matrix
from headrace.sources.file import File

read = 0
def count(function):
    def counted(self, *arguments):
        global read
        read += arguments[-1].nbytes if function.__name__ == "gather" else arguments[0].nbytes
        return function(self, *arguments)
    return counted
File.gather, File.read_into = count(File.gather), count(File.read_into)

def resident():
    # Memory, without pages of files.
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

peak = 0
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident())

path = sys.argv[1]
x, y = HDF5Matrix(path, "image"), HDF5Matrix(path, "label")
model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.GlobalAveragePooling2D(),
                          keras.layers.Dense(1)])
model.compile("sgd", "mse")
opened = read
model.fit(x[:32], y[:32], batch_size=16, verbose=0, validation_split=0.5)
model.predict(x[:16], verbose=0)
before, done = resident(), threading.Event()
threading.Thread(target=watch).start()
model.fit(x, y, batch_size=16, steps_per_epoch=2, shuffle="batch", verbose=0)
few = read - opened
model.fit(x, y, batch_size=16, verbose=0)
model.fit(x, y, batch_size=16, verbose=0, validation_split=0.5)
model.evaluate(x, y, verbose=0)
model.predict(x, verbose=0)
done.set()
print(opened, few, read - opened - few, peak - before)
"""


def test_no_path_loads_a_whole_dataset(tmp_path):
    """Two steps read little, and each epoch reads the file once."""
    rows = 12_000
    size = rows * 64 * 64 * 3
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["image"] = np.ones((rows, 64, 64, 3), np.uint8)
        file["label"] = np.zeros(rows)
    command = [sys.executable, "-c", READ, str(tmp_path / "x.h5")]
    # Else the heap grows by what lies between the small results that PyTorch keeps.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 17)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    opened, few, rest, peak = map(int, done.stdout.split())
    assert opened < 1 << 20
    # Two batches, and what is read ahead.
    assert few < size / 2
    assert rest < 4.1 * (size + 8 * rows)
    assert peak < 0.75 * size
