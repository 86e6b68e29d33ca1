"""Writes HDF5 files in all the forms that people have, for tests."""

import ctypes
import os
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z

DONT_FILTER_PARTIAL_CHUNKS = 2


def images(n=50, shape=(4, 4, 3), dtype="u1", seed=0):
    """n random samples in which the low bits repeat, so that they compress somewhat.

    Of 7 bits: libhdf5 1.14.6 cannot read back what its scaleoffset makes of all 8.
    """
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 8, (n, *shape))
    values[..., :1] = rng.integers(0, 128, (*values.shape[:-1], 1)) if values.ndim > 1 else 0
    return values.astype(dtype)


def write(path, **datasets):
    """Writes a file of datasets: arrays, or dicts with the arguments of `create_dataset`."""
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            if isinstance(value, dict):
                file.create_dataset(name, **value)
            else:
                file[name] = value
    return path


def mutate(path, content, seed):
    """Writes `content` anew with a few bytes near its start changed at random."""
    rng = np.random.default_rng(seed)
    mutated = np.frombuffer(content, np.uint8).copy()
    where = rng.integers(0, min(8192, len(content)), rng.integers(1, 5))
    mutated[where] = rng.integers(0, 256, len(where))
    path.unlink()
    path.write_bytes(mutated.tobytes())


def gzip(data, rows=8, **more):
    """The arguments for a dataset in gzip chunks of whole samples."""
    return {"data": data, "chunks": (rows, *data.shape[1:]), "compression": "gzip", **more}


def create(
    file,
    name,
    data,
    *,
    chunks=None,
    filters=(),
    maxshape=None,
    options=None,
    dtype=None,
    write=True,
):
    """A dataset by HDF5's own functions: filters in any order, and options h5py does not name.

    Args:
        file: An open h5py.File.
        name: Of the dataset.
        data: Array.
        chunks: Shape of a chunk, or None.
        filters: Calls on the creation property list, as `lambda plist: plist.set_shuffle()`.
        maxshape: As in h5py.
        options: Called with the property list at last.
        dtype: An h5t type, or None for the array's own.
        write: Whether to write the data.
    """
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)  # as h5py: the same file each time
    if chunks:
        plist.set_chunk(chunks)
    for add in filters:
        add(plist)
    if options:
        options(plist)
    limits = maxshape and tuple(h5s.UNLIMITED if size is None else size for size in maxshape)
    space = h5s.create_simple(data.shape, limits)
    made = h5d.create(file.id, name.encode(), dtype or h5t.py_create(data.dtype), space, plist)
    dataset = h5py.Dataset(made)
    if write and not dataset.is_virtual:
        dataset[...] = data
    return dataset


def shuffle(plist):
    plist.set_shuffle()


def deflate(plist):
    plist.set_deflate(4)


def fletcher32(plist):
    plist.set_fletcher32()


def scaleoffset(plist):
    plist.set_scaleoffset(h5z.SO_INT, h5z.SO_INT_MINBITS_DEFAULT)


def szip(plist):
    plist.set_szip(h5z.SZIP_NN_OPTION_MASK, 8)


def szip_entropy(plist):
    plist.set_szip(h5z.SZIP_EC_OPTION_MASK, 16)


def nbit(plist):
    plist.set_filter(h5z.FILTER_NBIT, 0, ())


def optional(number, *parameters):
    """A filter by its number; libhdf5 skips it for chunks that it does not make smaller."""
    return lambda plist: plist.set_filter(number, h5z.FLAG_OPTIONAL, parameters)


