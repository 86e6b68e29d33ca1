"""The advice of `penstock info`: given where it pays, gone once its command has been run."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

import penstock as ps
from penstock.cli.info.storing import MANY_CHUNKS, WORTH_BYTES
from tests.files import create, gzip, images, write

H5REPACK = shutil.which("h5repack")

needs_h5repack = pytest.mark.skipif(
    H5REPACK is None, reason="h5repack is not installed (Debian: hdf5-tools)"
)

LARGE = (WORTH_BYTES // 3072 + 1, 32, 32, 3)
"""Images that are just large enough for advice on how they are stored."""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where a test writes its file: in the current folder, so that commands are short."""
    monkeypatch.chdir(tmp_path)
    return Path("cats.h5")


@pytest.fixture
def all_advice(penstock):
    """The advice on a file, in a list."""

    def run(path, *arguments):
        code, out, _ = penstock("info", path, "--json", *arguments)
        assert code == 0
        return json.loads(out)["advice"]

    return run


@pytest.fixture
def advice(all_advice):
    """The advice on a file, by kind."""

    def run(path, *arguments):
        return {one["kind"]: one for one in all_advice(path, *arguments)}

    return run


def run_in_shell(command):
    """Runs a command as a person would, and gives the file that it made."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    before = set(Path().iterdir())
    done = subprocess.run(
        ["bash", "-ec", command], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    [made] = set(Path().iterdir()) - before
    return made


def assert_same_data(one, other, rows=None):
    """Every dataset of `one` is in `other`, with its values and attributes."""
    with h5py.File(one) as a, h5py.File(other) as b:
        names = []
        a.visit(names.append)
        for name in names:
            if isinstance(a[name], h5py.Dataset):
                assert a[name].dtype.kind == b[name].dtype.kind
                assert (a[name][:rows] == b[name][...]).all()
            assert attributes(a[name]) == attributes(b[name])
        assert attributes(a) == attributes(b)


def attributes(item):
    return {name: np.asarray(value).tolist() for name, value in item.attrs.items()}


def repeated(file, name, shape, chunks, level=1, data=None, **options):
    """A gzip dataset whose whole chunks of samples all hold the same values: quick to write."""
    made = file.create_dataset(
        name, shape, "u1", chunks=chunks, compression="gzip", compression_opts=level, **options
    )
    if data is None:
        data = np.zeros(chunks, np.uint8)
    raw = zlib.compress(data.tobytes(), level)
    for place in np.ndindex(*(-(-n // c) for n, c in zip(shape, chunks, strict=True))):
        made.id.write_direct_chunk(tuple(i * c for i, c in zip(place, chunks, strict=True)), raw)
    return made


# Files that need none.


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (64, 32, 32, 3)},
        {"chunks": (64, 32, 32, 3), "compression": "gzip"},
        {"chunks": (256, 32, 32, 3), "compression": "gzip", "shuffle": True},
        {"chunks": (64, 32, 32, 3), "compression": "gzip", "maxshape": (None, 32, 32, 3)},
    ],
    ids=str,
)
def test_good_files_get_no_advice(advice, path, storage):
    """Chunks of whole samples that compress, or no compression; shuffled labels."""
    image = np.zeros(LARGE, np.uint8)
    label = np.random.default_rng(0).integers(0, 10, len(image))
    write(
        path,
        image={"data": image, **storage},
        label=label,
        id=np.arange(len(image)),
        time=np.arange(len(image)) // 3,
        weight=gzip(np.ones(len(image)), 1000),
    )
    assert advice(path, "--memory", "1GB") == {}


def test_small_files_get_no_advice_on_storage(advice, path):
    """What is loaded in a moment may be stored as anybody likes."""
    data = images(2000, (8, 8))
    with h5py.File(path, "w") as file:
        file.create_dataset("cut", data=data, chunks=(100, 2, 2))
        file.create_dataset("gzip", data=data, chunks=(1, 8, 8), compression="gzip")
        file.create_dataset("offset", data=data, chunks=(10, 8, 8), scaleoffset=0)
        file.create_dataset("shuffle", data=data, chunks=(10, 8, 8), shuffle=True)
        create(
            file, "compact", data[:100], options=lambda plist: plist.set_layout(h5py.h5d.COMPACT)
        )
    assert advice(path, "--memory", "100MB") == {}


# Ways of storing: the command writes a file that gets no such advice.


def small_chunks(path):
    with h5py.File(path, "w") as file:
        made = repeated(
            file, "images/photo", (MANY_CHUNKS, 8, 8), (1, 8, 8), data=images(1, (8, 8))
        )
        made.attrs["class_names"] = ["cat", "dog"]
        file.attrs["year"] = 2024
        file["images/id"] = np.arange(MANY_CHUNKS)


def large_chunks(path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (20_000, 3072), (1000, 3072))


def cut_samples(path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (21_000, 64, 48), (1000, 8, 12))


def cut_uncompressed_samples(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=np.zeros((21_000, 64, 48), "u1"), chunks=(7000, 32, 48))


def uneven_chunks(path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (21_000, 3072), (16, 3072))
        repeated(file, "feature", (21_000, 1024), (25, 1024))


def useless_gzip(path):
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(0).integers(0, 256, (350, 3072), np.uint8)
        repeated(file, "image", (21_000, 3072), (350, 3072), data=noise)


def useless_shuffle(path):
    write(path, image={"data": np.zeros(LARGE, "u1"), "chunks": (64, 32, 32, 3), "shuffle": True})


STORED_BADLY = {
    "small-chunks": (small_chunks, (), ["20,000 chunks hold 64 B each", "0.4 s of one core"]),
    "large-chunks": (large_chunks, ("--memory", "50MB"), ["1,000 rows", "batches of 32"]),
    "cut-samples": (cut_samples, (), ["(1000, 8, 12)", "lies in 32 chunks", "1,000 samples"]),
    "cut-samples uncompressed": (cut_uncompressed_samples, (), ["lies in 2 chunks"]),
    "uneven-chunks": (uneven_chunks, ("--memory", "40MB"), ["25 rows", "image (16 rows)", "times"]),
    "useless-filters": (useless_gzip, (), ["gzip leaves 100% of 64.5 MB"]),
    "useless-filters shuffle": (useless_shuffle, (), ["shuffle leaves 100%"]),
}


@pytest.mark.parametrize("name", STORED_BADLY)
@needs_h5repack
def test_h5repack_mends_how_data_are_stored(advice, path, name):
    """The advice says why, in figures; after the command it is gone, and the data are the same."""
    make, options, words = STORED_BADLY[name]
    make(path)
    found = advice(path, *options)
    one = found[name.split()[0]]
    for part in words:
        assert part in one["text"]
    assert one["language"] == "shell"
    assert one["command"].startswith("h5repack ")
    made = run_in_shell(one["command"])
    assert made.name == "cats-repacked.h5"
    assert advice(made, *options) == {}
    assert_same_data(path, made)


@pytest.mark.parametrize("name", STORED_BADLY)
def test_h5py_mends_it_where_h5repack_would_not(advice, path, name):
    """h5repack would leave the LZF dataset out, and cannot say a name with a comma."""
    make, options, _ = STORED_BADLY[name]
    make(path)
    with h5py.File(path, "a") as file:
        file.create_dataset("other, small", data=images(), chunks=(5, 4, 4, 3), compression="lzf")
        file["other, small"].attrs["note"] = "kept"
        file["link"] = h5py.SoftLink("/other, small")
    one = advice(path, *options)[name.split()[0]]
    assert one["command"].startswith("python - <<")
    made = run_in_shell(one["command"])
    assert advice(made, *options) == {}
    assert_same_data(path, made)


TRAPS = {
    "a plugin's filter": lambda file: file.create_dataset("a", data=range(50), compression="lzf"),
    "virtual data": lambda file: file.create_virtual_dataset("a", virtual_of_nothing()),
    "more than was looked at": lambda file: [file.create_group(f"other {i}") for i in range(300)],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_h5repack_is_not_named_where_it_would_lose_data(advice, path, trap):
    """It says nothing, and ends with exit code 0, when it leaves out what it cannot decode."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
        TRAPS[trap](file)
    assert "h5repack" not in advice(path)["small-chunks"]["command"]


