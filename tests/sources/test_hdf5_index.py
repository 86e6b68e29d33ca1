"""The index of chunks: small, read once for each dataset, and never that of another file."""

import gc
import os
import pickle
import threading
import time
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from h5py import h5d

import headrace as hr
from headrace.errors import FileFormatError
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.readers import chunk_index
from tests.files import gzip, images, write
from tests.sources.storage import read

MANY = 100_000


@pytest.fixture
def read_indexes(monkeypatch):
    """The datasets whose index libhdf5 was asked for."""
    asked = []
    right = chunk_index._Places.read

    def count(places, dataset):
        asked.append(dataset.name)
        return right(places, dataset)

    monkeypatch.setattr(chunk_index._Places, "read", count)
    return asked


def settle(path):
    """Waits until a later writing of the file would have another time."""
    wait = chunk_index._SETTLED_NS - (time.time_ns() - path.stat().st_ctime_ns)
    time.sleep(max(0, wait) / 1e9 + 0.01)


@pytest.fixture
def settled(path, monkeypatch):
    """A file that was written some time ago."""
    monkeypatch.setattr(chunk_index, "_SETTLED_NS", 50_000_000)
    write(path, x=gzip(images()), y=gzip(images(seed=1)))
    settle(path)
    return path


def chunks_of(source, name="x"):
    return source._readers[name].layout.chunks


def early(plist):
    plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5d.FILL_TIME_NEVER)


def many_chunks(path, libver, storage):
    """A dataset of `MANY` chunks."""
    maxshape = (None, 2, 2) if storage == "growing" else (None, None, None)
    with h5py.File(path, "w", libver=libver) as file:
        if storage == "implicit":
            space = h5py.h5s.create_simple((MANY, 2, 2))
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((1, 2, 2))
            early(plist)
            h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, plist)
            return
        made = file.create_dataset(
            "x", (MANY, 2, 2), "u1", chunks=(1, 2, 2), compression="gzip", maxshape=maxshape
        )
        packed = zlib.compress(bytes(4))
        for i in range(MANY):
            made.id.write_direct_chunk((i, 0, 0), packed)


@pytest.mark.parametrize(
    "libver, storage",
    [("earliest", "growing"), ("latest", "growing"), ("latest", "any"), ("latest", "implicit")],
    ids=["v1 b-tree", "extensible array", "v2 b-tree", "implicit"],
)
def test_an_index_takes_few_bytes_a_chunk(path, libver, storage):
    """At rest, in a pickle, and while it is built."""
    many_chunks(path, libver, storage)
    HDF5Source(path, ["x"])  # imports what it needs
    gc.collect()
    tracemalloc.start()
    try:
        source = HDF5Source(path, ["x"])
        rest, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    chunks = chunks_of(source)
    assert (chunks.offsets != chunk_index.UNALLOCATED).sum() == MANY
    assert sum(a.nbytes for a in (chunks.offsets, chunks.sizes, chunks.masks)) == 13 * MANY
    assert rest < 16 * MANY
    # Some pieces of the dataset are being sorted in at any time, however many there are.
    assert peak < 48 * MANY + (8 << 20)
    assert len(pickle.dumps(source)) < 14 * MANY


def test_chunks_above_two_gigabytes_have_sizes_of_eight_bytes(path):
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "x", (4, 2**10), "u1", chunks=(2**21, 2**10), maxshape=(None, None), compression="gzip"
        )
        made.id.write_direct_chunk((0, 0), b"packed")
    chunks = chunks_of_any(path)
    assert (chunks.sizes.tolist(), chunks.sizes.dtype) == ([[6]], np.int64)


def chunks_of_any(path):
    """The index itself; such chunks are left to h5py."""
    with h5py.File(path, "r") as file:
        return chunk_index.read_index(file["x"], ((1, ()),), "x")


