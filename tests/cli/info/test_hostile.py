"""`headrace info` on files that are made to exhaust it: bounded in time and in what it prints."""

import json
import subprocess
import sys
import time
import zlib

import h5py
import numpy as np
import pytest
from h5py import h5d, h5g, h5o, h5s, h5t

from headrace.cli import main
from headrace.sources.hdf5.survey import MOST_IN_A_GROUP, MOST_LEVELS, MOST_OBJECTS, survey
from tests.files import images, mutate, write

SECONDS = 10
"""Far more than any of these takes; a machine that runs tests may be slow."""


@pytest.fixture
def look(headrace):
    """Runs `headrace info` both ways, within bounds; gives the document and the text."""

    def run(path, *arguments):
        began = time.monotonic()
        code, out, _ = headrace("info", path, "--json", *arguments)
        assert code == 0
        document = json.loads(out)
        code, text, _ = headrace("info", path, *arguments)
        assert code == 0
        assert time.monotonic() - began < 2 * SECONDS
        assert len(text) < 50_000 + 200 * len(document["objects"])
        return document, text

    return run


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_group_of_very_many_links_shows_the_first(look, path, libver):
    """And how many more there are."""
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("many")
        file["row"] = np.arange(5)
        for i in range(60_000):
            h5o.link(file["row"].id, group.id, b"%06d" % i)
    document, text = look(path)
    many = next(item for item in document["objects"] if item["name"] == "many")
    assert (many["objects"], many["listed"]) == (60_000, MOST_IN_A_GROUP)
    assert not document["complete"]
    assert f"and {60_000 - MOST_IN_A_GROUP:,} more" in text
    assert document["next"]["x"] == "row"


def test_very_many_datasets_are_cut_off_fairly(look, path):
    """Those near the root come first, and a large group does not hide the others."""
    with h5py.File(path, "w") as file:
        for i in range(20):
            for j in range(60):
                file[f"{i:02}/{j:03}"] = np.arange(3)
        file["zz"] = np.arange(3)
    document, _ = look(path)
    names = {item["name"] for item in document["objects"]}
    assert len(names) == MOST_OBJECTS + 1
    assert "zz" in names
    assert sum(name.startswith("02/") for name in names) == MOST_IN_A_GROUP
    document, _ = look(path, "--limit", "5000")
    assert document["complete"]
    assert document["datasets"] == 1201


def test_very_deep_groups_are_cut_off(look, path):
    with h5py.File(path, "w") as file:
        group = file.id
        for _ in range(10_000):
            group = h5g.create(group, b"g")
        file["label"] = np.arange(5)
    document, text = look(path)
    assert len(document["objects"]) == MOST_LEVELS + 2
    assert "1 object, not listed" in text


def test_groups_in_circles_end(look, path):
    with h5py.File(path, "w") as file:
        file["a/b/c/label"] = np.arange(5)
        file["a/b/c/up"] = file["a"]
        file["a/root"] = file["/"]
        file["soft"] = h5py.SoftLink("/a/b/c/up/b")
    document, _ = look(path)
    assert document["groups"] == 3
    assert document["datasets"] == 1


def test_a_chain_of_links_ends(look, path):
    with h5py.File(path, "w") as file:
        for i in range(2000):
            file[f"link {i}"] = h5py.SoftLink(f"/link {i + 1}")
    document, text = look(path, "--limit", "300")
    assert document["objects"][0]["objects"] == 2000
    assert "leads in a circle" in text


@pytest.mark.parametrize("chunks", [None, (1 << 40,), (1 << 20,)])
def test_monstrous_shapes_cost_nothing(look, path, chunks):
    """A small file may declare any size."""
    with h5py.File(path, "w") as file:
        try:
            file.create_dataset("data", (1 << 60,), "u1", chunks=chunks, fillvalue=1)
        except ValueError:
            pytest.skip("this libhdf5 writes no chunk of that size")
        file.create_dataset("label", (1 << 60,), "u1", chunks=chunks)
    document, text = look(path, "--memory", "10MB")
    assert document["objects"][1]["decoded_bytes"] == 1 << 60
    assert "TB" in text