def virtual_of_nothing():
    layout = h5py.VirtualLayout((20,), "u1")
    layout[:] = h5py.VirtualSource("cats.h5", "gone", (20,))
    return layout


def test_newer_formats_are_not_left_to_h5repack(advice, path):
    with h5py.File(path, "w", libver="latest") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
    one = advice(path)["small-chunks"]
    assert "h5repack" not in one["command"]
    assert advice(run_in_shell(one["command"])) == {}


def test_names_are_quoted_for_the_shell(advice, path):
    """Spaces, commas, quotes, dollars; and what no shell takes goes another way."""
    hostile = 'it\'s $(touch pwned) "x"; `touch pwned`'
    for name in (hostile, f"{hostile}, and more", "new\nline \x1b[31m", "größe"):
        with h5py.File(path, "w") as file:
            repeated(file, name, (MANY_CHUNKS, 64), (1, 64), data=images(1, (64,)))
        target = path.rename(f"-{hostile}.h5" if name == hostile else "cats.h5")
        one = advice(f"./{target}")["small-chunks"]
        assert one["command"].isprintable() or one["command"].startswith("python")
        if one["command"].startswith("h5repack") and H5REPACK is None:
            continue
        made = run_in_shell(one["command"])
        assert_same_data(target, made)
        assert advice(f"./{made}") == {}
        made.unlink()
        target.unlink()
    assert not Path("pwned").exists()


