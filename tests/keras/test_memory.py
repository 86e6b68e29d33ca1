"""What a backend makes of a batch stays as it was, although the loader uses its memory again."""

import h5py
import keras
import numpy as np
import pytest

import headrace as hr


@pytest.fixture
def rows(tmp_path):
    """2,000 rows that each hold their number 800 times."""
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w") as file:
        values = np.arange(2000, dtype=np.float32)[:, None].repeat(800, axis=1)
        file.create_dataset("rows", data=values, chunks=(20, 800), compression="gzip")
    return path


def test_tensors_outlive_their_batches(rows):
    """A backend may go on using the memory of an array that the program has let go of."""
    loader = hr.from_hdf5(rows, x="rows").batch(32, memory="2MB")
    tensors = [keras.ops.convert_to_tensor(x) for (x,) in loader]
    values = np.concatenate([keras.ops.convert_to_numpy(tensor) for tensor in tensors])
    assert (values == np.arange(2000)[:, None]).all()


def test_predictions_are_those_of_each_row(rows):
    """Row by row, in row order, with memory that is used again while the model computes."""
    model = keras.Sequential([keras.Input((800,)), keras.layers.Lambda(lambda x: x[:, :1])])
    loader = hr.from_hdf5(rows, x="rows").batch(32, memory="2MB")
    assert (model.predict(loader, verbose=0)[:, 0] == np.arange(2000)).all()
