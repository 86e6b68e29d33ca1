"""Files that are made to exhaust or mislead whoever opens them: refused or bounded, and soon."""

import struct
import sys
import tracemalloc
import zlib

import h5py
import hdf5plugin
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from headrace.errors import (
    FileFormatError,
    HeadraceError,
    ReadError,
)
from headrace.sources.hdf5 import HDF5Source, limits
from tests.files import deflate, gzip, images, shuffle, write
from tests.sources.hostile_files import declare, refused
from tests.sources.storage import read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


# Shapes.


@pytest.mark.parametrize("chunks", [None, (1,), (10**6,)])
@pytest.mark.parametrize("rows", [10**15, 2**63 - 1, limits.MOST_ROWS + 1])
def test_more_rows_than_there_can_be_are_refused(look, path, rows, chunks):
    declare(path, (rows,), chunks=chunks)
    refused(look(), f"'x' in '{path}' declares {rows} samples", str(limits.MOST_ROWS))


@pytest.mark.parametrize("chunks", [None, (1 << 20,), (1,)])
def test_as_many_rows_as_there_can_be_are_read_in_bounds(look, path, chunks):
    """They are fill values; what cannot be done with so many says so."""
    rows = limits.MOST_ROWS
    declare(path, (rows,), chunks=chunks)
    found = look(1_000_000_000)
    assert found["first"] == found["last"] == ["fine", "np.uint64(0)"]
    refused(found, "36.3 TB", "use batch()", error="MemoryBudgetError", step="all")
    refused(found, "1.1 TB", "Split without seed=", error="MemoryBudgetError", step="split")
    assert {found[step][0] for step in ("batch", "shuffled")} <= {"fine", "MemoryBudgetError"}


def test_samples_larger_than_any_memory_are_refused(look, path):
    declare(path, (4, 2**21, 2**21))
    refused(look(), "declares samples of 4398046511104 bytes", "Reshape the data")


def test_samples_of_many_gigabytes_open_and_are_not_read(look, path):
    declare(path, (4, 2**38))
    found = look()
    assert found["open"][0] == "fine"
    for step in ("first", "all", "batch", "shuffled"):
        refused(found, error="MemoryBudgetError", step=step)
    refused(found, "The least that works here is memory=", error="MemoryBudgetError", step="batch")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_sample_cut_into_a_million_chunks_is_refused(look, path, libver):
    """Reading it would take libhdf5 seven gigabytes."""
    declare(path, (4, 2**20), chunks=(1, 1), libver=libver)
    refused(look(), "cuts each sample, of shape (1048576,), into 1048576 chunks", "h5repack")


def test_ten_million_chunks_that_are_not_there_take_no_memory(look, path):
    declare(path, (10_000_000, 4), chunks=(1, 4))
    found = look(1_000_000_000)
    assert found["path"] == ["h5py", "nearly all chunks were never written"]
    assert found["first"][0] == found["batch"][0] == found["shuffled"][0] == "fine"


def test_a_sparse_file_of_gigabytes_is_no_reason_to_read_them(look, path):
    """Contiguous data that are there, in one enormous sample."""
    with h5py.File(path, "w") as file:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5d.FILL_TIME_NEVER)
        h5d.create(file.id, b"x", h5t.STD_U8LE, h5s.create_simple((2, 2**36)), plist)
    found = look()
    assert found["open"][0] == "fine"
    refused(found, error="MemoryBudgetError", step="first")


# Chunks.


@pytest.mark.parametrize("filters", [(), (deflate,), (shuffle, deflate)])
def test_a_chunk_of_half_a_gigabyte_opens_and_asks_for_memory(look, path, filters):
    """A small file may hold one: zeros shrink to a thousandth."""
    declare(
        path,
        (10, 2**20),
        chunks=(500, 2**20),
        maxshape=(h5s.UNLIMITED, 2**20),
        filters=filters,
        raw={(0, 0): zlib.compress(bytes(100))},
    )
    found = look(2_000_000_000)
    assert found["open"][0] == "fine"
    refused(found, "Rows 0 to 0", error="ReadError", step="first")
    refused(found, "The least that works here is memory=", error="MemoryBudgetError", step="batch")


@pytest.mark.parametrize("filters", [(deflate,), (shuffle, deflate), (deflate, deflate)])
@pytest.mark.parametrize("first", [0, 8])
def test_a_chunk_that_decodes_to_far_more_than_it_should_is_an_error(look, path, filters, first):
    """Neither decoded to the end nor given to libhdf5, which would do that."""
    raw = {(start, 0): bytes(8 * 128) for start in (0, 8, 16)}
    raw[first, 0] = bytes(400_000_000)
    for _ in range(filters.count(deflate)):
        raw = {at: zlib.compress(values) for at, values in raw.items()}
    declare(path, (24, 128), chunks=(8, 128), filters=filters, raw=raw)
    assert path.stat().st_size < 500_000
    found = look(50_000_000)
    step = "all" if first else "first"
    refused(found, f"Rows {first} to", error="ReadError", step=step)
    assert found["path"][0] == "direct chunks"


