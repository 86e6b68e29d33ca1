"""What the tests of Keras share."""

import gc
import threading

import keras

N = 203
"""Rows of the file of the fixture `images`."""


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
    """Threads whose iterator the collector finds, of this test or of one before, end."""
    gc.collect()
    threads = [t for t in threading.enumerate() if t.name.startswith("headrace")]
    for thread in threads:
        thread.join(10)
    assert [thread.name for thread in threads if thread.is_alive()] == []
