"""Files that are made to exhaust or mislead whoever opens them: refused or bounded, and soon."""

import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from h5py import h5d, h5g, h5o, h5p, h5s, h5t, h5z

import penstock as ps
from penstock.cli import main
from penstock.errors import (
    DataError,
    FieldNotFoundError,
    FileFormatError,
    PenstockError,
    ReadError,
    TypeNotSupportedError,
)
from penstock.sources.hdf5 import HDF5Source, filters, finding, limits, list_datasets
from tests.files import deflate, gzip, images, shuffle, write
from tests.fuzz import checksum
from tests.sources.storage import read

SECONDS = 20
"""Far more than any of these takes; a machine that runs tests may be slow."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


@pytest.fixture(scope="module")
def process():
    """A process with little memory, started again if it dies."""
    running = []

    def start():
        root = Path(__file__).parents[2]
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.sources.hostile"],
                cwd=root,
                env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def ask(path):
        if not running or running[-1].poll() is not None:
            start()
        running[-1].stdin.write(f"{path}\n")
        running[-1].stdin.flush()
        line = running[-1].stdout.readline()
        assert line, f"the process died: {running[-1].wait()}"
        return json.loads(line)

    yield ask
    for one in running:
        one.kill()
        one.communicate()


@pytest.fixture
def look(process, path):
    """What becomes of the dataset `x` of the file, within bounds of time and memory."""

    def run(most_bytes=300_000_000):
        found = process(path)
        assert found.pop("seconds") < SECONDS, found
        assert found.pop("bytes") < most_bytes, found
        return found

    return run


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
    refused(found, "2.2 TB", "Split without seed=", error="MemoryBudgetError", step="split")
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
    assert HDF5Source(path, ["x"]).paths()["x"].path == "h5py"


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
    with pytest.raises(PenstockError, match=r"Rows 16 to 23 of 'x'"):
        read(source)
    assert (read(source, np.arange(16)) == images(40)[:16]).all()


# Filters and types.


def test_thirty_two_filters_are_undone(look, path):
    """As many as HDF5 allows."""
    declare(path, (16, 8), chunks=(8, 8), filters=[shuffle] * 32)
    assert look()["all"] == ["fine", "np.uint64(0)"]


def test_a_filter_of_a_thousand_parameters_is_refused(look, path):
    """Some versions of h5py do not look at so many."""

    def unknown(plist):
        plist.set_filter(31_000, h5z.FLAG_OPTIONAL, tuple(range(1000)))

    declare(path, (16, 8), chunks=(8, 8), filters=[unknown], raw={(0, 0): bytes(64)})
    found = look()
    assert found["open"][0] in ("FileFormatError", "MissingDependencyError"), found
    assert "'x' in" in found["open"][1]


@pytest.mark.parametrize(
    "step, parameters, wrong",
    [
        (filters.SZIP, (141, 8, 8, 64), (141, 0, 8, 64)),
        (filters.SZIP, (141, 8, 8, 64), (141, 8, 8, 0)),
        (filters.SZIP, (141, 8, 8, 64), (141, 9, 8, 64)),
        (filters.BITSHUFFLE, (0, 4, 1, 0, 2), (0, 4, 0, 0, 2)),
    ],
)
def test_filters_on_which_decoders_crash_are_refused(look, path, step, parameters, wrong):
    """They divide by what they find, for example."""
    pytest.importorskip("hdf5plugin")
    if not h5z.filter_avail(step):
        pytest.skip("libhdf5 was built without the filter")

    def add(plist):
        plist.set_filter(step, h5z.FLAG_OPTIONAL, parameters)

    raw = {(0, 0): bytes(100)}
    declare(path, (16, 8), chunks=(8, 8), filters=[add], libver="latest", raw=raw)
    with h5py.File(path, "r") as file:
        stored = file["x"].id.get_create_plist().get_filter(0)[2]
    content = bytearray(path.read_bytes())
    pieces = checksum.find(bytes(content))
    at = content.index(struct.pack(f"<{len(stored)}I", *stored))
    content[at : at + 4 * len(wrong)] = struct.pack(f"<{len(wrong)}I", *wrong)
    checksum.repair(content, pieces)
    path.write_bytes(content)
    refused(look(), "'x' in", "is damaged", "was set up with", error="FileFormatError")


def test_compound_values_whose_parts_overlap_are_refused(look, path):
    declare(path, (5,), np.dtype([("a", "<i8"), ("b", "<i4")]), libver="latest")
    content = bytearray(path.read_bytes())
    pieces = checksum.find(bytes(content))
    at = content.index(b"b\0") + 2
    assert content[at] == 8
    content[at] = 4
    checksum.repair(content, pieces)
    path.write_bytes(content)
    refused(look(), "overlaps", error="FileFormatError")


def test_compound_values_that_h5py_mixes_up_are_read_one_by_one(path):
    """bfloat16 becomes float32, which reaches into its neighbour."""
    half = h5t.IEEE_F32LE.copy()
    half.set_fields(15, 7, 8, 0, 7)
    half.set_size(2)
    half.set_ebias(127)
    kind = h5t.create(h5t.COMPOUND, 6)
    kind.insert(b"a", 0, half)
    kind.insert(b"b", 2, h5t.IEEE_F32LE)
    values = np.array([(1.5, 7), (2.5, 8)], [("a", "<f4"), ("b", "<f4")])
    with h5py.File(path, "w") as file:
        made = h5d.create(file.id, b"x", kind, h5s.create_simple((2,)))
        made.write(h5s.ALL, h5s.ALL, values, mtype=h5t.py_create(values.dtype))
    with pytest.raises(TypeNotSupportedError, match=r"mixes them up\. Name .* \"x\['a'\]\""):
        HDF5Source(path, ["x"])
    for name in "ab":
        assert ps.from_hdf5(path, x=f"x['{name}']")[:][0].tolist() == values[name].tolist()


def test_compound_values_of_a_thousand_members_open(look, path):
    kind = np.dtype([(f"m{i}", "u1") for i in range(1000)])
    declare(path, (5,), kind)
    assert look()["all"] == ["fine", "5"]


def test_types_in_types_without_end_are_refused(look, path):
    """libhdf5 takes minutes for a thousand."""
    kind = h5t.STD_U8LE
    for _ in range(2000):
        outer = h5t.create(h5t.COMPOUND, 1)
        outer.insert(b"a", 0, kind)
        kind = outer
    declare(path, (4,), kind, libver="latest")
    refused(look(), "types in types, more than 32 deep")


def test_named_types_are_types_like_others(path):
    with h5py.File(path, "w") as file:
        file["type"] = np.dtype([("a", "<i4"), ("b", "<f4")])
        file.create_dataset("x", (3,), file["type"])
    source = HDF5Source(path, ["x"])
    assert source.fields[0].dtype == np.dtype([("a", "<i4"), ("b", "<f4")])
    with pytest.raises(FieldNotFoundError, match=r"'type' in .* is a named type"):
        HDF5Source(path, ["type"])


def test_values_of_two_gigabytes_each_are_refused(look, path):
    declare(path, (4,), h5t.py_create(np.dtype("S2000000000")))
    refused(look(), "values of 2000000000 bytes each")


# Groups, links and names.


def nested(path, levels):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(5)
        group = file.id
        for _ in range(levels):
            group = h5g.create(group, b"g")


def test_ten_thousand_groups_in_groups_are_not_gone_through(look, path):
    nested(path, 10_000)
    found = look()
    refused(found, "1000 deep", "Say with x=", step="list")
    assert found["all"] == ["fine", "np.int64(10)"]
    with pytest.raises(FieldNotFoundError, match=r"no field 'y' in .* It holds: x\."):
        HDF5Source(path, ["y"])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_very_many_names_are_cut_off(path, monkeypatch, libver):
    monkeypatch.setattr(finding, "MOST_NAMES", 1000)
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("many")
        file["x"] = np.arange(5)
        for i in range(1100):
            h5o.link(file["x"].id, group.id, b"%06d" % i)
    with pytest.raises(DataError, match="more than 1000 names"):
        list_datasets(path)
    with pytest.raises(FieldNotFoundError, match="no field 'y'"):
        HDF5Source(path, ["y"])
    assert ps.from_hdf5(path, x="many/000500")[:][0].tolist() == [0, 1, 2, 3, 4]


def test_groups_that_contain_themselves_are_listed_once(path):
    with h5py.File(path, "w") as file:
        file["a/b/x"] = np.arange(5)
        file["a/b/up"] = file["a"]
        file["a/root"] = file["/"]
        file["z"] = file["a/b/x"]
        file["soft"] = h5py.SoftLink("/soft")
        file["there"] = h5py.SoftLink("/back")
        file["back"] = h5py.SoftLink("/there")
    assert list_datasets(path) == ["a/b/x"]
    assert ps.from_hdf5(path, x="a/b/up/b/up/root/z")[:][0].tolist() == [0, 1, 2, 3, 4]
    for name in ("soft", "there"):
        with pytest.raises(DataError, match=r"circle|links"):
            HDF5Source(path, [name])


def test_a_hundred_thousand_attributes_are_left_alone(look, path):
    with h5py.File(path, "w", libver="latest") as file:
        made = file.create_dataset("x", data=np.arange(5))
        space = h5s.create(h5s.SCALAR)
        for i in range(100_000):
            h5py.h5a.create(made.id, b"%06d" % i, h5t.STD_U8LE, space)
    assert look()["all"] == ["fine", "np.int64(10)"]


EVIL = "\x1b[2J\x1b]0;title\x07\nOK: nothing is wrong\u202e\u200b\r\x9b31m"


def test_names_of_a_file_do_not_reach_the_terminal_as_they_are(path):
    """They would clear it, or write lines of their own."""
    write(path, **{EVIL: images(4), f"g/{EVIL}": images(4), "plain": np.arange(3)})
    messages = []
    for names in (["nope"], ["g"], [EVIL, "plain"]):
        with pytest.raises(PenstockError) as caught:
            HDF5Source(path, names)
        messages.append(str(caught.value))
    with pytest.raises(PenstockError) as caught:
        ps.from_hdf5(path)
    messages.append(str(caught.value))
    data = ps.from_hdf5(path, x=EVIL)
    loader = data.batch(2)
    messages += [repr(data), str(data.spec), *str(loader.report()).splitlines()]
    for message in messages:
        assert message.isprintable(), repr(message)
    assert sum("nothing is wrong" in message for message in messages) >= 6


def test_names_that_are_no_utf_8_are_listed_and_refused_in_words(path):
    with h5py.File(path, "w") as file:
        file[b"caf\xe9"] = np.arange(3)
    (name,) = list_datasets(path)
    with pytest.raises(PenstockError) as caught:
        HDF5Source(path, [name])
    assert str(caught.value).isprintable()


# Virtual datasets.


def virtual(file, name, *sources):
    """A dataset that reads others of the file."""
    one = h5s.create_simple((4,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_layout(h5d.VIRTUAL)
    for source in sources:
        plist.set_virtual(one, b".", source, one)
    h5d.create(file.id, name, h5t.STD_U8LE, one, plist)


def test_virtual_datasets_in_virtual_datasets_without_end_are_refused(look, path):
    """libhdf5 crashes when it reads twenty thousand."""
    with h5py.File(path, "w", libver="latest") as file:
        file["0"] = np.arange(4, dtype="u1")
        for i in range(3000):
            virtual(file, b"%d" % (i + 1) if i < 2999 else b"x", b"%d" % i)
    refused(look(), "virtual dataset of virtual datasets, more than")


def test_very_many_pieces_of_a_virtual_dataset_are_refused(path, monkeypatch):
    from penstock.sources.hdf5 import virtual as module

    monkeypatch.setattr(module, "MOST_MAPPINGS", 100)
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(120):
            file[f"{i}"] = np.arange(4, dtype="u1")
        virtual(file, b"x", *(b"%d" % i for i in range(120)))
    with pytest.raises(DataError, match="more than 100 pieces"):
        HDF5Source(path, ["x"])


def test_a_virtual_dataset_that_reads_itself_is_refused(look, path):
    with h5py.File(path, "w", libver="latest") as file:
        virtual(file, b"x", b"x")
    refused(look(), "circle")


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


def test_links_through_very_many_groups_are_refused_in_bounded_time(path):
    """Each of them the root again."""
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(10)
        file["a"] = file["/"]
        file["near"] = h5py.SoftLink("a/" * 100 + "data")
        file["far"] = h5py.SoftLink("a/" * 20_000 + "data")
        for number in range(16):
            file[f"s{number}"] = h5py.SoftLink("a/" * 5000 + f"s{number + 1}")
    assert HDF5Source(path, ["near"]).length == 10
    began = time.perf_counter()
    for name in ("far", "s0"):
        with pytest.raises(DataError, match="through more than 1000 groups"):
            HDF5Source(path, [name])
    assert main(["info", str(path)]) == 0
    assert time.perf_counter() - began < 20


def test_a_chunk_of_very_many_empty_blocks_takes_little_memory(path):
    """As many as a chunk of bitshuffle has room for, each of length 0."""
    size = 8 << 20
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
