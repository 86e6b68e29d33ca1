"""The loaders of the tutorials in fit, evaluate and predict; and the calls for generators."""

import itertools
import threading
import time

import h5py
import imagecodecs
import keras
import numpy as np
import pandas as pd
import pytest

import headrace as hr
from headrace.errors import OptionError
from tests import tutorials
from tests.bad_input.refusal import refused
from tests.keras.helpers import N, Recorder, no_threads_stay
from tests.sequences import BOTH, Failing, Numbers, Shuffled


@pytest.fixture
def arrays(images):
    with h5py.File(images) as file:
        return file["image"][:], file["label"][:]


def csv_shards(images, arrays, folder):
    """Seven files of 29 rows, with gaps."""
    x, y = arrays
    table = x.reshape(N, -1) / np.float32(255)
    files = []
    for number, rows in enumerate(np.array_split(np.arange(N), 7)):
        frame = pd.DataFrame(table[rows])
        frame["label"] = y[rows]
        frame.iloc[0, 0] = np.nan
        files.append(folder / f"{number}.csv")
        frame.to_csv(files[-1], index=False)
    train = tutorials.CSVSequence(files[:6], 3)
    return train, tutorials.CSVSequence(files[6:], 3), (48,), "categorical_crossentropy"


def image_paths(images, arrays, folder):
    x, y = arrays
    paths = []
    for number, image in enumerate(x):
        paths.append(str(folder / f"{number}.png"))
        imagecodecs.imwrite(paths[-1], np.repeat(np.repeat(image, 3, 0), 2, 1))
    train, val = (
        tutorials.ImageSequence(paths, y, 4, 16, 0.2, subset) for subset in ("training", "val")
    )
    return train, val, (4, 4, 3), "sparse_categorical_crossentropy"


def in_memory(images, arrays, folder):
    x, y = arrays[0] / np.float32(255), arrays[1]
    train = tutorials.InMemoryLoader(x[:160], y[:160], 16)
    val = tutorials.InMemoryLoader(x[160:], y[160:], 8, shuffle=False)
    return train, val, (4, 4, 3), "sparse_categorical_crossentropy"


def hdf5_slices(images, arrays, folder):
    train = tutorials.HDF5Sequence(images, 16)
    return train, tutorials.HDF5Sequence(images, 50), (4, 4, 3), "sparse_categorical_crossentropy"


