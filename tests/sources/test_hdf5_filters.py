"""Filters of HDF5: in any order, skipped, and damaged."""

import bz2
import pickle
import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from tempfile import mkdtemp

import h5py
import hdf5plugin  # noqa: F401 - libhdf5 gets its filters
import imagecodecs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.errors import ReadError
from headrace.sources import value_bytes
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.filters import common
from headrace.sources.hdf5.filters.common import ChunkError
from headrace.sources.hdf5.filters.names import filters_of
from headrace.sources.hdf5.filters.pipeline import MOST_BYTES, FilterPipeline
from tests.files import (
    COMPRESSORS,
    FILTERS,
    can_szip,
    create,
    damage,
    deflate,
    encoded,
    fletcher32,
    images,
    shuffle,
)
from tests.sources.storage import by_h5py, read, store

ROOT = Path(__file__).parents[2]
HERE = {name: add for name, add in FILTERS.items() if can_szip() or "szip" not in name}
"""The filters that libhdf5 can apply here."""


def pipeline(values, filters):
    """The pipeline for chunks of the shape of `values`."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        made = create(file, "x", values, chunks=values.shape, filters=filters)
        return FilterPipeline(filters_of(made.id.get_create_plist()), values.nbytes)


def decode(chunk, mask, values, filters):
    """The chunk's bytes, by the pipeline for chunks of the shape of `values`."""
    out = np.empty(values.nbytes, np.uint8)
    pipeline(values, filters).decode(np.frombuffer(chunk, np.uint8), mask, out)
    return out.tobytes()


# Any filters, in any order.

NUMBERS = {"blosc of bits": "blosc", "lz4 in blocks": "lz4", "blosc2 in blocks": "blosc2"}
TYPES = ("u1", "i2", ">u4", "f4", "f8", "c16", "S3", np.dtype([("a", "i1"), ("b", "<f4", (2,))]))


def number_of(name):
    """What a filter shares with those that HDF5 cannot tell from it: it sets up one of them."""
    return NUMBERS.get(name, name.split(" ")[0])


@st.composite
def stacks(draw):
    """Filters in any order, each at most once; none before szip that changes the length."""
    names = draw(st.lists(st.sampled_from(list(HERE)), max_size=4, unique_by=number_of))
    at = next((i for i, name in enumerate(names) if "szip" in name), 0)
    assume(set(names[:at]) <= {"shuffle", "bitshuffle"})
    return names


@st.composite
def datasets(draw):
    """Values of any type and shape, and a chunk shape for them."""
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    chunks = tuple(draw(st.integers(1, n + 2)) for n in shape)
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    raw = rng.integers(0, draw(st.sampled_from([1, 4, 256])), (*shape, dtype.itemsize), np.uint8)
    return np.ascontiguousarray(raw).view(dtype)[..., 0], chunks


