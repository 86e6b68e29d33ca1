"""Damaged chunks and indexes: an error that says where, never other values."""

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import (
    FileFormatError,
    ReadError,
)
from headrace.sources import empty_arrays, run_reads
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.filters.pipeline import FilterPipeline
from tests.files import damage, gzip, images, overwrite, store_chunk, write
from tests.fuzz import checksum
from tests.sources.storage import IMAGES, STORAGE, WHOLE, read

# Chunks that cannot be decoded.


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_damaged_chunk_is_an_error_that_names_its_rows(path, number, shuffle):
    """And a way out; all other rows still read."""
    write(path, image=gzip(IMAGES, shuffle=shuffle))
    damage(path, "image", number)
    source = HDF5Source(path, ["image"])
    assert source.read_paths()["image"].path == "direct chunks"
    first, last = number * 8, number * 8 + 7
    with pytest.raises(ReadError) as caught:
        read(source)
    for part in (f"Rows {first} to {last} of 'image' in '{path}'", "libhdf5 says", "start="):
        assert part in str(caught.value)
    others = np.setdiff1d(np.arange(64), np.arange(first, last + 1))
    assert (read(source, others) == IMAGES[others]).all()
    with pytest.raises(ReadError, match=f"Rows {last} to {last} of 'image'"):
        read(source, [last])


def test_data_around_a_damaged_chunk_trains(path):
    """What the error says to do works."""
    write(path, image=gzip(IMAGES))
    damage(path, "image", 5)
    before = hr.from_hdf5(path, x="image", end=40)
    after = hr.from_hdf5(path, x="image", start=48)
    got = [x for (x,) in hr.concat(before, after).batch(7)]
    assert (np.concatenate(got) == np.delete(IMAGES, np.s_[40:48], axis=0)).all()


def test_the_loader_relays_the_error(path):
    write(path, image=gzip(IMAGES))
    damage(path, "image", 5)
    with pytest.raises(ReadError, match=r"Rows 40 to 47 of 'image'"):
        list(hr.from_hdf5(path).batch(8, shuffle=True, workers=2))


def test_a_checksum_that_fails_is_an_error(path):
    write(path, image={"data": IMAGES, "chunks": WHOLE, "fletcher32": True})
    damage(path, "image", 2)
    source = HDF5Source(path, ["image"])
    with pytest.raises(ReadError, match=r"Rows \d+ to \d+ of 'image'"):
        read(source)
    assert (read(source, np.arange(32, 64)) == IMAGES[32:]).all()


def test_a_file_of_damaged_chunks_alone_is_left_to_h5py(path):
    write(path, image=gzip(IMAGES[:24]))
    for number in range(3):
        damage(path, "image", number)
    source = HDF5Source(path, ["image"])
    assert source.read_paths()["image"].reason == "its first chunks are damaged"
    with pytest.raises(ReadError, match="Rows 0 to 23"):
        read(source)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("mask", [0, 1, 2, 3])
def test_a_chunk_with_too_few_bytes_is_an_error(path, mask, number):
    """libhdf5 would fill it up with whatever is in memory."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "image", (24, 100), "u2", chunks=(8, 100), compression="gzip", shuffle=True
        )
        made[:] = 5
        store_chunk(made, number, np.full((5, 100), 7, "u2"), mask)
    source = HDF5Source(path, ["image"])
    first = number * 8
    with pytest.raises(ReadError, match=rf"Rows {first} to {first + 7} .* holds 1000 bytes inst"):
        read(source)
    assert (read(source, np.arange(16, 24)) == 5).all()


def test_data_of_short_chunks_alone_are_not_left_to_h5py(path):
    """It would make values up."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (24, 9), "u1", chunks=(8, 9), compression="gzip")
        for start in (0, 8, 16):
            made.id.write_direct_chunk((start, 0), zlib.compress(bytes(60)))
    source = HDF5Source(path, ["x"])
    for start in (0, 8, 16):
        with pytest.raises(ReadError, match=f"Rows {start} to {start} .* 60 bytes instead of 72"):
            read(source, [start])


VALUES = images(8, (100,), "u2")


