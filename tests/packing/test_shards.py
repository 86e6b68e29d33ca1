"""Folders of shards: what the manifest says, and going on after a stop."""

import hashlib
import json

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import FileFormatError, MissingFileError, OptionError, StateError
from headrace.manifest import read_manifest
from tests.bad_input.refusal import refused
from tests.files import gzip, images, write

N = 1000
IMAGES = images(N)
SIZE = 48 * 110


@pytest.fixture
def data(tmp_path):
    """A gzip file of images and labels."""
    path = write(tmp_path / "in.h5", image=gzip(IMAGES, 7), label=np.arange(N))
    return hr.from_hdf5(path, x="image", y="label")


def contents(folder):
    """Every file of a folder, with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_shards_are_one_data_set_again(data, tmp_path, compression):
    """By the folder, by the manifest, and as files of HDF5."""
    packed = hr.pack(data, tmp_path / "out", shard_size=SIZE, compression=compression)
    opened = [
        packed,
        hr.open(tmp_path / "out"),
        hr.open(str(tmp_path / "out" / "manifest.json")),
        hr.from_hdf5(tmp_path / "out" / "*.h5"),
    ]
    for found in opened:
        x, y = found[:]
        assert np.array_equal(x, IMAGES)
        assert np.array_equal(y, np.arange(N))
    assert hr.open(tmp_path / "out", x="label", start=5, end=7)[:][0].tolist() == [5, 6]


def test_the_manifest_says_what_is_there(data, tmp_path):
    """Version, fields, rows, and the size and SHA-256 of each file."""
    hr.pack(data, tmp_path / "out", shard_size=SIZE, shuffle=True, seed=9)
    document = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (document["format"], document["version"], document["rows"]) == ("headrace", 1, N)
    assert (document["x"], document["y"], document["shuffled"]) == ("image", "label", 9)
    assert document["fields"][0] == {"name": "image", "shape": [4, 4, 3], "dtype": "|u1"}
    names = [shard["file"] for shard in document["shards"]]
    assert names == [f"shard-{number:05}.h5" for number in range(len(names))]
    assert sum(shard["rows"] for shard in document["shards"]) == N
    for shard in document["shards"]:
        content = (tmp_path / "out" / shard["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        assert len(content) == shard["bytes"]
        with h5py.File(tmp_path / "out" / shard["file"]) as file:
            assert len(file["image"]) == shard["rows"]
            assert file["image"].nbytes + file["label"].nbytes <= SIZE


def test_what_is_hashed_while_it_is_written_is_the_file(tmp_path):
    """In shards of several buffers, of fields whose largest comes last."""
    image = images(20_000)
    data = hr.from_arrays({"id": np.arange(20_000), "image": image}, np.arange(20_000) % 7)
    hr.pack(data, tmp_path / "out", shard_size="500kB", memory="1.6MB")
    for shard in read_manifest(tmp_path / "out" / "manifest.json").shards:
        content = (tmp_path / "out" / shard.file).read_bytes()
        assert shard.sha256 == hashlib.sha256(content).hexdigest()
        assert shard.bytes == len(content)
    assert np.array_equal(hr.open(tmp_path / "out")[:][0]["image"], image)


def test_compound_values_are_named_in_a_manifest(tmp_path):
    """Their members, with shapes."""
    kind = np.dtype([("a", "<f4", (2,)), ("b", [("c", "i1")])])
    data = hr.from_arrays(np.zeros(10, kind))
    packed = hr.pack(data, tmp_path / "out", shard_size=50)
    assert packed.spec["x"].dtype == kind
    assert read_manifest(tmp_path / "out" / "manifest.json").fields[0].dtype == kind
    assert hr.verify(tmp_path / "out").ok


def test_a_shard_holds_a_row_at_least(data, tmp_path):
    """Where a sample is larger than a shard should be."""
    packed = hr.pack(data.take(5), tmp_path / "out", shard_size=1)
    assert len(list((tmp_path / "out").glob("*.h5"))) == 5
    assert len(packed) == 5


def fail_at(rows):
    """A map function that stops at a row."""

    def fn(x, y):
        if rows in y:
            raise RuntimeError("stopped")
        return x, y

    return fn


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "seed": 3, "memory": "100kB"}])
@pytest.mark.parametrize("row", [0, 330, 985])
def test_it_goes_on_where_it_stopped(data, tmp_path, options, row):
    """What was there is kept, and the result is the same, byte for byte."""
    options |= {"shard_size": SIZE, "compression": "gzip", "chunk": 480, "version": "1"}
    whole = data.map(lambda x, y: (x, y))
    hr.pack(whole, tmp_path / "whole", **options)
    with pytest.raises(RuntimeError, match="stopped"):
        hr.pack(data.map(fail_at(row)), tmp_path / "out", workers=1, **options)
    assert not (tmp_path / "out").exists()
    left = tmp_path / ".out.headrace"
    made = {p: p.stat().st_mtime_ns for p in left.rglob("shard-*")}
    assert row < 330 or made or "shuffle" in options
    hr.pack(whole, tmp_path / "out", resume=True, **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    for path, time in made.items():
        assert (tmp_path / "out" / path.name).stat().st_mtime_ns == time
    assert not left.exists()


def test_without_resume_it_begins_anew(data, tmp_path):
    """What was left is removed."""
    with pytest.raises(RuntimeError):
        hr.pack(data.map(fail_at(900)), tmp_path / "out", shard_size=SIZE, workers=1)
    hr.pack(data, tmp_path / "out", shard_size=2 * SIZE)
    assert hr.verify(tmp_path / "out").ok
    assert not (tmp_path / ".out.headrace").exists()


def test_other_data_or_options_are_not_gone_on_with(data, tmp_path):
    """What differs is named."""
    options = {"shard_size": SIZE, "workers": 1, "version": "1"}
    with pytest.raises(RuntimeError):
        hr.pack(data.map(fail_at(900)), tmp_path / "out", **options)
    with refused(StateError, "other map functions"):
        hr.pack(data, tmp_path / "out", resume=True, **options)
    with refused(StateError, "other data"):
        hr.pack(data.take(999).map(fail_at(2000)), tmp_path / "out", resume=True, **options)
    with refused(StateError, "other compression"):
        mapped = data.map(fail_at(2000))
        hr.pack(mapped, tmp_path / "out", resume=True, compression="gzip", **options)


def test_a_drawn_seed_is_gone_on_with(data, tmp_path):
    """Nobody has to know it."""
    options = {"shard_size": SIZE, "shuffle": True, "memory": "3MB", "workers": 1, "version": ""}
    with pytest.raises(RuntimeError):
        hr.pack(data.map(fail_at(990)), tmp_path / "out", **options)
    packed = hr.pack(data.map(fail_at(2000)), tmp_path / "out", resume=True, **options)
    assert sorted(packed.only(packed.spec.y)[:][0].tolist()) == list(range(N))


def test_resume_without_anything_left_just_packs(data, tmp_path):
    """So that a script can always say it."""
    hr.pack(data, tmp_path / "out", shard_size=SIZE, resume=True)
    assert hr.verify(tmp_path / "out").ok


def test_shards_are_replaced_as_a_whole(data, tmp_path):
    """The old ones are there until then."""
    hr.pack(data, tmp_path / "out", shard_size=SIZE)
    with refused(OptionError, "overwrite=True"):
        hr.pack(data, tmp_path / "out", shard_size=SIZE)
    with pytest.raises(RuntimeError):
        hr.pack(data.map(fail_at(900)), tmp_path / "out", shard_size=2 * SIZE, overwrite=True)
    assert hr.verify(tmp_path / "out").ok
    hr.pack(data, tmp_path / "out", shard_size=4 * SIZE, overwrite=True)
    assert len(list((tmp_path / "out").glob("*.h5"))) < 5
    assert hr.verify(tmp_path / "out").ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out"]


def test_a_folder_of_other_things_is_never_replaced(data, tmp_path):
    """Also with overwrite=True."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    with refused(OptionError, "did not put there: thesis.txt"):
        hr.pack(data, tmp_path / "out", shard_size=SIZE, overwrite=True)
    # A manifest of somebody else's, as web pages have one.
    (tmp_path / "out" / "manifest.json").write_text('{"name": "page"}')
    with refused(OptionError, "manifest.json, thesis.txt"):
        hr.pack(data, tmp_path / "out", shard_size=SIZE, overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years"
    hr.pack(data, tmp_path / "packed", shard_size=SIZE)
    (tmp_path / "packed" / "notes.md").write_text("mine")
    with refused(OptionError, "did not put there: notes.md"):
        hr.pack(data, tmp_path / "packed", shard_size=SIZE, overwrite=True)
    assert (tmp_path / "packed" / "notes.md").read_text() == "mine"
    with refused(OptionError, "the name of what lists shards"):
        hr.pack(data, tmp_path / "manifest.json")


def stopped(data, path, **options):
    """Packs until the map function has seen most rows, in any order; gives the shards left."""
    seen = 0

    def fn(x, y):
        nonlocal seen
        seen += len(y)
        if seen > 900:
            raise RuntimeError("stopped")
        return x, y

    with pytest.raises(RuntimeError, match="stopped"):
        hr.pack(data.map(fn), path, shard_size=SIZE, workers=1, version="1", **options)
    folder = path.resolve().parent / f".{path.resolve().name}.headrace"
    return sorted(folder.rglob("shard-*"))


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_shards_that_were_lost_are_made_again(data, tmp_path, damage):
    """As a power failure may lose them."""
    whole = data.map(lambda x, y: (x, y))
    hr.pack(whole, tmp_path / "whole", shard_size=SIZE)
    lost = stopped(data, tmp_path / "out")[2]
    if damage == "gone":
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes()[:1000])
    hr.pack(whole, tmp_path / "out", shard_size=SIZE, resume=True, version="1")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("note", ["", "{}", "[1, 2]", '[{}, [{"file": "a"}]]'])
