"""A file of images to train on."""

import h5py
import numpy as np
import pytest

import headrace as hr
from tests.keras.helpers import N


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
    return hr.from_hdf5(images, x="image", y="label")
