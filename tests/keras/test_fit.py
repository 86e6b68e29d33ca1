"""fit, evaluate and predict take loaders, on the backend that KERAS_BACKEND names."""

import gc
import subprocess
import sys

import keras
import numpy as np
import pytest

import headrace as hr
from tests.keras.helpers import N, Recorder, no_threads_stay, small_model

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


def test_the_readme_example_learns(data):
    """Split, fit, evaluate, predict: losses fall and every part sees its rows."""
    train, val = data.split(0.8, seed=0)
    model = small_model()
    history = model.fit(
        train.batch(16, shuffle=True, seed=0, memory="60kB"),
        validation_data=val.batch(64),
        epochs=12,
        verbose=0,
    ).history
    assert history["loss"][-1] < history["loss"][0] * 0.8
    assert history["val_accuracy"][-1] > 0.8
    loss, accuracy = model.evaluate(val.batch(64), verbose=0)
    assert accuracy == pytest.approx(history["val_accuracy"][-1])
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-5)


@pytest.mark.parametrize("shuffle", [False, True])
def test_predictions_come_in_row_order(data, shuffle):
    """Also from a loader that shuffles for training, and equal to those from arrays."""
    model = small_model()
    from_arrays = model.predict(data[:][0], batch_size=32, verbose=0)
    predicted = model.predict(data.batch(32, shuffle=shuffle, memory="60kB"), verbose=0)
    assert predicted.shape == (N, 3)
    assert np.allclose(predicted, from_arrays, atol=1e-5)
    without_y = hr.concat(data, data).map(lambda x, y: x).batch(50)
    assert np.allclose(model.predict(without_y, verbose=0)[N:], from_arrays, atol=1e-5)


def test_predict_and_evaluate_see_the_rows_that_training_drops(data):
    """drop_remainder=True is for training: 203 rows have 203 predictions."""
    model = small_model()
    x, y = data[:]
    loader = data.batch(32, shuffle=True, drop_remainder=True)
    assert len(loader) == 6
    predicted = model.predict(loader, verbose=0)
    assert np.allclose(predicted, model.predict(x, verbose=0), atol=1e-5)
    expected = model.evaluate(x, y, batch_size=32, verbose=0)
    assert np.allclose(model.evaluate(loader, verbose=0), expected, rtol=1e-5)
    history = model.fit(loader, validation_data=loader, verbose=0).history
    assert loader.report().epochs == 4  # of predict, evaluate, fit and its validation
    assert history["val_loss"][0] == pytest.approx(model.evaluate(x, y, verbose=0)[0], rel=1e-4)


def test_evaluate_equals_evaluate_from_arrays(data):
    """Loss, metric and sample weights, the smaller last batch included."""
    model = small_model()
    x, y = data[:]
    expected = model.evaluate(x, y, batch_size=32, verbose=0)
    got = model.evaluate(data.batch(32, shuffle=True), verbose=0)
    assert np.allclose(got, expected, rtol=1e-5)


