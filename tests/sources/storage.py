"""Larger images in the main forms of storage, and functions that write and read."""

import h5py
import numpy as np

from headrace.sources import empty_arrays, run_reads
from tests.files import create, images

IMAGES = images(64, (16, 16, 3))
WHOLE = (8, 16, 16, 3)
STORAGE = {
    "contiguous": {},
    "raw chunks": {"chunks": WHOLE},
    "raw chunks cut samples": {"chunks": (8, 8, 16, 3)},
    "gzip": {"chunks": WHOLE, "compression": "gzip"},
    "shuffled gzip cuts samples": {"chunks": (8, 8, 9, 2), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": WHOLE, "compression": "lzf"},
    "scaleoffset": {"chunks": WHOLE, "scaleoffset": 8},
}


def read(source, rows=None):
    """The rows of the only field; all of them, if not said otherwise."""
    rows = np.arange(source.length) if rows is None else np.asarray(rows)
    out = empty_arrays(source.fields, len(rows))
    run_reads(source.reads(rows, out))
    return out[source.fields[0].name]


def store(path, values, filters, chunks, **more):
    """Writes `values` as dataset "x", behind filters."""
    with h5py.File(path, "w") as file:
        create(file, "x", values, chunks=chunks, filters=filters, **more)


def by_h5py(path):
    """Dataset "x", as h5py reads it."""
    with h5py.File(path, "r") as file:
        values = file["x"][()]
    return values.astype(values.dtype.newbyteorder("="))