def test_a_file_that_is_there_is_not_overwritten(advice, path):
    small_chunks(path)
    Path("cats-repacked.h5").write_text("mine")
    command = advice(path)["small-chunks"]["command"]
    assert "cats-repacked2.h5" in command
    assert "cats-repacked.h5" not in command


def test_one_command_mends_all_that_one_rewrite_can(advice, penstock, path):
    """It is printed once."""
    with h5py.File(path, "w") as file:
        repeated(file, "a", (MANY_CHUNKS, 64), (1, 64))
        repeated(file, "b", (MANY_CHUNKS, 32), (1, 32))
    text = penstock("info", path)[1]
    assert text.count("h5repack") == 1
    assert "(for 1 to 2 together)" in text


# What goes through h5py.


def offset(path):
    write(
        path, image={"data": np.zeros((21_000, 3072), "u1"), "chunks": (64, 3072), "scaleoffset": 0}
    )


def virtual(path):
    with h5py.File("source.h5", "w") as source:
        repeated(source, "part", (21_000, 3072), (64, 3072))
    layout = h5py.VirtualLayout((21_000, 3072), "u1")
    layout[:] = h5py.VirtualSource("source.h5", "part", (21_000, 3072))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)


def padded(path):
    made = h5py.h5t.STD_I16LE.copy()
    made.set_precision(12)
    with h5py.File(path, "w") as file:
        create(file, "image", np.ones((21_000, 1536), "i2"), dtype=made)


@pytest.mark.parametrize("make", [offset, virtual, padded])
def test_the_slow_path_is_left_by_its_command(advice, path, make):
    """Whatever it is that only libhdf5 reads."""
    make(path)
    one = advice(path)["slow-path"]
    assert "on one core" in one["text"]
    made = run_in_shell(one["command"])
    assert advice(made) == {}
    assert_same_data(path, made)


def test_a_slow_path_that_is_asked_for_is_named(advice, path, monkeypatch):
    write(path, image=images())
    monkeypatch.setenv("PENSTOCK_HDF5", "h5py")
    assert advice(path)["slow-path"]["command"] == "unset PENSTOCK_HDF5"
    monkeypatch.delenv("PENSTOCK_HDF5")
    assert advice(path) == {}


# Memory.


