"""fit, evaluate and predict take loaders, on the backend that KERAS_BACKEND names."""

import gc
import subprocess
import sys
import threading
import warnings

import h5py
import keras
import numpy as np
import pytest

import penstock as ps
from penstock.errors import OptionError

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes:UserWarning")

N = 203


class Recorder(keras.callbacks.Callback):
    """Notes the steps of each epoch, and the loader's position after each step."""

    def __init__(self, loader=None):
        super().__init__()
        self.loader = loader
        self.steps = []
        self.positions = []

    def on_epoch_begin(self, epoch, logs=None):
        self.steps.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.steps[-1] += 1
        if self.loader is not None:
            state = self.loader.state_dict()
            self.positions.append((state["epoch"], state["batch"]))


def small_model(outputs=3):
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(outputs, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def no_threads_stay():
    """Threads whose iterator the collector found were told to end, and do."""
    threads = [t for t in threading.enumerate() if t.name.startswith("penstock")]
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def images(tmp_path):
    """203 images in gzip chunks; the class can be seen in the picture."""
    label = np.random.default_rng(0).integers(0, 3, N)
    image = np.random.default_rng(1).integers(0, 100, (N, 4, 4, 3))
    image[np.arange(N), label] += 150
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "image", data=image.astype(np.uint8), chunks=(8, 4, 4, 3), compression="gzip"
        )
        file["label"] = label
        file["id"] = np.arange(N)
        file["weight"] = np.linspace(0, 1, N, dtype=np.float32)
        file["age"] = np.linspace(-1, 1, N, dtype=np.float32)
    return path