@given(stacks(), datasets(), st.data())
@settings(max_examples=250)
def test_any_filters_in_any_order_read_as_in_h5py(tmp_path, names, dataset, data):
    """Some of them skipped for some chunks, and some chunks not written."""
    values, chunks = dataset
    filters = [HERE[name] for name in names]
    # A file of its own: a failed example may have left the last one open.
    path = Path(mkdtemp(dir=tmp_path)) / "data.h5"
    with h5py.File(path, "w") as file:
        try:
            made = create(
                file,
                "x",
                values,
                chunks=chunks,
                filters=filters,
                maxshape=(None,) * values.ndim,
                write=False,
            )
        except ValueError:
            assume(False)  # szip takes no strings, for example
        for start in np.ndindex(*(-(-n // c) for n, c in zip(values.shape, chunks, strict=True))):
            place = tuple(int(i) * c for i, c in zip(start, chunks, strict=True))
            part = values[tuple(slice(a, a + c) for a, c in zip(place, chunks, strict=True))]
            whole = np.zeros(chunks, values.dtype)
            whole[tuple(slice(0, n) for n in part.shape)] = part
            skipped = data.draw(st.integers(-1, (1 << len(filters)) - 1))
            if skipped >= 0:
                used = [step for i, step in enumerate(filters) if not skipped >> i & 1]
                raw, mask = encoded(whole, used)
                for i in range(len(filters)):
                    if skipped >> i & 1:
                        low = mask & ((1 << i) - 1)
                        mask = low | (mask - low) << 1 | 1 << i
                made.id.write_direct_chunk(place, raw, mask)
    try:
        expected = by_h5py(path)
    except OSError:
        assume(False)  # the plugin of blosc2 cannot read all that it writes
    source = HDF5Source(path, ["x"])
    assert value_bytes(read(source)) == value_bytes(expected)
    found = source.read_paths()["x"]
    partial = any(n % c for n, c in zip(values.shape, chunks, strict=True))
    assert found.path.startswith("direct") or (partial and "by libhdf5" in found.reason), found


def test_a_pipeline_is_small_when_pickled_and_decodes_the_same():
    values = images(8, dtype="i4")
    filters = [shuffle, deflate]
    raw, mask = encoded(values, filters)
    copy = pickle.loads(pickle.dumps(pipeline(values, filters)))
    out = np.empty(values.nbytes, np.uint8)
    copy.decode(np.frombuffer(raw, np.uint8), mask, out)
    assert out.tobytes() == values.tobytes()


@pytest.mark.parametrize("names", [("lzf",), ("shuffle", "zstd"), ("lzf", "blosc2", "gzip")])
def test_buffers_are_those_that_scratch_announces(names):
    """All that a thread keeps for a chunk besides the chunk."""
    values = images(64, (40, 9, 3), "u2")
    filters = [HERE[name] for name in names]
    raw, mask = encoded(values, filters)
    found = pipeline(values, filters)
    out = np.empty(values.nbytes, np.uint8)

    def held():
        found.decode(np.frombuffer(raw, np.uint8), mask, out)
        return sum(buffer.nbytes for buffer in vars(common._local).values())

    with ThreadPoolExecutor(1) as fresh:
        assert fresh.submit(held).result() <= found.scratch


def test_chunks_that_are_too_large_for_a_decoder_are_left_to_h5py(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (4, MOST_BYTES), "u1", chunks=(2, MOST_BYTES), compression="lzf")
    found = HDF5Source(path, ["x"]).read_paths()["x"]
    assert found.path == "h5py"
    assert f"chunks of {2 * MOST_BYTES} bytes" in found.reason


@pytest.mark.parametrize("name, library", [("lzf", "LZF"), ("szip", "AEC"), ("zstd", "ZSTD")])
def test_a_decoder_that_imagecodecs_lacks_is_left_to_h5py(path, monkeypatch, name, library):
    if name not in HERE:
        pytest.skip("libhdf5 was built without szip")
    values = images(dtype="u2")
    store(path, values, [HERE[name]], (8, 4, 4, 3))
    monkeypatch.setattr(getattr(imagecodecs, library), "available", False)
    source = HDF5Source(path, ["x"])
    assert source.read_paths()["x"].path == "h5py"
    assert f"imagecodecs was built without {library}" in source.read_paths()["x"].reason
    assert (read(source) == values).all()


@pytest.mark.parametrize("item", [2, 3, 8, 255, 256, 300])
def test_shuffle_without_blosc_gives_the_same(monkeypatch, item):
    """By NumPy, where imagecodecs lacks Blosc or elements are too large for it."""
    values = np.random.default_rng(0).integers(0, 256, (20, item), np.uint8).view(f"V{item}")
    raw, mask = encoded(values, [shuffle])
    for available in (True, False):
        monkeypatch.setattr(imagecodecs.BLOSC, "available", available)
        assert decode(raw, mask, values, [shuffle]) == values.tobytes()


# Checksums.


@pytest.mark.parametrize("names", [(), ("gzip",), ("shuffle", "lzf"), ("zstd",), ("blosc2",)])
@pytest.mark.parametrize("last", [True, False], ids=["checksum last", "checksum first"])
def test_no_flipped_bit_passes_a_checksum(path, names, last):
    """The error names the dataset, the chunk and its rows; the other chunks still read."""
    values = images(24, (9, 5), "u2")
    others = [HERE[name] for name in names]
    filters = [*others, fletcher32] if last else [fletcher32, *others]
    store(path, values, filters, (8, 9, 3))
    with h5py.File(path, "r") as file:
        at = file["x"].id.get_chunk_info_by_coord((8, 0, 3))
    content = path.read_bytes()
    assert HDF5Source(path, ["x"]).read_paths()["x"].path == "direct chunks"
    words = rf"Rows 8 to 15 of 'x' in '{path}' .* damaged there: the chunk at \(8, 0, 3\) "
    rng = np.random.default_rng(0)
    for where in rng.choice(at.size, min(at.size, 60), replace=False).tolist():
        flipped = bytearray(content)
        flipped[at.byte_offset + where] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        source = HDF5Source(path, ["x"])
        # Where the checksum comes first, some bits in the headers of compressors say nothing.
        with (
            nullcontext()
            if not last and right(source, values)
            else pytest.raises(ReadError, match=words)
        ):
            read(source)
        assert (read(source, np.arange(8)) == values[:8]).all()


def right(source, values):
    """Whether a source reads, and then gives these values."""
    try:
        found = read(source)
    except ReadError:
        return False
    assert (found == values).all()
    return True


def test_a_wrong_checksum_says_so(path):
    values = images(dtype="u2")
    store(path, values, [fletcher32], (8, 4, 4, 3))
    damage(path, "x", 3, at=-4 + 8 * 48 * 2 + 4, values=b"\1")
    with pytest.raises(ReadError, match=r"chunk at \(24, 0, 0, 0\) does not match its checksum"):
        read(HDF5Source(path, ["x"]))


@pytest.mark.parametrize("order", [(1, 0, 3, 2), (3, 2, 1, 0), (2, 3, 0, 1)])
def test_checksums_of_old_libraries_count_where_libhdf5_takes_them(path, order):
    """Before HDF5 1.6.3, the bytes of each half were swapped."""
    values = images(24, dtype="u2")
    store(path, values, [fletcher32], (8, 4, 4, 3))
    with h5py.File(path, "r+") as file:
        raw = file["x"].id.read_direct_chunk((8, 0, 0, 0))[1]
        old = raw[:-4] + bytes(raw[-4 + i] for i in order)
        file["x"].id.write_direct_chunk((8, 0, 0, 0), old)
    source = HDF5Source(path, ["x"])
    if order == (1, 0, 3, 2):
        assert (by_h5py(path) == values).all()
        assert (read(source) == values).all()
    else:
        with pytest.raises(OSError, match=r"filter|checksum"):
            by_h5py(path)
        with pytest.raises(ReadError, match=r"chunk at \(8, 0, 0, 0\) does not match"):
            read(source)


# Chunks of the wrong length.


@pytest.mark.parametrize("rows", [5, 11])
@pytest.mark.parametrize("name", [name for name in COMPRESSORS if name in HERE])
def test_a_chunk_that_holds_too_little_or_too_much_is_an_error(path, name, rows):
    """libhdf5 would make values up, or take the front; that of gzip is known to be good."""
    values = images(24, (40, 3), "i4")
    store(path, values, [HERE[name]], (8, 40, 3))
    raw, mask = encoded(images(rows, (40, 3), "i4"), [HERE[name]])
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((8, 0, 0), raw, mask)
    source = HDF5Source(path, ["x"])
    if name == "gzip" and rows > 8:
        assert (read(source) == by_h5py(path)).all()
        return
    with pytest.raises(ReadError, match=r"Rows 8 to 15 of 'x' .* chunk at \(8, 0, 0\) "):
        read(source)
    assert (read(source, np.arange(16, 24)) == values[16:]).all()


def frame_of_zstd(content):
    """One uncompressed block, in a frame that does not say how long it is."""
    return b"\x28\xb5\x2f\xfd\0\x38" + (len(content) << 3 | 1).to_bytes(3, "little") + content


@pytest.mark.parametrize("parts", [1, 2])
def test_zstd_without_a_length_is_decoded(path, parts):
    """Which the plugin for libhdf5 does not do."""
    values = images(24)
    store(path, values, [HERE["zstd"]], (8, 4, 4, 3))
    whole = images(8, seed=3)
    pieces = np.split(whole.reshape(-1), parts)
    with h5py.File(path, "r+") as file:
        stored = b"".join(frame_of_zstd(piece.tobytes()) for piece in pieces)
        file["x"].id.write_direct_chunk((8, 0, 0, 0), stored)
    assert (read(HDF5Source(path, ["x"]), np.arange(8, 16)) == whole).all()


# Damage of all kinds.


def test_no_damaged_chunk_harms_a_decoder(path):
    """No crash, no byte beyond the result, little memory; a refusal, or what libhdf5 gives."""
    command = [sys.executable, "-m", "tests.sources.damaged_chunks", str(path), "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert not done.returncode, done.stdout[-200:] + done.stderr
    assert int(done.stdout.split()[-1]) > 2000


HUGE = (1 << 62).to_bytes(8, "big")
LIES = {
    "lz4": lambda raw: HUGE + raw[8:],
    "lz4 in blocks": lambda raw: raw[:8] + b"\x7f\xff\xff\xff" + raw[12:],
    "bitshuffle + lz4": lambda raw: HUGE + raw[8:],
    "bitshuffle + zstd": lambda raw: raw[:8] + b"\xff\xff\xff\xf8" + raw[12:],
    "zstd": lambda _: b"\x28\xb5\x2f\xfd\xe0" + HUGE[::-1] + b"\1\0\0",
    "blosc": lambda raw: raw[:4] + b"\xff\xff\xff\x7f" * 3 + raw[16:],
    "blosc of bits": lambda raw: raw[:12] + b"\xff\xff\xff\x7f" + raw[16:],
    "blosc2": lambda raw: raw[:30] + HUGE + raw[38:],
    "blosc2 in blocks": lambda raw: raw.replace(b"\xd2\0\0\0\2", b"\xd2\x7f\xff\xff\xff"),
    "bzip2": lambda _: bz2.compress(bytes(100 << 20)),
    "gzip": lambda _: zlib.compress(bytes(100 << 20)),
    "szip": lambda raw: b"\xff\xff\xff\xff" + raw[4:],
}


@pytest.mark.parametrize("name", [name for name in LIES if name in HERE])
def test_what_a_chunk_says_of_its_size_is_not_believed(name):
    """It would be the way to take all memory."""
    values = images(8, (16, 5, 3), "u2")
    raw, mask = encoded(values, [HERE[name]])
    assert not mask
    lie = LIES[name](raw)
    assert lie != raw
    tracemalloc.start()
    try:
        with pytest.raises(ChunkError):
            decode(lie, 0, values, [HERE[name]])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
