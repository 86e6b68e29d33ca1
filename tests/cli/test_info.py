"""`penstock info`: what it shows, for a person and for a program, and how it ends."""

import json
import os
import re
import struct
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.cli import main
from penstock.cli.info.text import clean
from penstock.sources.hdf5 import HDF5Source
from tests.cli.conftest import command
from tests.files import damage, gzip, images, overwrite, write
from tests.sources import zoo

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def info(penstock):
    """Runs `penstock info --json` and gives the document."""

    def run(path, *arguments, code=0):
        ended, out, _ = penstock("info", path, "--json", *arguments)
        assert ended == code
        return json.loads(out)

    return run


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cats.h5"


@pytest.fixture
def cats(path):
    """Images and labels, in order of the labels: there is something to advise, and how to go on."""
    return write(path, image=gzip(images(2000)), label=np.repeat(np.arange(4), 500))


def named(document):
    """The objects by their names."""
    return {item["name"]: item for item in document["objects"]}


# What is shown.


def test_shows_each_dataset_with_its_storage_and_read_path(info, file):
    """Shape, type, chunks, filters, sizes, path and reason are those of h5py and of the source."""
    image = named(info(file))["image"]
    assert image["kind"] == "dataset"
    assert (image["shape"], image["dtype"]) == ([400, 8, 8], "uint8")
    assert (image["layout"], image["chunk_shape"], image["chunk_bytes"]) == (
        "chunks",
        [16, 8, 8],
        1024,
    )
    assert (image["chunks"], image["chunks_written"], image["filters"]) == (25, 25, ["gzip"])
    with h5py.File(file) as opened:
        stored = opened["image"].id.get_storage_size()
    assert image["stored_bytes"] == stored
    assert image["decoded_bytes"] == 400 * 64
    assert image["ratio"] == pytest.approx(stored / (25 * 1024))
    assert (image["path"], image["reason"]) == ("direct chunks", "gzip, decoded in threads")
    assert image["problem"] is None


@pytest.mark.parametrize("entry", zoo.params())
def test_the_path_is_the_one_that_a_source_takes(info, path, entry):
    """For every way of storing data."""
    with h5py.File(path, "w", **(entry.options or {})) as file:
        entry.write(file)
    data = named(info(path))["data"]
    assert data["path"] == entry.path
    assert data["reason"] == HDF5Source(path, ["data"]).paths()["data"].reason


def test_what_cannot_be_used_says_why_in_a_few_words(info, path):
    with h5py.File(path, "w") as file:
        file["version"] = 3
        file["text"] = ["a", "bcd"]
        file["none"] = h5py.Empty("f4")
        file["nothing"] = np.empty((0, 4))
        file.create_dataset("ragged", (3,), h5py.vlen_dtype("f4"))
        file.create_dataset("refs", (3,), h5py.ref_dtype)
        file.create_dataset("raw", data=np.arange(8), external=[("/etc/passwd", 0, 64)])
        file["type"] = np.dtype("f4")
        file["good"] = np.arange(5)
    found = named(info(path))
    assert {name: item["problem"] for name, item in found.items() if item["problem"]} == {
        "version": "is a scalar",
        "text": "holds variable-length strings",
        "none": "is empty: it has a type but no data",
        "nothing": "is empty: its shape is (0, 4)",
        "ragged": "holds variable-length arrays",
        "refs": "holds references to other parts of the file",
        "raw": "keeps its data in other files (external storage)",
    }
    assert found["type"]["kind"] == "type"
    assert found["good"]["path"] == "direct rows"


def test_a_filter_that_is_not_there_is_named(info, path):
    """By its number; the rest of the file is shown as ever."""
    missing = 32_767
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((5,))
        plist.set_filter(missing, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((10,))
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_INT8, space, plist)
    data = named(info(path))["data"]
    assert str(missing) in data["problem"]
    assert str(missing) in data["filters"][0]
    assert data["path"] is None


def test_attributes_are_shown_as_text(info, path):
    """A few short ones; not what libraries note for themselves."""
    with h5py.File(path, "w") as file:
        file["label"] = np.arange(3)
        file["label"].attrs["class_names"] = ["cat", "dog"]
        file["label"].attrs["scale"] = 0.5
        file["label"].attrs["CLASS"] = "ARRAY"
        file["label"].attrs["table"] = np.zeros((3, 3))
        file["label"].attrs["ref"] = file.ref
    assert named(info(path))["label"]["attributes"] == {"class_names": "cat, dog", "scale": "0.5"}


def test_links_are_shown_and_not_followed(info, path, tmp_path):
    """Neither into other files, nor to nothing, nor in circles, nor twice to one object."""
    write(tmp_path / "dogs.h5", image=images())
    with h5py.File(path, "w") as file:
        file["g/image"] = images()
        file["hard"] = file["g/image"]
        file["g/up"] = file["/"]
        file["soft"] = h5py.SoftLink("g/image")
        file["dead"] = h5py.SoftLink("/gone")
        file["round"] = h5py.SoftLink("/round")
        file["other"] = h5py.ExternalLink("dogs.h5", "/image")
        file["through"] = h5py.SoftLink("/other")
    found = named(info(path))
    assert {name: item["note"] for name, item in found.items() if item["kind"] == "link"} == {
        "g/image": "the same as 'hard'",
        "g/up": "the same as '/'",
        "soft": "link to 'g/image'",
        "dead": "link to '/gone', which is not there",
        "round": "link to '/round', which leads in a circle",
        "other": "link to '/image' in another file, 'dogs.h5': not followed",
        "through": "link to '/other', which is in another file: not followed",
    }