@pytest.fixture
def data(images):
    return ps.from_hdf5(images, x="image", y="label")


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
    without_y = ps.concat(data, data).map(lambda x, y: x).batch(50)
    assert np.allclose(model.predict(without_y, verbose=0)[N:], from_arrays, atol=1e-5)


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


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 10, 23])
def test_steps_per_epoch_loses_and_repeats_no_batch(data, steps):
    """Shorter or longer than the data: positions go on one by one through the loader's epochs."""
    loader = data.batch(32, shuffle=True, seed=0, memory="60kB")
    assert len(loader) == 7
    recorder = Recorder(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_model().fit(loader, epochs=4, steps_per_epoch=steps, verbose=0, callbacks=[recorder])
    assert recorder.steps == [steps] * 4
    assert recorder.positions == [divmod(i, 7) for i in range(1, 4 * steps + 1)]


def test_the_position_is_what_was_trained_on(data):
    """A callback that saves the position after a step saves that step, on every backend."""
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    small_model().fit(loader, epochs=2, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(1, 15)]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX sends batches ahead")
@pytest.mark.parametrize("steps", [None, 5])
def test_the_position_is_what_was_trained_on_where_a_batch_is_sent_ahead(data, monkeypatch, steps):
    """As on an accelerator: the trainer has drawn one batch more than it has trained on."""
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    small_model().fit(loader, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(1, 2 * (steps or 7) + 1)]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others have the type")
def test_a_type_that_pytorch_lacks_is_named(data):
    """Instead of a bare KeyError from inside Keras."""
    mapped = data.map(lambda x, y: (x.astype(np.uint64), y))
    with pytest.raises(TypeError, match="uint64"):
        small_model().fit(mapped.batch(32), verbose=0)


def test_initial_epoch_gives_the_orders_of_those_epochs(data):
    """fit(initial_epoch=2) goes on where fit(epochs=2) ended, also in another process's loader."""
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    small_model().fit(loader, initial_epoch=2, epochs=4, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(2 * 7 + 1, 4 * 7 + 1)]


def test_fit_in_a_loop_gives_new_orders(data):
    """fit(epochs=1) again and again does not repeat the first epoch's order."""
    loader = data.batch(32, shuffle=True, seed=0)
    model = small_model()
    for epoch in range(3):
        assert loader.epoch == epoch
        model.fit(loader, verbose=0)


def test_fit_goes_on_from_a_loaded_position(data):
    """The rest of the epoch first, then whole ones."""
    loader = data.batch(32, shuffle=True, seed=0)
    iterator = iter(loader)
    for _ in range(4):
        next(iterator)
    fresh = data.batch(32, shuffle=True, seed=0)
    fresh.load_state_dict(loader.state_dict())
    recorder = Recorder(fresh)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*ran out of data", UserWarning)
        small_model().fit(fresh, epochs=2, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(5, 15)]


def test_a_position_loaded_between_epochs_is_honoured(data):
    """Although the next epoch was begun ahead of time."""
    loader = data.batch(32, shuffle=True, seed=0)
    start = loader.state_dict()

    class Again(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            loader.load_state_dict(start)

    recorder = Recorder(loader)
    small_model().fit(loader, epochs=3, verbose=0, callbacks=[recorder, Again()])
    assert recorder.positions == 3 * [divmod(i, 7) for i in range(1, 8)]
    gc.collect()
    no_threads_stay()


def test_a_loop_beside_fit_takes_an_epoch_of_its_own(data):
    """A callback that goes over the loader: no batch is lost to it, none is used twice."""
    loader = data.batch(32, shuffle=True, seed=0)
    epochs = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append(loader.epoch)
            list(loader)

    small_model().fit(loader, epochs=3, verbose=0, callbacks=[Look()])
    assert epochs == [1, 3, 5]


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


def test_one_loader_may_train_and_validate(data):
    """Validation comes in row order and leaves the training position alone."""
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    small_model().fit(loader, validation_data=loader, epochs=2, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(1, 15)]


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


def test_class_weight_beside_sample_weight_is_refused(images):
    """As Keras refuses it."""
    data = ps.from_hdf5(images, x="image", y="label", sample_weight="weight")
    with pytest.raises(OptionError, match="class_weight alone"):
        small_model().fit(data.batch(32), class_weight={0: 2.0}, verbose=0)


def test_sample_weight_reaches_the_loss(images):
    """Equal to fit from arrays."""
    data = ps.from_hdf5(images, x="image", y="label", sample_weight="weight")
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
    data = ps.from_hdf5(
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


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"y": np.zeros(N)}, "y="),
        ({"sample_weight": np.zeros(N)}, "sample_weight="),
        ({"validation_split": 0.1}, "validation_split"),
        ({"batch_size": 64}, "batch_size=64"),
    ],
)
def test_arguments_beside_a_loader_are_refused(data, arguments, name):
    """Never dropped: the error says where they belong."""
    with pytest.raises(ValueError, match=name):
        small_model().fit(data.batch(32), verbose=0, **arguments)


def test_validation_split_beside_validation_data_is_refused(data):
    """Keras alone would drop it silently."""
    with pytest.raises(OptionError, match="validation_split"):
        small_model().fit(
            data.batch(32), validation_split=0.1, validation_data=data.batch(32), verbose=0
        )


def test_y_beside_a_loader_is_refused_in_evaluate(data):
    """Not only in fit."""
    with pytest.raises(OptionError, match="y="):
        small_model().evaluate(data.batch(32), np.zeros(N), verbose=0)


def test_a_batch_size_for_arrays_is_no_matter_to_a_validation_loader(data):
    """fit(arrays, batch_size=..., validation_data=loader) is sound."""
    x, y = data[:]
    history = (
        small_model().fit(x, y, batch_size=50, validation_data=data.batch(32), verbose=0).history
    )
    assert "val_loss" in history


def test_an_equal_batch_size_is_honoured(data):
    """It says the same thing twice."""
    small_model().fit(data.batch(32), batch_size=32, verbose=0)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="TensorFlow has tensors of text"
)
def test_text_is_refused_before_training(tmp_path):
    """Keras trains on numbers."""
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file["name"] = np.array([b"cat", b"dog"] * 50)
        file["label"] = np.zeros(100)
    data = ps.from_hdf5(tmp_path / "text.h5", x="name", y="label")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="numbers"):
        model.fit(data.batch(10), verbose=0)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras on PyTorch takes steps_per_execution=1 alone"
)
def test_steps_per_execution_sees_every_batch(data):
    """Several steps in one call of the backend's function."""
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=2)
    loader = data.batch(32, shuffle=True, seed=0, drop_remainder=True)
    model.fit(loader, epochs=2, verbose=0)
    assert loader.epoch == 2
    assert loader.report().samples == 2 * 192


