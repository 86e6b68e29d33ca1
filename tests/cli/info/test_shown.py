"""What `headrace info` says of a file, and how to go on."""

import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t

import headrace as hr
from headrace.errors import TypeNotSupportedError
from headrace.sources.hdf5 import HDF5Source
from tests.cli.conftest import command
from tests.cli.info.helpers import named
from tests.files import images, write
from tests.sources import zoo


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
    assert data["reason"] == HDF5Source(path, ["data"]).read_paths()["data"].reason


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
        made = h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_INT8, space, plist)
        made.write_direct_chunk((0,), b"filtered", filter_mask=0)
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


def test_members_of_compound_values_are_named_as_fields(info, headrace, path):
    """As `from_hdf5` takes them."""
    kind = [("pt", "f4"), ("p", "f4", (3,)), ("tag", "i1")]
    write(path, **{"g/jets": np.zeros(50, kind)})
    jets = named(info(path))["g/jets"]
    assert jets["dtype"] == "3 parts"
    assert jets["members"] == {"pt": "float32", "p": "float32 (3,)", "tag": "int8"}
    assert "such as g/jets['pt']" in headrace("info", path)[1]
    assert len(hr.from_hdf5(path, x="g/jets['pt']")) == 50


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


def test_neither_keras_nor_a_backend_is_loaded(cats):
    """The command is quick, and works where no backend is installed."""
    code = (
        "import sys; from headrace.cli import main; main(['info', 'cats.h5']); "
        "print({name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"'keras'", "'jax'"} & set(re.split(r"[{, }]", done.stdout.splitlines()[-1]))


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
    opened = eval(after["python"], {"hr": hr})
    assert len(opened) == 50


def test_the_shell_command_to_go_on_trains(info, cats):
    """As it is shown, quotes and all."""
    spaced = cats.rename(cats.with_name("more cats.h5"))
    shell = info(spaced)["next"]["shell"]
    assert shell == f"headrace fit '{spaced}' --x image --y label"
    done = subprocess.run(
        f"{command()} {shell.removeprefix('headrace ')} --quiet", shell=True, check=False
    )
    assert done.returncode == 0


# For a program.


def keys(value):
    """Every key of a document, but the names of attributes."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    inner = (keys(item) for key, item in value.items() if key not in ("attributes", "members"))
    return set(value).union(*inner)


def test_help_names_every_key(info, cats, process):
    text = process("info", "--help").stdout
    listed = text.split("keys of --json:")[1].split("exit codes:")[0]
    document = info(cats)
    assert document["advice"]
    assert document["next"]
    for key in keys(document):
        assert re.search(rf"\b{key}\b", listed), key


def test_text_and_json_tell_the_same(headrace, info, cats):
    text = headrace("info", cats)[1]
    document = info(cats)
    for item in document["objects"][1:]:
        assert item["name"].rpartition("/")[2] in text
    for advice in document["advice"]:
        assert advice["command"] in text
    assert document["next"]["python"] in text
    assert document["next"]["shell"] in text


def test_a_pattern_is_its_only_file_or_an_error_that_lists_them(info, headrace, path):
    write(path, image=np.arange(5))
    found = info("cat*.h5")
    assert found["datasets"] == 1
    # What is to be run next names the file: an output is made for one file.
    assert found["file"] == "cats.h5"
    assert "'cats.h5'" in found["next"]["python"]
    write(path.with_name("cats2.h5"), image=np.arange(5))
    code, _, err = headrace("info", "cat*.h5")
    assert code == 2
    assert "matches 2 files, and info needs exactly one: cats2.h5, cats.h5" in err


def test_types_that_no_model_takes_come_with_what_to_do(advice, path):
    """Beside samples of as many rows; what is of another length is no label of them."""
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros((3, 4))
        file["label"] = np.arange(3)
        file["remark"] = ["a", "bcd", "e"]
        file["note"] = ["a"]
    one = advice(path)["unusable-type"]
    assert one["datasets"] == ["remark"]
    assert "Encode them as integers first" in one["text"]


def test_the_share_in_the_file_is_that_of_the_values(info, path):
    """Also where a chunk reaches far beyond them."""
    with h5py.File(path, "w") as file:
        values = np.random.default_rng(0).integers(0, 256, 50, np.uint8)
        file.create_dataset("x", data=values, chunks=(5000,), maxshape=(None,), compression="gzip")
    x = named(info(path))["x"]
    assert x["ratio"] == x["stored_bytes"] / 50


def test_numbers_that_numpy_does_not_know_are_no_damage(info, path):
    """Of 16 bytes with a mantissa of 112 bits, and in the order of a VAX."""
    quad = h5t.IEEE_F64LE.copy()
    quad.set_size(16)
    quad.set_precision(128)
    quad.set_fields(127, 112, 15, 0, 112)
    with h5py.File(path, "w") as file:
        file["good"] = np.arange(3)
        h5d.create(file.id, b"quad", quad, h5s.create_simple((3,)))
        file["vax"] = np.arange(3, dtype=">f8")
    # The class and version of a type, and its order of bytes, as version 3 says that.
    content = path.read_bytes()
    assert content.count(b"\x11\x21\x3f\0\x08") == 1
    path.write_bytes(content.replace(b"\x11\x21\x3f\0\x08", b"\x31\x61\x3f\0\x08"))
    found = named(info(path))
    for name in ("quad", "vax"):
        assert not found[name]["damaged"]
        assert found[name]["problem"].startswith("holds values that NumPy has no type for")
    with pytest.raises(TypeNotSupportedError, match="VAX byte order"):
        hr.from_hdf5(path, x="vax")