@pytest.mark.parametrize(
    "packed, mask",
    [
        (zlib.compress(VALUES.tobytes() + b"more" * 9), 1),
        (zlib.compress(VALUES.tobytes()) + b"more" * 9, 1),
        (VALUES.tobytes() + b"more" * 9, 3),
    ],
    ids=["inside the stream", "behind the stream", "unfiltered"],
)
@pytest.mark.parametrize("number", [0, 1])
def test_a_chunk_with_too_many_bytes_reads_as_in_h5py(path, number, packed, mask):
    """It takes what it needs."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "x", (24, 100), "u2", chunks=(8, 100), compression="gzip", shuffle=True
        )
        made[:] = 5
        made.id.write_direct_chunk((number * 8, 0), packed, mask)
    expected = np.full((24, 100), 5, "u2")
    expected[number * 8 : number * 8 + 8] = VALUES
    assert (read(HDF5Source(path, ["x"])) == expected).all()


def test_repairs_are_counted(path):
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (24, 10), "u1", chunks=(8, 10), compression="gzip")
        made[:] = 5
        made.id.write_direct_chunk((8, 0), zlib.compress(bytes(99)))
    source = HDF5Source(path, ["x"])
    rows = np.arange(24)
    assert run_reads(source.reads(rows, empty_arrays(source.fields, 24))).repaired == 1
    loader = hr.from_hdf5(path).batch(8)
    list(loader)
    assert loader.report().repaired == 1


def test_a_decoder_that_gives_other_values_is_not_used(path, monkeypatch):
    """The first chunk is compared with h5py's answer."""
    write(path, image=gzip(IMAGES))
    right = FilterPipeline.decode

    def wrong(self, data, mask, out):
        right(self, data, mask, out)
        out[-1] += 1

    monkeypatch.setattr(FilterPipeline, "decode", wrong)
    source = HDF5Source(path, ["image"])
    assert source.read_paths()["image"].path == "h5py"
    assert "gave other values" in source.read_paths()["image"].reason
    assert (read(source) == IMAGES).all()


# Indexes that lie.


def patch_number(path, old, new, size=8):
    """Replaces the only place in a file that holds a number."""
    content = Path(path).read_bytes()
    pattern = old.to_bytes(size, "little")
    assert content.count(pattern) == 1
    overwrite(path, content.index(pattern), new.to_bytes(size, "little"))


def stored_at(path, number):
    with h5py.File(path, "r") as file:
        return file["image"].id.get_chunk_info(number)


@pytest.mark.parametrize("address", [1 << 20, 2**40, 2**62, 2**63 + 8])
@pytest.mark.parametrize("storage", ["raw chunks", "gzip"])
def test_a_chunk_outside_the_file_is_an_error(path, storage, address):
    write(path, image={"data": IMAGES, **STORAGE[storage]})
    patch_number(path, stored_at(path, 3).byte_offset, address)
    source = HDF5Source(path, ["image"])
    assert source.read_paths()["image"].path == "direct chunks"
    assert source.scratch(["image"]) < 1 << 20
    with pytest.raises(ReadError, match=r"Rows 24 to 31 of 'image'"):
        read(source)
    assert (read(source, np.arange(32, 64)) == IMAGES[32:]).all()


def test_a_chunk_of_monstrous_size_is_an_error(path):
    write(path, image=gzip(IMAGES))
    info = stored_at(path, 3)
    key = info.size.to_bytes(4, "little") + bytes(4) + (24).to_bytes(8, "little")
    content = path.read_bytes()
    assert content.count(key) == 1
    overwrite(path, content.index(key), b"\xf0\xff\xff\xff")
    source = HDF5Source(path, ["image"])
    assert source.scratch(["image"]) < 1 << 20
    with pytest.raises(ReadError, match=r"Rows 24 to 31 of 'image'"):
        read(source, [24, 31])


@pytest.mark.parametrize("first", [16, 27])
def test_an_index_of_overlapping_chunks_is_refused(path, first):
    write(path, image=gzip(IMAGES))
    key = struct.pack("<5Q", 24, 0, 0, 0, 0)
    content = path.read_bytes()
    assert content.count(key) == 1
    overwrite(path, content.index(key), (first).to_bytes(8, "little"))
    with pytest.raises(FileFormatError, match=rf"'image' in '{path}' is damaged.*Copy or download"):
        HDF5Source(path, ["image"])


def test_chunks_behind_the_end_are_left_alone(path):
    """As a writer leaves them that broke off before it noted the new length."""
    values = images(4099, (3,))
    write(path, image=gzip(values, maxshape=(None, 3)))
    patch_number(path, 4099, 4090)
    source = HDF5Source(path, ["image"])
    assert source.read_paths()["image"].path == "direct chunks"
    assert (read(source) == values[:4090]).all()


def test_an_index_that_is_too_short_does_not_make_fill_values(path):
    """It is a table of chunks, and the shape says that there are more: what libhdf5 then does."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("image", data=images(50), chunks=(8, 4, 4, 3))
    content = bytearray(path.read_bytes())
    pieces = checksum.find(bytes(content))
    at = content.index(bytes([8, 4, 4, 3, 1]))
    content[at + 1] = 3
    checksum.repair(content, pieces)
    path.write_bytes(content)
    assert HDF5Source(path, ["image"]).read_paths()["image"].path == "h5py"