def test_every_chunk_is_where_h5py_says(path):
    """Through the edge of several pieces, and with chunks that were never written."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (70_000, 3), "u1", chunks=(1, 2), compression="gzip")
        for row in (*range(0, 70_000, 7), 69_999):
            made[row] = row % 251
    chunks = chunks_of_any(path)
    with h5py.File(path, "r") as file:
        stored = file["x"].id
        for number in range(0, stored.get_num_chunks(), 997):
            info = stored.get_chunk_info(number)
            at = info.chunk_offset[0], info.chunk_offset[1] // 2
            assert (chunks.offsets[at], chunks.sizes[at]) == (info.byte_offset, info.size)
        assert (chunks.offsets >= 0).sum() == stored.get_num_chunks()


# One dataset, one index.


def test_hard_links_share_an_index(path, read_indexes):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=images(), chunks=(8, 4, 4, 3), compression="gzip")
        file["y"] = file["x"]
    source = HDF5Source(path, ["x", "y"])
    assert len(read_indexes) == 1
    assert chunks_of(source, "x") is chunks_of(source, "y")
    assert (read(HDF5Source(path, ["y"])) == images()).all()


def test_parts_of_a_data_set_share_an_index(path, read_indexes):
    write(path, x=gzip(images()))
    data = hr.from_hdf5(path)
    parts = [*data.split(0.5, seed=0), *data.split(0.5), data.take(3)]
    assert sum(len(list(part.batch(5))) for part in parts)
    assert len(read_indexes) == 1


def test_a_file_that_is_opened_again_shares_its_index(settled, read_indexes):
    before = HDF5Source(settled, ["x"])
    after = HDF5Source(settled, ["y", "x"])
    assert chunks_of(before) is chunks_of(after)
    assert len(read_indexes) == 2
    assert (read(HDF5Source(settled, ["y"])) == images(seed=1)).all()


def test_threads_that_open_a_file_at_once_all_read_right(settled):
    found = []

    def open_and_read():
        found.append((read(HDF5Source(settled, ["x"])) == images()).all())

    threads = [threading.Thread(target=open_and_read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
def test_a_forked_child_opens_the_file_by_the_same_index(settled, read_indexes):
    source = HDF5Source(settled, ["x"])
    child = os.fork()
    if not child:
        try:
            right = (read(HDF5Source(settled, ["x"])) == images()).all() and len(read_indexes) == 1
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert source.length == 50


def test_an_index_that_nobody_reads_by_is_gone(settled):
    source = HDF5Source(settled, ["x"])
    assert chunks_of(source) in list(chunk_index._known.values())
    chunks = id(chunks_of(source))
    del source
    gc.collect()
    assert chunks not in [id(value) for value in chunk_index._known.values()]


def test_a_file_that_was_rewritten_has_an_index_of_its_own(path):
    """Even at once, under the same name, in the same size, and with the same time."""
    values = images(48)
    held = []
    for rows in (range(48), reversed(range(48))):
        with h5py.File(path, "w") as file:
            made = file.create_dataset("x", values.shape, "u1", chunks=(1, 4, 4, 3))
            for row in rows:
                made[row] = values[row]
        os.utime(path, ns=(10**18, 10**18))
        held.append(HDF5Source(path, ["x"]))
    first, second = (chunks_of(source).offsets for source in held)
    assert sorted(first.tolist()) == sorted(second.tolist())
    assert (read(held[1]) == values).all()


def test_datasets_of_one_file_have_indexes_of_their_own(settled):
    source = HDF5Source(settled, ["x", "y"])
    assert chunks_of(source, "x") is not chunks_of(source, "y")


# Overlaps.


def test_chunks_that_share_bytes_are_refused(path):
    """Each by itself would decode."""
    values = images(24, (500,))
    write(path, x=gzip(values))
    with h5py.File(path, "r") as file:
        first, second = (file["x"].id.get_chunk_info(i).byte_offset for i in (0, 1))
    content = path.read_bytes()
    key = second.to_bytes(8, "little")
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, first.to_bytes(8, "little")))
    with pytest.raises(FileFormatError, match=r"'x' in .* is damaged: chunks overlap in the file"):
        HDF5Source(path, ["x"])


def test_chunks_in_any_order_of_the_file_are_apart(path):
    rows = np.random.default_rng(0).permutation(200)
    values = images(200, (50,))
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (200, 50), "u1", chunks=(1, 50), compression="gzip")
        for row in rows:
            made[row] = values[row]
    source = HDF5Source(path, ["x"])
    assert source.read_paths()["x"].path == "direct chunks"
    assert (read(source) == values).all()


# Extensible arrays, in which a growing axis comes first.


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    "shape, chunks, maxshape",
    [
        ((20, 30), (8, 10), (20, None)),
        ((20, 30), (20, 10), (40, None)),
        ((8, 12, 10), (4, 12, 5), (8, 12, None)),
        ((8, 12, 10), (4, 6, 10), (8, None, 10)),
        ((20, 30), (20, 10), (20, None)),
        ((30, 20), (10, 8), (None, 40)),
        ((20, 30), (8, 10), (None, None)),
        ((20, 30), (8, 10), (40, 60)),
    ],
)
def test_whichever_axes_can_grow_values_are_right(path, libver, shape, chunks, maxshape):
    """Also where few chunks were written, so that a look at the first ones would tell nothing."""
    values = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    with h5py.File(path, "w", libver=libver) as file:
        for name in ("all", "some"):
            made = file.create_dataset(
                name, shape, "i4", chunks=chunks, maxshape=maxshape, compression="gzip"
            )
            if name == "all":
                made[...] = values
            else:
                made[shape[0] // 2 :, ..., : chunks[-1]] = 7
    with h5py.File(path) as file:
        oracle = {name: file[name][...] for name in file}
    for name, expected in oracle.items():
        source = HDF5Source(path, [name])
        assert (read(source) == expected).all()
        growing = [axis for axis, most in enumerate(maxshape) if most is None]
        beside = [axis for axis, n in enumerate(maxshape) if n and n > chunks[axis]]
        mixed_up = len(growing) == 1 and growing != [0] and beside
        assert (source.read_paths()[name].path == "h5py") == bool(mixed_up)


def test_a_gap_that_looks_like_the_first_chunks_is_no_proof(path):
    with h5py.File(path, "w", libver="latest") as file:
        made = file.create_dataset(
            "x", (64, 400_000), "u1", chunks=(32, 100_000), maxshape=(64, None), compression="gzip"
        )
        made[4:32, :100_000] = 1
        made[36:64, :100_000] = 2
        expected = made[...]
    assert (read(HDF5Source(path, ["x"])) == expected).all()
