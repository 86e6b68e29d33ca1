"""Arrays in all the forms that people have, for the contract tests."""

import h5py
import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse
import zarr

from tests.files import images

IMAGES = images(300, (6, 5, 3))
LABELS = np.arange(300) % 7
TABLE = np.random.default_rng(5).normal(size=(300, 4)).astype("f4")


class Sliced:
    """Nothing but a shape and slices, as somebody's own class has."""

    def __init__(self, values):
        self.values = values
        self.shape = values.shape

    def __getitem__(self, index):
        assert isinstance(index, slice)
        return self.values[index]


def in_memory(_):
    return IMAGES, IMAGES


def strided(_):
    return np.repeat(IMAGES, 2, axis=0)[::-2], IMAGES[::-1]


def fortran(_):
    return np.asfortranarray(IMAGES), IMAGES


def big_endian(_):
    return TABLE.astype(">f4"), TABLE


def read_only(_):
    values = LABELS.copy()
    values.flags.writeable = False
    return values, LABELS


def text(_):
    values = np.array([b"cat", b"dog", b"mouse"])[LABELS % 3]
    return values, values


def npy(folder):
    np.save(folder / "x.npy", IMAGES)
    return folder / "x.npy", IMAGES


def npy_big_endian(folder):
    np.save(folder / "x.npy", TABLE.astype(">f4"))
    return str(folder / "x.npy"), TABLE


def npy_fortran(folder):
    np.save(folder / "x.npy", np.asfortranarray(IMAGES))
    return folder / "x.npy", IMAGES


def npy_fortran_big_endian(folder):
    np.save(folder / "x.npy", np.asfortranarray(TABLE.astype(">f4")))
    return folder / "x.npy", TABLE


def npz(folder):
    np.savez(folder / "data.npz", label=LABELS, image=IMAGES)
    return folder / "data.npz" / "image", IMAGES


def mapped(folder):
    np.save(folder / "x.npy", IMAGES)
    return np.load(folder / "x.npy", mmap_mode="r"), IMAGES


def part_of_a_mapped_one(folder):
    np.save(folder / "x.npy", np.concatenate([IMAGES, IMAGES]))
    return np.load(folder / "x.npy", mmap_mode="r")[300:], IMAGES


def mapped_for_writing(folder):
    values = np.memmap(folder / "raw", "u1", "w+", 512, IMAGES.shape)
    values[:] = IMAGES
    return values, IMAGES


def data_frame(_):
    columns = {"a": TABLE[:, 0], "b": LABELS.astype("i2"), "c": LABELS > 3}
    return pd.DataFrame(columns), np.stack(list(columns.values()), axis=1)


def nullable_data_frame(_):
    values = TABLE.astype("f8")
    values[3, 1] = np.nan
    frame = pd.DataFrame(values).astype("Float64")
    frame[4] = pd.array(LABELS, "Int32")
    return frame, np.column_stack([values, LABELS])


def series(_):
    return pd.Series(LABELS), LABELS


def polars_frame(_):
    values = TABLE.astype("f8")
    frame = pl.from_numpy(values).with_columns(n=pl.lit(None, pl.Float64))
    return frame, np.column_stack([values, np.full(300, np.nan)])


def polars_series(_):
    return pl.Series("n", LABELS), LABELS


def sparse(_):
    values = np.where(TABLE > 0.5, TABLE, 0)
    return scipy.sparse.coo_matrix(values), values


def sparse_array(_):
    values = np.where(TABLE > 0.5, TABLE, 0)
    return scipy.sparse.csr_array(values), values


def zarr_array(folder):
    values = zarr.create_array(folder / "x.zarr", data=IMAGES, chunks=(16, 6, 5, 3))
    return values, IMAGES


def sliced(_):
    return Sliced(IMAGES), IMAGES


def hdf5(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("image", data=IMAGES, chunks=(16, 6, 5, 3), compression="gzip")
    return h5py.File(folder / "x.h5", "r")["image"], IMAGES


FORMS = (
    *(in_memory, strided, fortran, big_endian, read_only, text),
    *(npy, npy_big_endian, npy_fortran, npy_fortran_big_endian, npz),
    *(mapped, part_of_a_mapped_one, mapped_for_writing),
    *(data_frame, nullable_data_frame, series, polars_frame, polars_series, sparse, sparse_array),
    *(zarr_array, sliced, hdf5),
)