def model_for(shape, loss):
    model = keras.Sequential(
        [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    )
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


@BOTH
@pytest.mark.parametrize("tutorial", [csv_shards, image_paths, in_memory, hdf5_slices])
def test_the_loaders_of_the_tutorials_train_evaluate_and_predict(
    images, arrays, tmp_path, tutorial, processes
):
    train, val, shape, loss = tutorial(images, arrays, tmp_path)
    model = model_for(shape, loss)
    options = {"workers": 2, "processes": processes}
    train, val = hr.from_sequence(train, **options), hr.from_sequence(val, **options)
    recorder = Recorder()
    history = model.fit(
        train, validation_data=val, epochs=12, verbose=0, callbacks=[recorder]
    ).history
    assert recorder.steps == [len(train)] * 12
    assert history["loss"][-1] < history["loss"][0] * 0.9
    assert history["val_accuracy"][-1] > 0.6
    _, accuracy = model.evaluate(val, verbose=0)
    assert accuracy == pytest.approx(history["val_accuracy"][-1])
    expected = np.concatenate([model.predict_on_batch(x) for x, _ in val])
    assert np.allclose(model.predict(val, verbose=0), expected, atol=1e-5)


def column_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    return model


@BOTH
def test_training_equals_training_on_the_batches_one_by_one(processes):
    model = column_model()
    start = model.get_weights()
    model.fit(hr.from_sequence(Numbers(), processes=processes), epochs=2, verbose=0)
    fitted = model.get_weights()
    model.set_weights(start)
    for _, index in itertools.product(range(2), range(8)):
        model.train_on_batch(*Numbers()[index])
    for a, b in zip(fitted, model.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_an_end_for_each_epoch_of_fit_and_none_for_evaluating():
    items, val = Shuffled(), Shuffled()
    model = column_model()
    model.fit(hr.from_sequence(items), epochs=3, validation_data=hr.from_sequence(val), verbose=0)
    assert items.ends == 3
    assert val.ends == 0
    model.evaluate(hr.from_sequence(val), verbose=0)
    model.predict(hr.from_sequence(val), verbose=0)
    assert val.ends == 0
    no_threads_stay()


def test_steps_that_are_no_whole_epochs_use_each_batch_once_an_epoch():
    items = Shuffled()
    loader = hr.from_sequence(items, workers=1)
    column_model().fit(loader, epochs=4, steps_per_epoch=5, verbose=0)
    # 20 of 8 batches an epoch: two epochs, half a third, and what was made ahead of it.
    assert sorted(items.asked[:16]) == sorted([*range(8)] * 2)
    assert items.ends == 2


def test_class_weights_count():
    model = column_model()
    start = model.get_weights()

    class Classes(Numbers):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x, y % 2

    results = []
    for weights in (None, {0: 0.0, 1: 5.0}):
        model.set_weights(start)
        model.fit(hr.from_sequence(Classes()), class_weight=weights, verbose=0)
        results.append(model.get_weights()[0])
    assert not np.allclose(*results, atol=1e-6)


def test_an_error_in_a_batch_ends_fit_with_it():
    with pytest.raises(Exception, match="the third"):
        column_model().fit(hr.from_sequence(Failing()), verbose=0)


def test_arguments_that_belong_elsewhere_are_refused():
    model = column_model()
    loader = hr.from_sequence(Numbers())
    with refused(OptionError, "y= was given"):
        model.fit(loader, np.zeros(60))
    with refused(OptionError, "are made by your object"):
        model.fit(loader, batch_size=8)
    with refused(OptionError, "validation_split"):
        model.fit(loader, validation_split=0.5)


# The calls for generators.


def generator(epochs=None):
    for _ in range(epochs) if epochs else itertools.count():
        for index in range(8):
            yield Numbers()[index]


# `pytest.warns` gives on all others as if they were its own.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_fit_generator_takes_every_old_argument(use_multiprocessing):
    items = Shuffled()
    recorder = Recorder()
    with pytest.warns(FutureWarning, match=r"model\.fit\(hr\.from_sequence\(generator, workers=2"):
        history = hr.fit_generator(
            column_model(),
            items,
            steps_per_epoch=None,
            epochs=5,
            verbose=0,
            callbacks=[recorder],
            validation_data=Numbers(),
            validation_steps=None,
            validation_freq=2,
            class_weight=None,
            max_queue_size=4,
            workers=2,
            use_multiprocessing=use_multiprocessing,
            shuffle=True,
            initial_epoch=1,
        )
    assert recorder.steps == [8] * 4
    assert len(history.history["val_loss"]) == 2


@pytest.mark.filterwarnings("ignore:.*is kept for old code:FutureWarning")
def test_a_plain_generator_is_read_ahead_by_one_thread():
    model = column_model()
    start = model.get_weights()
    history = hr.fit_generator(
        model,
        generator(),
        8,
        epochs=2,
        verbose=0,
        validation_data=generator(),
        validation_steps=8,
    ).history
    assert len(history["val_loss"]) == 2
    fitted = model.get_weights()
    model.set_weights(start)
    model.fit(hr.from_sequence(Numbers()), epochs=2, verbose=0)
    for a, b in zip(fitted, model.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)
    for thread in threading.enumerate():
        if thread.name == "headrace-generator":
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*is kept for old code:FutureWarning")
def test_evaluate_and_predict_generator():
    model = column_model()
    loader = hr.from_sequence(Numbers())
    expected = model.evaluate(loader, verbose=0)
    assert hr.evaluate_generator(model, Numbers(), workers=2) == pytest.approx(expected)
    assert hr.evaluate_generator(model, generator(1), steps=8) == pytest.approx(expected)
    predicted = model.predict(loader, verbose=0)
    assert predicted.shape == (60, 1)
    assert np.allclose(hr.predict_generator(model, Numbers(), workers=0), predicted, atol=1e-6)
    assert np.allclose(hr.predict_generator(model, generator(1), steps=8), predicted, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*is kept for old code:FutureWarning")
def test_what_a_generator_cannot_do_is_refused_with_the_reason():
    model = column_model()
    for options in ({"workers": 2}, {"use_multiprocessing": True}):
        with refused(OptionError, "cannot use several workers", "__getitem__"):
            hr.fit_generator(model, generator(), 8, **options)
    with refused(OptionError, "steps_per_epoch= is needed"):
        hr.fit_generator(model, generator())
    with refused(OptionError, "steps= is needed"):
        hr.predict_generator(model, generator())


@pytest.mark.filterwarnings("ignore:.*is kept for old code:FutureWarning")
class TestHabits:
    """What old programs wrote."""

    def test_steps_are_rounded_up(self):
        recorder = Recorder()
        model = column_model()
        hr.fit_generator(model, generator(), 60 / 8, epochs=2, verbose=0, callbacks=[recorder])
        assert recorder.steps == [8, 8]
        assert hr.predict_generator(model, generator(), np.ceil(60 / 8)).shape == (60, 1)

    def test_objects_that_are_iterators_as_well_are_asked_by_index(self):
        """As those of ImageDataGenerator are."""

        class Flow(Numbers):
            def __iter__(self):
                return self

            def __next__(self):
                raise AssertionError

        recorder = Recorder()
        hr.fit_generator(column_model(), Flow(), workers=2, verbose=0, callbacks=[recorder])
        assert recorder.steps == [8]

    def test_class_weights_count_for_generators(self):
        model = column_model()
        start = model.get_weights()

        def classes():
            for x, y in generator():
                yield x, y % 2

        class Classes(Numbers):
            def __getitem__(self, index):
                x, y = super().__getitem__(index)
                return x, y % 2

        weights = {0: 0.0, 1: 5.0}
        hr.fit_generator(model, classes(), 8, class_weight=weights, verbose=0)
        one = model.get_weights()[0]
        model.set_weights(start)
        hr.fit_generator(model, Classes(), class_weight=weights, shuffle=False, verbose=0)
        assert np.allclose(one, model.get_weights()[0], atol=1e-6)

    def test_a_generator_can_be_used_again_after_a_call(self):
        slow = (batch for batch in generator() if not time.sleep(0.02))
        for _ in range(3):
            hr.fit_generator(column_model(), slow, 2, verbose=0, max_queue_size=1)
        assert len(next(slow)) == 2

    def test_a_seed_of_keras_repeats_the_order(self):
        def order():
            items = Shuffled()
            keras.utils.set_random_seed(3)
            hr.fit_generator(column_model(), items, verbose=0)
            return items.asked

        assert order() == order()

    def test_arguments_of_2016_are_refused_with_those_of_today(self):
        with refused(OptionError, "Unknown argument nb_epoch=. Use epochs"):
            hr.fit_generator(column_model(), Numbers(), nb_epoch=2)


def test_steps_that_are_no_number_of_batches_are_refused_with_the_way_out():
    with refused(OptionError, "steps_per_epoch", "math.ceil"):
        column_model().fit(hr.from_sequence(Numbers()), steps_per_epoch=7.5)


def test_batches_may_be_of_different_widths_where_the_model_allows_it():
    class Padded:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return np.zeros((4, 3 + index), "int32"), np.zeros(4)

    model = keras.Sequential(
        [
            keras.Input((None,)),
            keras.layers.Embedding(5, 2),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    loader = hr.from_sequence(Padded())
    model.fit(loader, validation_data=loader, verbose=0)
    model.evaluate(loader, verbose=0)
    assert model.predict(loader, verbose=0).shape == (16, 2)


def test_two_fits_of_whole_epochs_end_as_many():
    items = Shuffled()
    loader = hr.from_sequence(items, workers=1)
    model = column_model()
    for ends in (2, 4):
        model.fit(loader, steps_per_epoch=8, epochs=2, verbose=0)
        assert items.ends == ends