def test_a_file_without_datasets_is_fine(info, path):
    with h5py.File(path, "w") as file:
        file.create_group("empty")
    document = info(path)
    assert (document["datasets"], document["groups"], document["next"]) == (0, 1, None)


# How to go on.


@pytest.mark.parametrize(
    "fields, x, y, weight",
    [
        ({"image": (4, 4), "label": ()}, "image", "label", None),
        ({"photo": (4, 4), "age": ()}, "photo", "age", None),
        ({"x_train": (4, 4), "y_train": (), "weights": ()}, "x_train", "y_train", "weights"),
        ({"train/x": (3,), "train/y": (3,), "test/x": (3,)}, "train/x", "train/y", None),
        ({"only": (3,)}, "only", None, None),
        ({"left": (3,), "right": (3,), "label": ()}, None, None, None),
        ({"a": (), "b": ()}, None, None, None),
    ],
)
def test_x_and_y_are_guessed_where_one_way_is_likely(info, path, fields, x, y, weight):
    """And the call that is shown opens the file."""
    data = {n: np.zeros((20 if n[:4] == "test" else 50, *shape)) for n, shape in fields.items()}
    write(path, **data)
    after = info(path)["next"]
    if x is None:
        assert after is None
        return
    assert (after["x"], after["y"], after["sample_weight"]) == (x, y, weight)
    opened = eval(after["python"], {"ps": ps})
    assert len(opened) == 50


def test_the_shell_command_to_go_on_trains(info, cats):
    """As it is shown, quotes and all."""
    spaced = cats.rename(cats.with_name("more cats.h5"))
    shell = info(spaced)["next"]["shell"]
    assert shell == f"penstock fit '{spaced}' --x image --y label"
    done = subprocess.run(
        f"{command()} {shell.removeprefix('penstock ')} --quiet", shell=True, check=False
    )
    assert done.returncode == 0


# For a program.