def test_a_chunk_stored_in_far_more_bytes_than_it_holds_is_not_fetched(look, path):
    declare(
        path,
        (16, 4096),
        chunks=(8, 4096),
        filters=(deflate,),
        raw={(0, 0): zlib.compress(bytes(8 * 4096)), (8, 0): bytes(16_000_000)},
    )
    found = look(10_000_000)
    refused(found, "Rows 8 to 15", error="ReadError", step="all")
    assert found["first"][0] == "fine"


def test_a_tree_that_names_the_same_chunks_again_is_refused(path):
    """Of 700 chunks in a tree of several nodes; it could name them for ever."""
    values = images(700, (40,))
    write(path, x=gzip(values, rows=1))
    content = path.read_bytes()
    nodes = [
        at
        for at in range(len(content) - 24)
        if content[at : at + 6] == b"TREE\1\1" and content[at + 6] > 1
    ]
    assert nodes
    # Behind the header: a key of 4 + 4 + 3 * 8 bytes, then the address of a child.
    child = nodes[0] + 24 + 32
    step = 32 + 8
    one, two = content[child : child + 8], content[child + step : child + step + 8]
    assert one != two
    path.write_bytes(content[: child + step] + one + content[child + step + 8 :])
    with pytest.raises(FileFormatError, match=r"'x' in .* is damaged: chunks overlap"):
        HDF5Source(path, ["x"])


def test_more_chunks_than_the_file_has_room_for_are_refused(path, monkeypatch):
    monkeypatch.setattr(limits, "MOST_CHUNKS", 30)
    write(path, x=gzip(images(50), rows=1))
    assert HDF5Source(path, ["x"]).read_paths()["x"].path == "h5py"


def test_a_chunk_over_the_head_of_the_file_is_damage(path):
    """Where a zero took the place of an address."""
    write(path, x={"data": images(40), "chunks": (8, 4, 4, 3)})
    with h5py.File(path, "r") as file:
        address = file["x"].id.get_chunk_info(2).byte_offset
    content = path.read_bytes()
    key = struct.pack("<Q", address)
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, bytes(8)))
    source = HDF5Source(path, ["x"])
    with pytest.raises(HeadraceError, match=r"Rows 16 to 23 of 'x'"):
        read(source)
    assert (read(source, np.arange(16)) == images(40)[:16]).all()


def test_a_chunk_of_very_many_empty_blocks_takes_little_memory(path):
    """As many as a chunk of bitshuffle has room for, each of length 0."""
    size = 1 << 20
    for compressor in ("lz4", "zstd"):
        with h5py.File(path, "w") as file:
            made = file.create_dataset(
                "x",
                (size // 1024, 1024),
                "u1",
                chunks=(size // 1024, 1024),
                **hdf5plugin.Bitshuffle(cname=compressor),
            )
            for head in (bytes(12), struct.pack(">QI", size, 8)):
                made.id.write_direct_chunk((0, 0), head + bytes(2 * size))
                with h5py.File(path.with_name("copy.h5"), "w") as copy:
                    file.copy("x", copy)
                tracemalloc.start()
                with pytest.raises(ReadError):
                    read(HDF5Source(path.with_name("copy.h5"), ["x"]))
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak < 12 * size


# What means well.


def test_the_limits_are_far_from_what_people_have(path):
    """Two hundred gigabytes, a hundred million rows, samples of ten megabytes, a million chunks."""
    assert limits.MOST_ROWS > 1000 * 10**8
    assert limits.MOST_CHUNKS > 50 * 10**6
    assert limits.MOST_COMPARED > 20 * 10**7
    limits.check_shape((20_000, 10_000_000), 1, "x")
    limits.check_shape((10**8,), 4, "x")
    assert limits.most_chunks_in(200 * 10**9, 10**6) == limits.MOST_CHUNKS
    assert limits.most_chunks_in(8 * 10**6, 10) == 1 << 20


def test_mostly_empty_data_are_read_where_they_were_written(look, path):
    """A volume of which little was ever scanned."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "x", (5000, 256, 256), "u2", chunks=(1, 64, 64), compression="gzip", fillvalue=3
        )
        made[100, :64, :64] = 9
    found = look(800_000_000)
    assert found["path"][0] == "direct chunks"
    assert found["first"] == ["fine", f"np.uint64({3 * 65536})"]
    assert found["shuffled"][0] == "fine"


def test_samples_of_ten_megabytes_are_read_directly(look, path):
    write(path, x=gzip(np.zeros((6, 2500, 4000), "u1"), rows=1))
    found = look(400_000_000)
    assert found["path"][0] == "direct chunks"
    assert found["all"] == ["fine", "np.uint64(0)"]
