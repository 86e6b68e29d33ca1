"""Larger images in the main forms of storage, and a function that reads them."""

import numpy as np

from penstock.sources import empty_arrays, run_reads
from tests.files import images

IMAGES = images(64, (16, 16, 3))
WHOLE = (8, 16, 16, 3)
STORAGE = {
    "contiguous": {},
    "raw chunks": {"chunks": WHOLE},
    "raw chunks cut samples": {"chunks": (8, 8, 16, 3)},
    "gzip": {"chunks": WHOLE, "compression": "gzip"},
    "shuffled gzip cuts samples": {"chunks": (8, 8, 9, 2), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": WHOLE, "compression": "lzf"},
    "scaleoffset": {"chunks": WHOLE, "scaleoffset": 0},
}


def read(source, rows=None):
    """The rows of the only field; all of them, if not said otherwise."""
    rows = np.arange(source.length) if rows is None else np.asarray(rows)
    out = empty_arrays(source.fields, len(rows))
    run_reads(source.reads(rows, out))
    return out[source.fields[0].name]
