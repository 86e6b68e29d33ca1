"""Loaders of the kind that tutorials had, written for Keras 2."""

import h5py
import numpy as np
import pandas as pd
from PIL import Image


class CSVSequence:
    """A batch for each file: gaps filled, labels as one-hot rows."""

    def __init__(self, files, classes):
        self.files = list(files)
        self.classes = classes

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        frame = pd.read_csv(self.files[index])
        label = frame.pop("label")
        x = frame.fillna(0).to_numpy("float32")
        return x, np.eye(self.classes, dtype="float32")[label]


class ImageSequence:
    """Images by their paths, made one size; the last share of them validates."""

    def __init__(self, paths, labels, size, batch_size, validation_split=0.0, subset="training"):
        first = int(len(paths) * (1 - validation_split))
        chosen = slice(0, first) if subset == "training" else slice(first, None)
        self.paths, self.labels = paths[chosen], np.asarray(labels)[chosen]
        self.size, self.batch_size = size, batch_size

    def __len__(self):
        return int(np.ceil(len(self.paths) / self.batch_size))

    def __getitem__(self, index):
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        size = (self.size, self.size)
        images = [np.asarray(Image.open(path).resize(size)) for path in self.paths[chosen]]
        return np.stack(images).astype("float32") / 255, self.labels[chosen]


class InMemoryLoader:
    """Arrays in memory; their order is drawn anew when an epoch ends."""

    def __init__(self, x, y, batch_size, shuffle=True):
        self.x, self.y = x, y
        self.batch_size, self.shuffle = batch_size, shuffle
        self.on_epoch_end()

    def __len__(self):
        return len(self.x) // self.batch_size

    def __getitem__(self, index):
        chosen = self.indices[index * self.batch_size : (index + 1) * self.batch_size]
        return self.x[chosen], self.y[chosen]

    def on_epoch_end(self):
        self.indices = np.arange(len(self.x))
        if self.shuffle:
            np.random.shuffle(self.indices)  # noqa: NPY002 - as tutorials do


class HDF5Sequence:
    """Slices of a file, opened for each batch."""

    def __init__(self, path, batch_size):
        self.path, self.batch_size = path, batch_size
        with h5py.File(path) as file:
            self.rows = len(file["label"])

    def __len__(self):
        return -(-self.rows // self.batch_size)

    def __getitem__(self, index):
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        with h5py.File(self.path) as file:
            return file["image"][chosen] / np.float32(255), file["label"][chosen]


class HDF5Matrix:
    """Rows of a dataset in place of an array; a batch is asked for by a list of its rows."""

    def __init__(self, data, start=0, end=None):
        self.data, self.start = data, start
        self.end = data.shape[0] if end is None else end

    def __len__(self):
        return self.end - self.start

    def __getitem__(self, key):
        return self.data[[self.start + row for row in key]]
