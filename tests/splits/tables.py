"""The same columns in every kind of data set."""

import itertools

import h5py
import numpy as np

import headrace as hr

N = 1003
"""Rows; a prime, so that nothing comes out even."""


def columns(n=N, seed=0):
    """An id for each row, and what decides about it."""
    rng = np.random.default_rng(seed)
    label = rng.choice(5, n, p=[0.5, 0.3, 0.1, 0.08, 0.02])
    user = rng.integers(0, 90, n)
    return {
        "id": np.arange(n),
        "label": label,
        "one_hot": np.eye(5, dtype=np.float32)[label],
        "user": user,
        "name": np.char.add("user-", user.astype(str)).astype("S12"),
        "part": np.where(user < 60, b"train", np.where(user < 75, b"val", b"test")),
        "fold": (user % 4).astype(np.int8),
        "held_out": user >= 70,
        "age": (user / 7).astype(np.float32),
    }


def write(path, table):
    with h5py.File(path, "w") as file:
        for name, values in table.items():
            file[name] = values
    return path


def contiguous(folder, table):
    return hr.from_hdf5(write(folder / "flat.h5", table), x="id", y="label")


def compressed(folder, table):
    path = folder / "gzip.h5"
    with h5py.File(path, "w") as file:
        for name, values in table.items():
            file.create_dataset(
                name, data=values, chunks=(64, *values.shape[1:]), compression="gzip"
            )
    return hr.from_hdf5(path, x="id", y="label")


def one_chunk(folder, table):
    with h5py.File(folder / "one.h5", "w") as file:
        for name, values in table.items():
            file.create_dataset(name, data=values, chunks=values.shape, compression="gzip")
    return hr.from_hdf5(folder / "one.h5", x="id", y="label")


def several_files(folder, table):
    """Fields that decide have other widths in each file."""
    cuts = [0, 100, 101, 640, len(table["id"])]
    for number, (a, b) in enumerate(itertools.pairwise(cuts)):
        part = {name: values[a:b] for name, values in table.items()}
        for name in ("name", "part"):
            part[name] = part[name].astype(f"S{12 + number}")
        part["user"] = part["user"].astype(["i8", ">i4", "u2", "f4"][number])
        write(folder / f"shard{number}.h5", part)
    return hr.from_hdf5(folder / "shard*.h5", x="id", y="label")


def virtual(folder, table):
    write(folder / "flat.h5", table)
    with h5py.File(folder / "virtual.h5", "w") as file:
        for name, values in table.items():
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            source = h5py.VirtualSource(folder / "flat.h5", name, values.shape)
            half = len(values) // 2
            layout[:half], layout[half:] = source[:half], source[half:]
            file.create_virtual_dataset(name, layout)
    return hr.from_hdf5(folder / "virtual.h5", x="id", y="label")


FORMS = [contiguous, compressed, one_chunk, several_files, virtual]


def ids(data):
    """The ids of all rows, in order."""
    return data[:][0] if len(data) else np.empty(0, np.int64)
