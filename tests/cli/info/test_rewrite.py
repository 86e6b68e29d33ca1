"""Commands that pack datasets anew: which datasets, which file, and how names get into them."""

import zlib
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

import headrace as hr
from headrace.formats.hdf5.info.storage_advice import MANY_CHUNKS
from tests.cli.info.helpers import assert_same_data, repeated, run_in_shell
from tests.files import images

HOSTILE = 'it\'s $(touch pwned) "x"; `touch pwned`'


@pytest.mark.parametrize("name", [f"{HOSTILE}, and more", "new\nline \x1b[31m", "größe", " space"])
def test_names_that_no_option_takes_are_said_in_python(advice, path, name):
    """Commas, line breaks, escape sequences, what is not ASCII, and spaces around them."""
    with h5py.File(path, "w") as file:
        repeated(file, name, (MANY_CHUNKS, 64), (1, 64), data=images(1, (64,)))
    one = advice(path)["small-chunks"]
    assert one["language"] == "python"
    assert one["command"].isprintable()
    eval(one["command"], {"hr": hr})
    assert_mended(advice, path, "cats-packed.h5")


@pytest.mark.parametrize("name", [HOSTILE, "-x", "group/of images/x=1"])
def test_names_are_quoted_for_the_shell(advice, path, name):
    """Spaces, quotes, dollars, backticks and dashes, in the file's name and inside it."""
    with h5py.File(path, "w") as file:
        repeated(file, name, (MANY_CHUNKS, 64), (1, 64), data=images(1, (64,)))
    path = path.rename(f"-{name.replace('/', '')}.h5")
    one = advice(f"./{path}")["small-chunks"]
    assert one["language"] == "shell"
    assert_mended(advice, path, run_in_shell(one["command"]))


def assert_mended(advice, path, made):
    assert_same_data(path, made)
    assert advice(f"./{made}") == {}
    assert not Path("pwned").exists()


