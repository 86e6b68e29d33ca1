"""What tests of `create` share."""

import h5py
import numpy as np

import headrace as hr

FIELDS = {"image": ((4, 4, 3), "uint8"), "label": "float32"}


def samples(start, count, shape=(4, 4, 3)):
    """Images and labels of rows, made of their numbers."""
    rows = np.arange(start, start + count)
    image = (rows[:, None] * 7 + np.arange(np.prod(shape, dtype=int))) % 251
    return image.reshape(count, *shape).astype("uint8"), rows.astype("float32")


def check_file(path, expected):
    """The datasets that plain h5py and Headrace read in a file are these arrays."""
    names = list(expected)
    with h5py.File(path, "r") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "dtype") else None)
        assert sorted(found) == sorted(names)
        for name in names:
            assert file[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(file[name][:], expected[name])
    for name, array in zip(names, hr.from_hdf5(path, names)[:][0], strict=True):
        np.testing.assert_array_equal(array, expected[name])


def names_in(folder):
    """What is in a folder, hidden things included."""
    return sorted(item.name for item in folder.iterdir())