COMPRESSORS = {
    "gzip": deflate,
    "lzf": optional(h5z.FILTER_LZF),
    "szip": szip,
    "szip without differences": szip_entropy,
    "bzip2": optional(307, 1),
    "blosc": optional(32001, 0, 0, 0, 0, 5, 1, 0),
    "blosc of bits": optional(32001, 0, 0, 0, 0, 5, 2, 5),
    "lz4": optional(32004, 0),
    "lz4 in blocks": optional(32004, 100),
    "bitshuffle + lz4": optional(32008, 0, 2),
    "bitshuffle + zstd": optional(32008, 16, 3, 3),
    "zstd": optional(32015, 3),
    "blosc2": optional(32026, 0, 0, 0, 0, 5, 1, 1),
    "blosc2 in blocks": optional(32026, 0, 64, 0, 0, 5, 2, 5),
}
"""Filters that make chunks shorter; those above 255, but for lzf, need hdf5plugin to write."""

FILTERS = {
    **COMPRESSORS,
    "shuffle": shuffle,
    "fletcher32": fletcher32,
    "bitshuffle": optional(32008, 0),
}
"""All filters that are read without libhdf5."""


def can_szip():
    """Whether libhdf5 was built with the szip encoder."""
    return h5z.filter_avail(h5z.FILTER_SZIP) and bool(
        h5z.get_filter_info(h5z.FILTER_SZIP) & h5z.FILTER_CONFIG_ENCODE_ENABLED
    )


def dont_filter_partial_chunks(plist):
    """Stores chunks that reach beyond the data as they are, with a mask that does not say so."""
    library = libhdf5()
    library.H5Pset_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_uint]
    if library.H5Pset_chunk_opts(plist.id, DONT_FILTER_PARTIAL_CHUNKS) < 0:
        raise RuntimeError("H5Pset_chunk_opts failed")


def undefine_fill_value(plist):
    """Says that there is no value for what was never written."""
    library = libhdf5()
    library.H5Pset_fill_value.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    if library.H5Pset_fill_value(plist.id, h5t.NATIVE_INT8.id, None) < 0:
        raise RuntimeError("H5Pset_fill_value failed")


def larger_chunk_trees(plist):
    """Asks for nodes of another size in the trees of chunks: superblocks of version 1 say which."""
    library = libhdf5()
    library.H5Pset_istore_k.argtypes = [ctypes.c_int64, ctypes.c_uint]
    if library.H5Pset_istore_k(plist.id, 64) < 0:
        raise RuntimeError("H5Pset_istore_k failed")


def libhdf5():
    """The libhdf5 that h5py uses; None where it is not found."""
    if sys.platform != "linux":
        return None
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if "libhdf5" in path and "_hl" not in path:
            return ctypes.CDLL(path)
    return None


def encoded(values, filters):
    """What libhdf5 stores for `values` as one chunk: the bytes, and the mask of skipped filters."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        made = create(file, "x", values, chunks=values.shape, filters=filters)
        mask, raw = made.id.read_direct_chunk((0,) * values.ndim)
    return raw, mask


def store_chunk(dataset, number, values, mask):
    """Stores chunk `number` along the first axis with the filters in `mask` skipped.

    The filters are shuffle (bit 0) and gzip (bit 1).
    """
    raw = values.tobytes()
    if not mask & 1:
        raw = np.frombuffer(raw, np.uint8).reshape(-1, values.dtype.itemsize).T.tobytes()
    if not mask & 2:
        raw = zlib.compress(raw)
    offset = (number * dataset.chunks[0], *(0 for _ in dataset.chunks[1:]))
    dataset.id.write_direct_chunk(offset, raw, filter_mask=mask)


def damage(path, name, number=0, at=10, values=b"\xff" * 8):
    """Overwrites bytes inside a stored chunk of a dataset; 0 is the first in the file's index."""
    with h5py.File(path, "r") as file:
        info = file[name].id.get_chunk_info(number)
    overwrite(path, info.byte_offset + at, values)
    return info.chunk_offset


def overwrite(path, offset, values):
    """Writes bytes into a file."""
    with Path(path).open("r+b") as file:
        file.seek(offset)
        file.write(values)


@contextmanager
def as_nobody():
    """Root may read everything; other users see what the modes say."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