def test_a_damaged_note_is_not_gone_on_with(data, tmp_path, note):
    """It is named."""
    stopped(data, tmp_path / "out")
    (tmp_path / ".out.headrace" / "progress.json").write_text(note)
    with refused(StateError, "progress.json is damaged", "without resume"):
        hr.pack(data, tmp_path / "out", shard_size=SIZE, resume=True)


def test_a_link_is_gone_on_with(data, tmp_path):
    """With the seed that was drawn."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "out")
    assert stopped(data, tmp_path / "link", shuffle=True)
    whole = data.map(lambda x, y: (x, y))
    hr.pack(whole, tmp_path / "link", shard_size=SIZE, shuffle=True, resume=True, version="1")
    assert hr.verify(tmp_path / "there" / "out").ok


@pytest.mark.parametrize(
    "change, error, part",
    [
        (lambda d: d.update(version=2), FileFormatError, "Update Headrace"),
        (lambda d: d.update(format="other"), FileFormatError, "no manifest"),
        (lambda d: d.update(rows=5), FileFormatError, "5 rows"),
        (lambda d: d.pop("fields"), FileFormatError, "fields"),
        (lambda d: d["shards"][0].update(file="../in.h5"), FileFormatError, "../in.h5"),
        (lambda d: d["shards"][0].update(file=".."), FileFormatError, ".."),
        (lambda d: d["shards"][0].update(file="other.h5"), MissingFileError, "other.h5"),
        (lambda d: d["shards"][0].update(bytes=5), FileFormatError, "says 5"),
        (lambda d: d["fields"][0].update(dtype="nonsense"), FileFormatError, "nonsense"),
    ],
)
def test_a_manifest_that_is_not_right_is_refused(data, tmp_path, change, error, part):
    """And the reason is named."""
    hr.pack(data, tmp_path / "out", shard_size=SIZE)
    manifest = tmp_path / "out" / "manifest.json"
    document = json.loads(manifest.read_text())
    change(document)
    manifest.write_text(json.dumps(document))
    with refused(error, part):
        hr.open(tmp_path / "out")


def test_a_manifest_that_is_no_json_is_refused(data, tmp_path):
    """Cut short, say."""
    hr.pack(data, tmp_path / "out", shard_size=SIZE)
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    with refused(FileFormatError, "not JSON"):
        hr.open(tmp_path / "out")
