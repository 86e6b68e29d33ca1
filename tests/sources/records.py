"""Compound values in many forms: members of members, arrays, gaps, and values of no fixed size."""

import h5py
import numpy as np
import pytest

from headrace.sources.hdf5 import HDF5Source

HIT = np.dtype([("t", "<f4"), ("xy", ">i2", (2,))])
JET = np.dtype([("pt", ">f8"), ("hits", HIT, (3,)), ("tag", "S3")])
EVENT = np.dtype(
    {
        "names": ["id", "pt", "jet", "weights", "good", "it's"],
        "formats": ["<i4", ">f4", JET, ("<f4", (2, 2)), "?", "<u2"],
        "offsets": [0, 8, 16, 80, 100, 104],
        "itemsize": 120,
    }
)
MEMBERS = {
    "table['id']": ("id",),
    'table["pt"]': ("pt",),
    "table['jet']['pt']": ("jet", "pt"),
    "table['jet'][\"hits\"]": ("jet", "hits"),
    "table['jet']['hits']['xy']": ("jet", "hits", "xy"),
    "table['jet']['tag']": ("jet", "tag"),
    "table['weights']": ("weights",),
    "table['good']": ("good",),
    'table["it\'s"]': ("it's",),
}


def events(n=60, shape=()):
    """Random values in all members, and zeros between them."""
    rng = np.random.default_rng(1)
    values = np.zeros((n, *shape), EVENT)
    values["id"] = rng.integers(0, 1000, values.shape)
    values["pt"] = rng.random(values.shape)
    values["jet"]["pt"] = rng.random(values.shape)
    values["jet"]["tag"] = rng.choice([b"b", b"c", b"tau"], values.shape)
    values["jet"]["hits"]["t"] = rng.random((*values.shape, 3))
    values["jet"]["hits"]["xy"] = rng.integers(-99, 99, (*values.shape, 3, 2))
    values["weights"] = rng.random((*values.shape, 2, 2))
    values["good"] = rng.integers(0, 2, values.shape)
    values["it's"] = rng.integers(0, 1000, values.shape)
    return values


def oracle_of(values, members=MEMBERS):
    """What NumPy picks from the whole table, in native order."""
    found = {}
    for name, path in members.items():
        picked = values
        for member in path:
            picked = picked[member]
        found[name] = np.ascontiguousarray(picked.astype(picked.dtype.newbyteorder("=")))
    return found


STORAGE = {
    "contiguous": ({}, "direct rows"),
    "raw": ({"chunks": (7,)}, "direct rows"),
    "gzip": ({"chunks": (7,), "compression": "gzip", "shuffle": True}, "direct chunks"),
    "h5py": ({"chunks": (7,), "compression": "lzf"}, "h5py"),
}


def opened(path, names, way):
    """A source that reads through h5py if it is told to."""
    with pytest.MonkeyPatch.context() as patch:
        if way == "h5py":
            patch.setenv("HEADRACE_HDF5", "h5py")
        return HDF5Source(path, names)


PERSON = np.dtype(
    [
        ("name", h5py.string_dtype()),
        ("age", "<i4"),
        ("address", [("street", h5py.string_dtype()), ("number", ">i2")]),
        ("friends", h5py.vlen_dtype("i4")),
        ("height", "<f4"),
    ]
)