def test_memory_that_mixes_is_named_where_chunks_are_small_enough(advice, path):
    """It is the memory at which `batch` has nothing to warn of; below, it warns."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (20_000, 3072), (32, 3072))
    one = advice(path, "--memory", "8MB")["large-chunks"]
    assert one["language"] == "python"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = eval(one["command"], {"ps": ps})
    assert advice(path, "--memory", str(loader.memory)) == {}
    with pytest.warns(UserWarning, match="A window mixes"):
        ps.from_hdf5(path, x="image").batch(32, shuffle=True, memory="8MB")


def test_chunks_that_no_window_holds_are_named(advice, path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (20_000, 3072), (10_000, 3072))
    one = advice(path, "--memory", "50MB")["large-chunks"]
    assert "cannot hold two of them" in one["text"]


def test_a_chunk_too_large_to_try_is_named(advice, penstock, path):
    """It is not decoded to see how it is read."""
    shape = (1 << 20, 2048)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("image", shape, "u1", chunks=shape, compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(b"nothing"))
    assert "not tried: one chunk takes 2.1 GB" in penstock("info", path)[1]
    assert "decoded as a whole" in advice(path)["large-chunks"]["text"]


# Rows.


@pytest.mark.parametrize(
    "label",
    [
        np.repeat(np.arange(4), 500),
        np.repeat([1, 0, 1], [900, 500, 600]),
        np.repeat(np.arange(20), 100).reshape(-1, 1),
        np.repeat([True, False], 1000),
        np.sort(np.random.default_rng(0).integers(0, 50, 2000)).astype("u1"),
    ],
    ids=["sorted", "three runs", "a column", "bool", "many classes"],
)
def test_labels_in_order_are_named(advice, path, label):
    """With the split that mixes them."""
    write(path, image=images(2000), label=label)
    one = advice(path)["sorted-rows"]
    assert one["datasets"] == ["label"]
    assert f"{len(np.unique(label))} values, in runs of about" in one["text"]
    assert "exact: a uniform permutation" in one["text"]
    train, val = eval(one["command"], {"ps": ps})
    assert (len(train), len(val)) == (1600, 400)
    assert set(np.unique(val[:][1])) == set(np.unique(label))


@pytest.mark.parametrize(
    "label",
    [
        np.random.default_rng(0).integers(0, 2, 2000),
        np.arange(2000) % 10,
        np.arange(2000),
        np.zeros(2000, int),
        np.arange(2000) // 2,
        np.repeat([0, 1], [1995, 5])[np.random.default_rng(0).permutation(2000)],
        np.sort(np.random.default_rng(0).random(2000)),
    ],
    ids=["mixed", "in turn", "numbers", "one class", "pairs", "rare", "not classes"],
)
def test_other_columns_are_not(advice, path, label):
    write(path, image=images(2000), label=label)
    assert "sorted-rows" not in advice(path)


@pytest.mark.parametrize("storage", [{}, {"chunks": (5000,), "compression": "gzip"}], ids=str)
def test_long_columns_are_sampled(advice, path, storage):
    """A few megabytes are read of what may be gigabytes."""
    n = 3_000_000
    write(
        path,
        image=np.ones((n, 1), "u1"),
        label={"data": np.repeat(np.arange(1000), n // 1000), **storage},
        mixed={"data": np.random.default_rng(0).integers(0, 1000, n), **storage},
    )
    one = advice(path)["sorted-rows"]
    assert one["datasets"] == ["label"]
    assert "values were seen, in runs of" in one["text"]


def test_rows_that_nobody_wrote_are_named(all_advice, path):
    with h5py.File(path, "w") as file:
        file.create_dataset("contiguous", (50, 5), "i2")
        file.create_dataset("chunks", (50, 5), "i2", chunks=(10, 5))
        tail = file.create_dataset("tail", (50, 5), "i2", chunks=(10, 5), compression="gzip")
        tail[:33] = 1
        holes = file.create_dataset("holes", (50, 5), "i2", chunks=(10, 5))
        holes[:10] = holes[40:] = 1
    found = {one["datasets"][0]: one for one in all_advice(path)}
    assert found["contiguous"]["kind"] == found["chunks"]["kind"] == "never-written"
    assert "all 50 rows" in found["chunks"]["text"]
    assert "1 of its 5 chunks" in found["tail"]["text"]
    assert "Rows 40 to 49" in found["tail"]["text"]
    assert len(eval(found["tail"]["command"], {"ps": ps})) == 40
    assert "3 of its 5 chunks" in found["holes"]["text"]
    assert found["holes"]["command"] is None


def test_a_field_that_is_a_little_longer_is_cut(advice, path):
    """The command keeps the rows that all have."""
    write(path, image=images(50), label=np.arange(50), weight=np.ones(49))
    assert advice(path)["unequal-lengths"]["command"] is None
    write(path, image=images(51), label=np.arange(50), weight=np.ones(50))
    one = advice(path)["unequal-lengths"]
    assert "51 rows" in one["text"]
    made = run_in_shell(one["command"])
    assert advice(made) == {}
    assert_same_data(path, made, rows=50)
    assert len(ps.from_hdf5(made, x="image", y="label", sample_weight="weight")) == 50


def test_parts_of_different_lengths_are_fine(advice, path):
    """As of training and validation."""
    write(path, a=images(50), b=np.arange(50), c=images(49), d=np.arange(49), e=images(20))
    assert "unequal-lengths" not in advice(path)


def test_samples_that_are_datasets_are_joined_by_the_command(advice, path):
    with h5py.File(path, "w") as file:
        for i in range(1000):
            file[f"train/{i}"] = np.full((4, 4), i, "u2")
    one = advice(path)["samples-apart"]
    assert "1,000 objects" in one["text"]
    made = run_in_shell(one["command"])
    assert advice(made) == {}
    (x,) = ps.from_hdf5(made, x="data")[:]
    assert (x == np.arange(1000)[:, None, None]).all()
    with h5py.File(made) as file:
        assert file["name"][7] == b"7"