def keys(value):
    """Every key of a document, but the names of attributes."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    inner = (keys(item) for key, item in value.items() if key != "attributes")
    return set(value).union(*inner)


def test_help_names_every_key(info, cats, process):
    text = process("info", "--help").stdout
    listed = text.split("keys of --json:")[1].split("exit codes:")[0]
    document = info(cats)
    assert document["advice"]
    assert document["next"]
    for key in keys(document):
        assert re.search(rf"\b{key}\b", listed), key


def test_text_and_json_tell_the_same(penstock, info, cats):
    text = penstock("info", cats)[1]
    document = info(cats)
    for item in document["objects"][1:]:
        assert item["name"].rpartition("/")[2] in text
    for advice in document["advice"]:
        assert advice["command"] in text
    assert document["next"]["python"] in text
    assert document["next"]["shell"] in text


# For a person.


@pytest.fixture
def crowded(path):
    """Long and wide names, many axes, deep groups, and advice."""
    with h5py.File(path, "w") as file:
        file["a/" * 12 + "deep"] = np.arange(5)
        file["name-" * 30] = np.zeros((2,) * 20)
        file["日本語の名前" * 5] = np.arange(5)
        file["label"] = np.repeat(np.arange(5), 500)
        file["label"].attrs["class_names"] = ["long name of a class"] * 20
        file["gone"] = h5py.SoftLink("/somewhere/" + "else/" * 40)
    return path


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal(penstock, crowded, monkeypatch, width):
    """All but names in the first line, and commands, which are to be copied."""
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = penstock("info", crowded)
    assert code == 0
    for line in out.splitlines()[1:]:
        if "ps.from_hdf5" not in line:
            assert columns(line) <= width, line


def columns(line):
    return sum(2 if "\u2e80" < c < "\ua000" else 1 for c in line)


def test_columns_line_up(penstock, file):
    lines = penstock("info", file)[1].splitlines()
    rows = [line for line in lines if "(400" in line and "stored" not in line]
    assert len(rows) == 6
    [head] = [line for line in lines if line.endswith("in file")]
    for line in rows:
        assert line.index("(400") == head.index("shape")
        assert len(line.rstrip()) in (len(head), head.index("type") + len("text"))


def test_ascii_terminals_get_ascii(file, path):
    """Lines are drawn with plain characters, and names written with escapes."""
    write(path, größe=np.arange(5), plain=np.arange(5))
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([command(), "info", path], capture_output=True, env=env, check=True)
    text = done.stdout.decode("ascii")
    assert "|- gr\\xf6\\xdfe  " in text
    assert "`- plain  " in text


def test_nothing_but_lines_goes_into_a_pipe(process, file):
    """No colours, no bars."""
    done = process("info", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_a_reader_that_leaves_is_no_error(file):
    """As `penstock info cats.h5 | head -1`."""
    process = subprocess.Popen(
        [command(), "info", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (141, b"")


NAMES = st.text(min_size=1, max_size=30).filter(
    lambda name: not set(name) & {"/", "\0"} and name != "."
)


@settings(max_examples=40)
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_no_name_reaches_the_terminal_raw(tmp_path, capsys, names):
    """Whatever characters it has; the line to go on names the dataset all the same."""
    path = tmp_path / "names.h5"
    with h5py.File(path, "w") as file:
        for name in names:
            file[name.encode("utf-8", "surrogatepass")] = np.arange(40)
            file[name.encode("utf-8", "surrogatepass")].attrs["note"] = names[0].encode(
                "utf-8", "surrogatepass"
            )
    capsys.readouterr()
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))


def test_escape_sequences_are_shown_as_escapes():
    assert clean("a\x1b[2Jb\n\u202e\udcff") == "a\\x1b[2Jb\\n\\u202e\\udcff"
    assert clean("größe 日本") == "größe 日本"


# How it ends.


@pytest.mark.parametrize("content", [None, b"", b"id,name\n1,Tom\n", bytes(5000)])
def test_what_is_no_hdf5_file_is_exit_code_2(penstock, path, content):
    """One line on stderr says what it is instead."""
    if content is not None:
        path.write_bytes(content)
    code, out, err = penstock("info", path, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("penstock: error: ")
    assert err.count("\n") == 1


def test_a_truncated_file_is_exit_code_2(penstock, file):
    os.truncate(file, file.stat().st_size // 2)
    code, out, err = penstock("info", file)
    assert (code, out) == (2, "")
    assert "truncated" in err


def test_a_damaged_dataset_is_exit_code_2_after_the_others_are_shown(penstock, path):
    write(path, image=gzip(images()), label=np.arange(50))
    content = path.read_bytes()
    key = struct.pack("<5Q", 24, 0, 0, 0, 0)
    overwrite(path, content.index(key), (16).to_bytes(8, "little"))
    code, out, err = penstock("info", path)
    assert code == 2
    assert "label" in out
    assert "The index of the chunks is damaged: chunks overlap" in out
    assert err.startswith("penstock: error: ")
    assert "'image'" in err
    code, out, _ = penstock("info", path, "--json")
    assert code == 2
    found = named(json.loads(out))
    assert found["image"]["damaged"]
    assert not found["label"]["damaged"]


def test_a_dataset_whose_beginning_nobody_can_read_is_exit_code_2(penstock, path):
    """Though its index is fine."""
    write(path, image=gzip(images()), label=np.arange(50))
    for number in range(4):
        damage(path, "image", number)
    code, out, err = penstock("info", path)
    assert code == 2
    assert "it is damaged: its first chunks are damaged" in out
    assert "its first chunks are damaged" in err


def test_damage_that_is_met_on_the_way_is_exit_code_2(penstock, path):
    """In labels that are looked through for their order."""
    write(path, label=gzip(np.arange(500) % 10, 50))
    damage(path, "label", 7)
    code, out, err = penstock("info", path)
    assert code == 2
    assert "1. label: damaged" in out
    assert "Rows 350 to 399 of 'label'" in err


def test_a_file_that_is_being_written_is_exit_code_1(penstock, file):
    with h5py.File(file, "r+"):
        code, out, err = penstock("info", file)
    assert (code, out) == (1, "")
    assert "open for writing" in err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--memory", "much"], "Received: 'much'"),
        (["--batch-size", "0"], "expected 1 or more"),
        (["--limit", "-1"], "expected 1 or more"),
    ],
)
def test_wrong_options_are_exit_code_2(penstock, file, arguments, words):
    code, out, err = penstock("info", file, *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_help_says_what_the_words_mean(process):
    done = process("info", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("direct rows", "direct chunks", "exit codes", "examples"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_readme_shows_real_output(penstock, tmp_path, monkeypatch):
    """But for sizes of compressed data, which depend on the compressor's version."""
    monkeypatch.chdir(tmp_path)
    shown = re.search(r"```\n\$ (penstock info [^\n]*)\n(.*?)```", README.read_text(), re.DOTALL)
    assert shown
    rng = np.random.default_rng(0)
    with h5py.File("cats.h5", "w") as file:
        image = rng.integers(0, 64, (2000, 32, 32, 3), np.uint8)
        file.create_dataset("image", data=image, chunks=(64, 32, 32, 3), compression="gzip")
        file["label"] = np.repeat([0, 1], 1000)
        file["label"].attrs["class_names"] = ["cat", "dog"]
    code, out, _ = penstock(*shown[1].split()[1:])
    assert code == 0
    assert masked(out) == masked(shown[2])


def masked(text):
    sizes = re.sub(r" *[\d.]+ [kM]?B( \(\d+%\))?", " SIZE", text)
    return [line.rstrip() for line in sizes.strip().splitlines()]
