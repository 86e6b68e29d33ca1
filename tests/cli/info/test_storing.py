"""Advice on how data are stored: given where it pays, gone once its command has been run."""

import json
import subprocess
import sys
import warnings
import zlib

import h5py
import hdf5plugin
import numpy as np
import pytest

import headrace as hr
from headrace.formats.hdf5.info.storage_advice import MANY_CHUNKS, WORTH_BYTES
from tests.cli.info.helpers import assert_same_data, repeated, run_in_shell
from tests.files import create, gzip, images, write

LARGE = (WORTH_BYTES // 3072 + 1, 32, 32, 3)
"""Images that are just large enough for advice on how they are stored."""


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
    "uneven-chunks": (
        uneven_chunks,
        ("--memory", "40MB"),
        ["25 rows", "image (16 rows)", "decoded more than once"],
    ),
    "useless-filters": (useless_gzip, (), ["gzip leaves 100% of 64.5 MB"]),
    "useless-filters shuffle": (useless_shuffle, (), ["shuffle leaves 100%"]),
}


@pytest.mark.parametrize("name", STORED_BADLY)
def test_packing_mends_how_data_are_stored(advice, path, name):
    """The advice says why, in figures; after the command it is gone, and the data are the same."""
    make, options, words = STORED_BADLY[name]
    make(path)
    found = advice(path, *options)
    one = found[name.split()[0]]
    for part in words:
        assert part in one["text"]
    assert one["language"] == "shell"
    assert one["command"].startswith("headrace pack ")
    made = run_in_shell(one["command"])
    assert made.name == "cats-packed.h5"
    assert advice(made, *options) == {}
    assert_same_data(path, made)


# What goes through h5py.


def offset(path):
    write(
        path, image={"data": np.zeros((21_000, 3072), "u1"), "chunks": (64, 3072), "scaleoffset": 0}
    )


def virtual(path):
    with h5py.File("source.h5", "w") as source:
        repeated(source, "part", (4200, 30720), (64, 30720))
    layout = h5py.VirtualLayout((2100, 30720), "u1")
    layout[:] = h5py.VirtualSource("source.h5", "part", (4200, 30720))[::2]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)


def zfp(path):
    with h5py.File(path, "w") as file:
        data = np.zeros((21_000, 768), "f4")
        file.create_dataset("image", data=data, chunks=(64, 768), **hdf5plugin.Zfp(reversible=True))


def padded(path):
    made = h5py.h5t.STD_I16LE.copy()
    made.set_precision(12)
    with h5py.File(path, "w") as file:
        create(file, "image", np.ones((21_000, 1536), "i2"), dtype=made)


@pytest.mark.parametrize("make", [offset, virtual, zfp, padded])
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
    monkeypatch.setenv("HEADRACE_HDF5", "h5py")
    assert advice(path)["slow-path"]["command"] == "unset HEADRACE_HDF5"
    monkeypatch.delenv("HEADRACE_HDF5")
    assert advice(path) == {}


WITHOUT_PLUGINS = """
import sys
sys.modules["hdf5plugin"] = None
from headrace.cli import main
sys.exit(main(["info", "cats.h5", "--json"]))
"""


def test_a_filter_that_is_not_installed_says_what_to_install(path):
    """Which is no damage: the exit code is 0."""
    write(path, image={"data": np.zeros((50, 8), "f4"), **hdf5plugin.Zfp(reversible=True)})
    command = [sys.executable, "-c", WITHOUT_PLUGINS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [one] = json.loads(done.stdout)["advice"]
    assert one["kind"] == "missing-filter"
    assert one["text"].startswith("It is stored with filter 32013 (zfp)")
    assert one["command"] == "pip install hdf5plugin"


# Memory.


def test_memory_that_mixes_is_named_where_chunks_are_small_enough(advice, path):
    """It is the memory at which `batch` has nothing to warn of; below, it warns."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (20_000, 3072), (32, 3072))
    one = advice(path, "--memory", "8MB")["large-chunks"]
    assert one["language"] == "python"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = eval(one["command"], {"hr": hr})
    assert advice(path, "--memory", str(loader.memory)) == {}
    with pytest.warns(UserWarning, match="shuffle=True mixes"):
        hr.from_hdf5(path, x="image").batch(32, shuffle=True, memory="8MB")


@pytest.mark.parametrize("memory, rows", [("32MB", 1000), ("64MB", 500)])
def test_chunks_that_are_said_to_mix_well_do(advice, path, memory, rows):
    """With the memory that was asked about, there is nothing more to mend afterwards."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (40_000, 3072), (rows, 3072))
    one = advice(path, "--memory", memory)["large-chunks"]
    assert "mix well" in one["text"]
    assert advice(run_in_shell(one["command"]), "--memory", memory) == {}


def test_chunks_that_only_mix_better_are_not_said_to_mix_well(advice, path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (40_000, 3072), (500, 3072))
    one = advice(path, "--memory", "8MB")["large-chunks"]
    assert "mix better, about" in one["text"]
    after = advice(run_in_shell(one["command"]), "--memory", "8MB")["large-chunks"]
    assert after["language"] == "python"


def test_chunks_that_no_window_holds_are_named(advice, path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (20_000, 3072), (10_000, 3072))
    one = advice(path, "--memory", "50MB")["large-chunks"]
    assert "cannot hold two of them" in one["text"]


def test_a_chunk_that_is_larger_than_memory_is_named(advice, path):
    """It is not decoded to see how it is read."""
    shape = (1 << 20, 2048)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("image", shape, "u1", chunks=shape, compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(b"nothing"))
    found = advice(path, "--memory", "1GB")
    assert "in smaller chunks" in found["slow-path"]["text"]
    assert "Blocks of 1,048,576 rows take 2.1 GB each" in found["large-chunks"]["text"]