def test_monstrous_ranks_and_sizes_stay_on_their_line(look, path):
    with h5py.File(path, "w") as file:
        kind = h5t.create(h5t.OPAQUE, 60_000)
        kind.set_tag(b"x" * 200)
        h5d.create(file.id, b"data", kind, h5s.create_simple((2,) * 32))
    _, text = look(path)
    assert all(len(line) <= 100 for line in text.splitlines())


def test_a_chunk_that_decodes_to_a_gigabyte_is_not_decoded(path):
    """Though it takes a few megabytes in the file."""
    shape = (1, 1 << 30)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(1 << 6)) + packer.flush()
    with h5py.File(path, "w") as file:
        made = file.create_dataset("data", shape, "u1", chunks=shape, compression="gzip")
        made.id.write_direct_chunk((0, 0), packed)
    code = (
        "from headrace.cli import main; from headrace.resources import peak_rss; "
        f"assert main(['info', {str(path)!r}, '--memory', '100MB']) == 0; print(peak_rss())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "decoded by libhdf5" in done.stdout
    assert int(done.stdout.split()[-1]) < 500_000_000


def test_attributes_are_bounded(look, path):
    with h5py.File(path, "w", libver="latest") as file:
        file["label"] = np.arange(5)
        for i in range(5000):
            file["label"].attrs[f"a{i}"] = "x" * 5000
        file.attrs["large"] = np.zeros(2_000_000)
    document, text = look(path)
    assert len(document["objects"][1]["attributes"]) <= 4
    assert len(text) < 5000


def test_large_indexes_take_seconds(look, path):
    """A hundred thousand chunks in each of several datasets."""
    with h5py.File(path, "w") as file:
        for name in "abc":
            made = file.create_dataset(name, (100_000, 8), "u1", chunks=(1, 8), compression="gzip")
            raw = zlib.compress(bytes(8))
            for i in range(100_000):
                made.id.write_direct_chunk((i, 0), raw)
    document, _ = look(path)
    assert all(item["path"] == "direct chunks" for item in document["objects"][1:])


def test_after_very_many_chunks_no_more_indexes_are_read(look, path, monkeypatch):
    """What is known without them is shown all the same."""
    monkeypatch.setattr("headrace.sources.hdf5.survey.MOST_CHUNKS", 10)
    storage = {"data": images(100), "chunks": (2, 4, 4, 3), "compression": "gzip"}
    write(path, a=storage, b=storage)
    document, text = look(path)
    first, second = document["objects"][1:]
    assert first["path"] == "direct chunks"
    assert second["path"] is None
    assert second["chunks"] == 50
    assert "not tried: the datasets before it have very many chunks" in text


MUTATIONS = 150


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_random_damage_is_shown_or_refused(path, capsys, libver):
    """With exit code 0 or 2, in printable text, never with an error of another kind."""
    with h5py.File(path, "w", libver=libver) as file:
        file["contiguous"] = images(20)
        file.create_dataset("gzip", data=images(20), chunks=(4, 3, 4, 3), compression="gzip")
        file["g/label"] = np.arange(2000) // 100
        file["g/label"].attrs["class_names"] = ["cat", "dog"]
        file["text"] = ["a", "b"]
        file["soft"] = h5py.SoftLink("/g/label")
        file["other"] = h5py.ExternalLink("x.h5", "/x")
        file["hard"] = file["gzip"]
    content = path.read_bytes()
    codes = []
    for seed in range(MUTATIONS):
        mutate(path, content, seed)
        capsys.readouterr()
        codes.append(main(["info", str(path), "--memory", "100MB"]))
        out, err = capsys.readouterr()
        assert "--debug" not in err
        assert all(line.isprintable() for line in out.split("\n"))
    assert set(codes) == {0, 2}


def test_surveys_hold_no_file_open(path):
    write(path, image=images())
    found = survey(path)
    assert [item.name for item in found.datasets()] == ["image"]
    with h5py.File(path, "r+"):
        pass
