"""Arguments and data that Keras alone would drop, or fail on without a word of help."""

import h5py
import keras
import numpy as np
import pytest

import headrace as hr
from headrace.errors import OptionError
from tests.keras.helpers import N, Recorder, small_model

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others have the type")
def test_a_type_that_pytorch_lacks_is_named(data):
    """Instead of a bare KeyError from inside Keras."""
    mapped = data.map(lambda x, y: (x.astype(np.uint64), y))
    with pytest.raises(TypeError, match="uint64"):
        small_model().fit(mapped.batch(32), verbose=0)


def test_class_weight_beside_sample_weight_is_refused(images):
    """As Keras refuses it."""
    data = hr.from_hdf5(images, x="image", y="label", sample_weight="weight")
    with pytest.raises(OptionError, match="either sample_weight or class_weight"):
        small_model().fit(data.batch(32), class_weight={0: 2.0}, verbose=0)


def test_a_forgotten_y_is_named(images):
    """In training, evaluation and validation, instead of a loss of None inside Keras."""
    data = hr.from_hdf5(images, x="image", y="label")
    bare = hr.from_hdf5(images, x="image")
    with pytest.raises(OptionError, match=r"fit\(\) .* these batches have only x.*y="):
        small_model().fit(bare.batch(32), verbose=0)
    with pytest.raises(OptionError, match=r"evaluate\(\) .* these batches have only x.*y="):
        small_model().evaluate(bare.batch(32), verbose=0)
    with pytest.raises(OptionError, match="the batches of validation_data= have only x"):
        small_model().fit(data.batch(32), validation_data=bare.batch(32), verbose=0)


def test_a_model_that_needs_no_y_is_trained_without(images):
    """One with a loss of its own, and one that makes its own steps."""
    data = hr.from_hdf5(images, x="image").map(lambda x: x / np.float32(255))

    class Small(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.mean(keras.ops.square(x)))
            return x

    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Dense(3), Small()])
    inner.compile("sgd")
    assert np.isfinite(inner.fit(data.batch(32), verbose=0).history["loss"]).all()

    class Autoencoder(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.square(y_pred - x))

    inputs = keras.Input((4, 4, 3))
    outer = Autoencoder(inputs, keras.layers.Dense(3)(inputs))
    outer.compile("sgd", "mse")
    assert np.isfinite(outer.fit(data.batch(32), verbose=0).history["loss"]).all()


def two_targets(images, **options):
    names = {"x": "image", "y": {"kind": "label", "age": "age"}}
    return hr.from_hdf5(images, **names, **options)


def test_class_weight_for_several_targets_is_refused(images):
    """In words about the targets; nobody gave a sample_weight."""
    with pytest.raises(OptionError, match="to be one array, and y has 2 here"):
        small_model().fit(two_targets(images).batch(32), class_weight={0: 2.0}, verbose=0)


@pytest.mark.parametrize(
    "weight, words",
    [
        ({"kind": "weight"}, "no entry for age"),
        ({"kind": "weight", "age": "weight", "size": "weight"}, "names size"),
        (["weight"], "a list of 1, and y has a dict of 2"),
    ],
)
def test_weights_for_some_targets_are_refused(images, weight, words):
    """When the data set is made, not as a KeyError in training; map() likewise."""
    with pytest.raises(OptionError, match=words):
        two_targets(images, sample_weight=weight)


def test_one_weight_counts_for_all_targets(images):
    """Keras takes it so."""
    data = two_targets(images, sample_weight="weight")
    _, y, weight = data[:3]
    assert list(y) == ["kind", "age"]
    assert np.array_equal(weight, np.linspace(0, 1, N, dtype=np.float32)[:3])


def test_weights_for_some_targets_out_of_map_are_refused(images):
    """The function that returned them is named by the error's place: the batch is looked at."""
    data = two_targets(images).map(lambda x, y: (x, y, {"kind": np.ones(len(x))}))
    with pytest.raises(OptionError, match="no entry for age"):
        next(iter(data.batch(32)))


def test_a_negative_number_of_steps_is_refused(data):
    """It would never end."""
    with pytest.raises(OptionError, match="Received: -1"):
        small_model().fit(data.batch(32), steps_per_epoch=-1, verbose=0)


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
    data = hr.from_hdf5(tmp_path / "text.h5", x="name", y="label")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="numeric dtype"):
        model.fit(data.batch(10), verbose=0)


def test_an_error_in_a_worker_reaches_the_user(data):
    """With its own message, on every backend; no thread stays behind."""

    def bad(x, y):
        raise ValueError("the label file was lost")

    with pytest.raises(Exception, match="the label file was lost"):
        small_model().fit(data.map(bad).batch(32), verbose=0)


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


def test_predict_does_not_take_a_stop_of_the_data_for_its_end(data):
    """StopIteration from a map function is an error, not fewer predictions."""

    def stop(x, y):
        raise StopIteration

    with pytest.raises(Exception, match="StopIteration"):
        small_model().predict(data.map(stop).batch(32), verbose=0)