def test_a_file_that_is_there_is_not_overwritten(advice, path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
    Path("cats-packed.h5").write_text("mine")
    command = advice(path)["small-chunks"]["command"]
    assert "cats-packed2.h5" in command
    assert "cats-packed.h5" not in command


def test_one_command_mends_all_that_are_of_one_length(advice, headrace, path):
    """It is printed once."""
    with h5py.File(path, "w") as file:
        repeated(file, "a", (MANY_CHUNKS, 64), (1, 64))
        repeated(file, "b", (MANY_CHUNKS, 32), (1, 32))
    text = headrace("info", path)[1]
    assert text.count("headrace pack") == 1
    assert "(for 1 to 2 together)" in text


def test_datasets_of_each_length_get_a_file_of_their_own(all_advice, path):
    """Such as those for training and for validation; x and y are known where they are clear."""
    with h5py.File(path, "w") as file:
        for part, rows in (("train", MANY_CHUNKS), ("val", MANY_CHUNKS + 1)):
            repeated(file, f"{part}/image", (rows, 64), (1, 64), data=images(1, (64,)))
            file[f"{part}/label"] = np.random.default_rng(0).integers(0, 2, rows)
    first, second = (one["command"] for one in all_advice(path))
    made = [run_in_shell(first), run_in_shell(second)]
    assert [file.name for file in made] == ["cats-packed.h5", "cats-packed2.h5"]
    for file, part, rows in zip(made, ["train", "val"], [0, 1], strict=True):
        data = hr.open(file)
        assert len(data) == MANY_CHUNKS + rows
        assert (data.spec.x, data.spec.y) == (f"{part}/image", f"{part}/label")


@pytest.mark.parametrize("more", ["id", "an id, with a comma"])
def test_what_lies_beside_x_and_y_goes_along(advice, path, more):
    """And is no part of either."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
        for name in ("label", more):
            file[name] = np.random.default_rng(0).permutation(MANY_CHUNKS)
    one = advice(path)["small-chunks"]
    if one["language"] == "shell":
        run_in_shell(one["command"])
    else:
        eval(one["command"], {"hr": hr})
    assert_same_data(path, "cats-packed.h5")
    data = hr.open("cats-packed.h5")
    assert data.spec.parts == ("image", "label")
    train, val = data.split(0.5, by=more)
    assert 0 < len(train) < len(train) + len(val) == MANY_CHUNKS


def test_parts_of_one_length_get_a_file_of_their_own(all_advice, path):
    """Labels for validation are no input."""
    with h5py.File(path, "w") as file:
        for part in ("train", "val"):
            repeated(file, f"{part}/image", (MANY_CHUNKS, 64), (1, 64), data=images(1, (64,)))
            file[f"{part}/label"] = np.random.default_rng(0).integers(0, 2, MANY_CHUNKS)
    made = [run_in_shell(one["command"]) for one in all_advice(path)]
    parts = [hr.open(file).spec.parts for file in made]
    assert parts == [("train/image", "train/label"), ("val/image", "val/label")]


def test_what_the_new_file_lacks_is_said(advice, path):
    """Datasets of other lengths, scalars, and what was not looked at."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
        file["version"] = 3
        file["classes"] = np.array([b"cat", b"dog"])
    said = "The new file does not have classes and version"
    assert f"{said}." in advice(path)["small-chunks"]["text"].replace(", version", " and version")
    with h5py.File(path, "a") as file:
        for i in range(100):
            file[f"x{i}"] = i
    assert "what was not looked at (--limit)" in advice(path)["small-chunks"]["text"]


def test_rows_that_nobody_wrote_are_not_packed(advice, path):
    """Afterwards they could not be told from others."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("image", (30_000, 64), "u1", chunks=(1, 64), compression="gzip")
        for row in range(21_000):
            made.id.write_direct_chunk((row, 0), zlib.compress(bytes(64)))
        file["label"] = np.random.default_rng(0).integers(0, 2, 30_000)
    found = advice(path)
    assert "rows from 21,000 on" in found["small-chunks"]["text"]
    assert "end=21000" in found["unwritten-rows"]["command"]
    made = run_in_shell(found["small-chunks"]["command"])
    assert len(hr.open(made)) == 21_000
    assert advice(made) == {}


def test_fields_that_are_a_little_shorter_go_along(advice, path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (MANY_CHUNKS + 10, 64), (1, 64))
        for name in ("label", "weight"):
            file[name] = np.random.default_rng(0).permutation(MANY_CHUNKS)
    made = run_in_shell(advice(path)["small-chunks"]["command"])
    data = hr.open(made)
    assert len(data) == MANY_CHUNKS
    assert data.spec.parts == ("image", "label", "weight")


def test_advice_that_was_followed_is_not_given_again(advice, path):
    """Where the chunks that mix well are below the size that is called small."""
    options = ("--memory", "256MB", "--batch-size", "256")
    with h5py.File(path, "w") as file:
        repeated(file, "image", (100_000, 3072), (4, 3072))
        file["label"] = np.random.default_rng(0).integers(0, 2, 100_000)
    one = advice(path, *options)["small-chunks"]
    assert advice(run_in_shell(one["command"]), *options) == {}


@pytest.mark.parametrize(
    "stored, packed",
    [("gzip", "gzip"), ("zstd", "zstd"), ("lzf", "lzf"), ("blosc", "gzip"), (None, None)],
)
def test_the_compression_stays_where_pack_has_it(advice, path, stored, packed):
    """Others become gzip."""
    filters = {"zstd": hdf5plugin.Zstd(), "blosc": hdf5plugin.Blosc()}
    form = filters.get(stored, {"compression": stored})
    with h5py.File(path, "w") as file:
        zeros = np.zeros((21_000, 32, 96), "u1")
        file.create_dataset("image", data=zeros, chunks=(700, 8, 12), **form)
    words = advice(path)["cut-samples"]["command"].split()
    if packed is None:
        assert words == ["headrace", "pack", "cats.h5", "cats-packed.h5", "--x", "image"]
    else:
        assert words[words.index("--compression") + 1] == packed
