"""Where a loader stands while and after `fit`: no batch lost, none used twice."""

import gc
import warnings

import keras
import pytest

from tests.keras.helpers import Recorder, no_threads_stay, small_model

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


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


def test_initial_epoch_gives_the_orders_of_those_epochs(data):
    """fit(initial_epoch=2) goes on where fit(epochs=2) ended, also in another process's loader."""
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    small_model().fit(loader, initial_epoch=2, epochs=4, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(2 * 7 + 1, 4 * 7 + 1)]


@pytest.mark.parametrize("begin", ["initial_epoch", "loaded", "both"])
def test_initial_epoch_counts_steps_per_epoch(data, begin):
    """Epochs of 4 steps of 7 batches: the third starts at batch 8, however a run gets there."""
    whole = data.batch(32, shuffle=True, seed=0)
    undisturbed = Recorder(whole)
    small_model().fit(whole, epochs=4, steps_per_epoch=4, verbose=0, callbacks=[undisturbed])
    loader = data.batch(32, shuffle=True, seed=0)
    if begin != "initial_epoch":
        first = data.batch(32, shuffle=True, seed=0)
        small_model().fit(first, epochs=2, steps_per_epoch=4, verbose=0)
        loader.load_state_dict(first.state_dict())
    recorder = Recorder(loader)
    start = {"epochs": 2} if begin == "loaded" else {"initial_epoch": 2, "epochs": 4}
    small_model().fit(loader, steps_per_epoch=4, verbose=0, callbacks=[recorder], **start)
    assert recorder.positions == undisturbed.positions[8:]


def test_a_loaded_position_counts_more_than_initial_epoch(data):
    """It says more exactly where training stopped."""
    first = data.batch(32, shuffle=True, seed=0)
    iterator = iter(first)
    for _ in range(3):
        next(iterator)
    loader = data.batch(32, shuffle=True, seed=0)
    loader.load_state_dict(first.state_dict())
    recorder = Recorder(loader)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*ran out of data", UserWarning)
        small_model().fit(loader, initial_epoch=5, epochs=6, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(4, 8)]


def test_initial_epoch_counts_again_once_the_loaded_position_was_used(data):
    """A second fit on the same loader goes where it is told to."""
    loader = data.batch(32, shuffle=True, seed=0)
    loader.load_state_dict(loader.state_dict())
    small_model().fit(loader, verbose=0)
    recorder = Recorder(loader)
    small_model().fit(loader, initial_epoch=3, epochs=4, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(22, 29)]


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras on PyTorch takes steps_per_execution=1 alone"
)
def test_initial_epoch_counts_the_steps_that_are_executed(data):
    """Three steps, two at a time, are four."""
    loader = data.batch(32, shuffle=True, seed=0)
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=2)
    recorder = Recorder(loader)
    model.fit(loader, initial_epoch=3, epochs=4, steps_per_epoch=3, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in (14, 16)]


def test_a_run_that_was_restored_counts_steps_per_epoch(data, tmp_path):
    """BackupAndRestore begins with the batch after the last one of the epochs that were saved."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError("power cut")

    def run(loader, *callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        small_model().fit(
            loader, epochs=3, steps_per_epoch=5, verbose=0, callbacks=[backup, *callbacks]
        )

    with pytest.raises(RuntimeError, match="power cut"):
        run(data.batch(32, shuffle=True, seed=0), Stop())
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    run(loader, recorder)
    assert recorder.positions == [divmod(i, 7) for i in range(6, 16)]


@pytest.mark.parametrize("initial_epoch", [0, 2])
def test_no_steps_per_epoch_is_a_whole_epoch(data, initial_epoch):
    """As Keras takes 0 for arrays; it comes of n // batch_size on small data."""
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    small_model().fit(
        loader,
        initial_epoch=initial_epoch,
        epochs=initial_epoch + 2,
        steps_per_epoch=0,
        verbose=0,
        callbacks=[recorder],
    )
    assert recorder.steps == [7, 7]
    assert small_model().evaluate(loader, steps=0, verbose=0)


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


def test_one_loader_may_train_and_validate(data):
    """Validation comes in row order and leaves the training position alone."""
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    small_model().fit(loader, validation_data=loader, epochs=2, verbose=0, callbacks=[recorder])
    assert recorder.positions == [divmod(i, 7) for i in range(1, 15)]


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