def test_training_equals_training_from_the_same_batches(data):
    """Weights after an epoch are those of train_on_batch over the loader's own batches."""
    model = small_model()
    start = model.get_weights()
    loader = data.batch(32, shuffle=True, seed=3, memory="60kB")
    model.fit(loader, epochs=2, verbose=0)
    fitted = model.get_weights()
    model.set_weights(start)
    again = data.batch(32, shuffle=True, seed=3, memory="60kB")
    for _ in range(2):
        for x, y in again:
            model.train_on_batch(x, y)
    for a, b in zip(fitted, model.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_the_progress_bar_has_the_right_length(data, capsys):
    """From the first epoch on."""
    small_model().fit(data.batch(32), epochs=2, verbose=1)
    out = capsys.readouterr().out
    assert out.count("7/7") >= 2
    assert "Epoch 2/2" in out


def test_validation_steps_start_at_the_first_row_each_time(data):
    """Every validation sees the same first batches."""
    model = small_model()
    model.compile(
        keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    history = model.fit(
        data.batch(32), validation_data=data.batch(20), validation_steps=3, epochs=3, verbose=0
    ).history
    x, y = data[:60]
    expected = model.evaluate(x, y, batch_size=20, verbose=0)[0]
    assert np.allclose(history["val_loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("where", ["fit", "batch"])
def test_class_weight_equals_class_weight_on_arrays(data, where):
    """In fit or in batch: the loss is the one that Keras works out from arrays."""
    weights = {0: 3.0, 2: 0.25}
    x, y = data[:]
    model = small_model()
    start = model.get_weights()
    expected = model.fit(
        x, y, batch_size=N, class_weight=weights, shuffle=False, verbose=0
    ).history["loss"]
    model.set_weights(start)
    in_batch = {"class_weight": weights} if where == "batch" else {}
    in_fit = {"class_weight": weights} if where == "fit" else {}
    got = model.fit(data.batch(N, **in_batch), verbose=0, **in_fit).history["loss"]
    assert np.allclose(got, expected, rtol=1e-4)


def test_sample_weight_reaches_the_loss(images):
    """Equal to fit from arrays."""
    data = hr.from_hdf5(images, x="image", y="label", sample_weight="weight")
    x, y, weight = data[:]
    model = small_model()
    expected = model.evaluate(x, y, sample_weight=weight, batch_size=N, verbose=0)
    assert np.allclose(model.evaluate(data.batch(N), verbose=0), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_several_inputs_and_outputs(images, kind):
    """Dicts by name, lists by position, to a functional model with two of each."""
    photo, age = keras.Input((4, 4, 3), name="photo"), keras.Input((1,), name="age")
    merged = keras.layers.Concatenate()([keras.layers.Flatten()(photo), age])
    kinds = keras.layers.Dense(3, activation="softmax", name="kind")(merged)
    years = keras.layers.Dense(1, name="years")(merged)
    named = kind == "dict"
    outputs = {"kind": kinds, "years": years} if named else [kinds, years]
    model = keras.Model([photo, age], outputs)
    losses = ["sparse_categorical_crossentropy", "mse"]
    model.compile("sgd", {"kind": losses[0], "years": losses[1]} if named else losses)
    data = hr.from_hdf5(
        images,
        x={"photo": "image", "age": "age"} if named else ["image", "age"],
        y={"kind": "label", "years": "age"} if named else ["label", "age"],
    ).map(_column)
    history = model.fit(data.batch(32, shuffle=True), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    predicted = model.predict(data.batch(32), verbose=0)
    assert predicted["years" if named else 1].shape == (N, 1)


def _column(x, y):
    if isinstance(x, dict):
        return {**x, "photo": x["photo"] / np.float32(255), "age": x["age"][:, None]}, {
            **y,
            "years": y["years"][:, None],
        }
    return (x[0] / np.float32(255), x[1][:, None]), (y[0], y[1][:, None])


def test_a_failing_callback_leaves_no_thread(data):
    """Training that ends in an error lets go of the loader's threads."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("enough")

    def run():
        with pytest.raises(RuntimeError, match="enough"):
            small_model().fit(data.batch(8, memory="60kB"), callbacks=[Stop()], verbose=0)

    run()
    gc.collect()
    no_threads_stay()


def test_early_stopping_ends_cleanly(data):
    """stop_training in the middle of an epoch."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    recorder = Recorder()
    small_model().fit(data.batch(8), epochs=5, callbacks=[Stop(), recorder], verbose=0)
    gc.collect()
    assert recorder.steps == [3]
    no_threads_stay()


def test_a_loader_is_a_pydataset(data):
    """For whatever asks Keras's own way; and it works as one, batch by batch."""
    loader = data.batch(32)
    assert isinstance(loader, keras.utils.PyDataset)
    assert loader.num_batches == len(loader) == 7
    assert np.array_equal(loader[6][1], data[192:][1])


def test_without_the_adapter_fit_still_works(data):
    """A Keras that moved the function that is wrapped: a plain PyDataset is left."""
    from keras.src.trainers import data_adapters

    from headrace.keras import internals as internals

    wrapped = data_adapters.get_data_adapter
    data_adapters.get_data_adapter = internals.get_data_adapter
    try:
        loader = data.batch(32, shuffle=True, seed=0)
        history = small_model().fit(loader, epochs=2, verbose=0).history
    finally:
        data_adapters.get_data_adapter = wrapped
    assert len(history["loss"]) == 2


SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import headrace as hr
loader = hr.from_hdf5(sys.argv[1], x="image", y="label").batch(32)
assert "keras" not in sys.modules
import keras
model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
model.compile("sgd", "sparse_categorical_crossentropy")
print(len(model.fit(loader, epochs=2, verbose=0).history["loss"]))
other = hr.from_hdf5(sys.argv[1], x="image", y="label").batch(32)
print(isinstance(other, keras.utils.PyDataset))
"""


def test_keras_may_be_imported_after_the_loader_was_made(images):
    """The order of imports is the user's."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, images], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["2", "True"], done.stderr