def test_an_error_in_a_worker_reaches_the_user(data):
    """With its own message, on every backend; no thread stays behind."""

    def bad(x, y):
        raise ValueError("the label file was lost")

    with pytest.raises(Exception, match="the label file was lost"):
        small_model().fit(data.map(bad).batch(32), verbose=0)


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


def test_shuffle_false_beside_a_shuffling_loader_is_refused(data):
    """The order is said in batch(); beside a loader in row order it says the same thing twice."""
    with pytest.raises(OptionError, match="shuffle=False"):
        small_model().fit(data.batch(32, shuffle=True), shuffle=False, verbose=0)
    loader = data.batch(32)
    recorder = Recorder(loader)
    small_model().fit(
        loader, shuffle=False, epochs=2, steps_per_epoch=10, verbose=0, callbacks=[recorder]
    )
    assert recorder.positions == [divmod(i, 7) for i in range(1, 21)]


def test_evaluate_in_a_callback_leaves_training_alone(data):
    """Also on the loader that is being trained from."""
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)

    class Evaluate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(loader, verbose=0)

    small_model().fit(loader, epochs=2, verbose=0, callbacks=[recorder, Evaluate()])
    assert recorder.positions == [divmod(i, 7) for i in range(1, 15)]


def test_a_restored_run_goes_on_with_the_orders_of_its_epochs(data, tmp_path):
    """BackupAndRestore starts at a later epoch than fit was told."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError("power cut")

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(RuntimeError, match="power cut"):
        small_model().fit(
            data.batch(32, shuffle=True, seed=0), epochs=3, verbose=0, callbacks=[backup, Stop()]
        )
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    small_model().fit(loader, epochs=3, verbose=0, callbacks=[backup, recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(8, 22)]


def test_predict_does_not_take_a_stop_of_the_data_for_its_end(data):
    """StopIteration from a map function is an error, not fewer predictions."""

    def stop(x, y):
        raise StopIteration

    with pytest.raises(Exception, match="StopIteration"):
        small_model().predict(data.map(stop).batch(32), verbose=0)


def test_a_loader_is_a_pydataset(data):
    """For whatever asks Keras's own way; and it works as one, batch by batch."""
    loader = data.batch(32)
    assert isinstance(loader, keras.utils.PyDataset)
    assert loader.num_batches == len(loader) == 7
    assert np.array_equal(loader[6][1], data[192:][1])


def test_without_the_adapter_fit_still_works(data):
    """A Keras that moved the function that is wrapped: a plain PyDataset is left."""
    from keras.src.trainers import data_adapters

    from penstock.keras import adapter

    wrapped = data_adapters.get_data_adapter
    data_adapters.get_data_adapter = adapter._original
    try:
        loader = data.batch(32, shuffle=True, seed=0)
        history = small_model().fit(loader, epochs=2, verbose=0).history
    finally:
        data_adapters.get_data_adapter = wrapped
    assert len(history["loss"]) == 2


SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import penstock as ps
loader = ps.from_hdf5(sys.argv[1], x="image", y="label").batch(32)
assert "keras" not in sys.modules
import keras
model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
model.compile("sgd", "sparse_categorical_crossentropy")
print(len(model.fit(loader, epochs=2, verbose=0).history["loss"]))
other = ps.from_hdf5(sys.argv[1], x="image", y="label").batch(32)
print(isinstance(other, keras.utils.PyDataset))
"""


def test_keras_may_be_imported_after_the_loader_was_made(images):
    """The order of imports is the user's."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, images], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["2", "True"], done.stderr
