"""Makes files that ask for too much, and looks at what became of them."""

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t


def refused(found, *words, error="DataError", step="open"):
    """Makes sure that a step ended with an error of these words."""
    assert found[step][0] == error, found
    for word in words:
        assert word in found[step][1], found


def declare(path, shape, dtype="u1", *, libver="earliest", filters=(), chunks=None, **storage):
    """A dataset of any shape of which nothing is written, but what `storage` says."""
    with h5py.File(path, "w", libver=libver) as file:
        plist = h5p.create(h5p.DATASET_CREATE)
        if chunks:
            plist.set_chunk(chunks)
        for add in filters:
            add(plist)
        space = h5s.create_simple(shape, storage.get("maxshape", shape))
        kind = dtype if isinstance(dtype, h5t.TypeID) else h5t.py_create(np.dtype(dtype))
        made = h5d.create(file.id, b"x", kind, space, plist)
        for offset, raw in storage.get("raw", {}).items():
            made.write_direct_chunk(offset, raw)
