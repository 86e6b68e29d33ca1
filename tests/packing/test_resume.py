"""A pack is resumed only where what is left is made as what is there was."""

import os
import threading

import numpy as np
import pytest

import headrace as hr
from headrace.cli.function import load_function
from headrace.errors import OptionError, StateError
from headrace.packing import targets as output
from tests.bad_input.refusal import refused
from tests.files import write

N = 1000
SIZE = 8 * 100


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "in.h5", x=np.arange(float(N)))


def stop(monkeypatch, data, target, **options):
    """Packs two shards and is interrupted."""
    note = output.FolderTarget._note

    def interrupted(folder):
        note(folder)
        if len(folder._shards) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(output.FolderTarget, "_note", interrupted)
        with pytest.raises(KeyboardInterrupt):
            hr.pack(data, target, shard_size=SIZE, **options)
    assert list((target.parent / f".{target.name}.headrace" / "new").glob("shard-*"))


def resume(data, target, **options):
    return hr.pack(data, target, shard_size=SIZE, resume=True, **options)[:][0]


def test_a_map_function_that_was_edited_is_not_taken_for_the_old_one(monkeypatch, path, tmp_path):
    """Though it has the same name; the old one is."""

    def prepare(x):
        return x * 2

    data = hr.from_hdf5(path, x="x")
    stop(monkeypatch, data.map(prepare), tmp_path / "out")
    old = prepare

    def prepare(x):
        return x * 3

    with refused(StateError, "other map functions", "without resume"):
        resume(data.map(prepare), tmp_path / "out")
    assert np.array_equal(resume(data.map(old), tmp_path / "out"), np.arange(N) * 2)


def test_a_function_in_a_file_is_compared_as_well(monkeypatch, path, tmp_path):
    """As `--map file.py:function` names one."""
    file = tmp_path / "own.py"
    data = hr.from_hdf5(path, x="x")

    def mapped(text):
        file.write_text(text)
        return data.map(load_function(f"{file}:fn"))

    stop(monkeypatch, mapped("FACTOR = 2\ndef fn(x): return x * FACTOR"), tmp_path / "out")
    with refused(StateError, "other map functions"):
        resume(mapped("FACTOR = 3\ndef fn(x): return x * FACTOR"), tmp_path / "out")
    same = mapped("# as before\nFACTOR = 2\ndef fn(x): return x * FACTOR")
    assert np.array_equal(resume(same, tmp_path / "out"), np.arange(N) * 2)


def test_functions_that_cannot_be_compared_need_a_version(monkeypatch, path, tmp_path):
    """Which is compared in their place."""

    def mapped(factor):
        lock = threading.Lock()

        def fn(x):
            with lock:
                return x * factor

        return hr.from_hdf5(path, x="x").map(fn)

    stop(monkeypatch, mapped(2), tmp_path / "out")
    with refused(StateError, "'fn'", "a lock", "version= (--map-version)"):
        resume(mapped(2), tmp_path / "out")
    stop(monkeypatch, mapped(2), tmp_path / "out", version="two")
    for options in ({"version": "three"}, {}):
        with refused(StateError, "map function"):
            resume(mapped(3), tmp_path / "out", **options)
    assert np.array_equal(resume(mapped(2), tmp_path / "out", version="two"), np.arange(N) * 2)
    with refused(OptionError, "version", "2"):
        resume(mapped(2), tmp_path / "out", version=2)


def test_a_filter_that_was_edited_is_not_taken_for_the_old_one(monkeypatch, path, tmp_path):
    """The rows that it keeps count, however many they are."""
    data = hr.from_hdf5(path, x="x")
    stop(monkeypatch, data.filter(lambda x: x % 2 == 0), tmp_path / "out")
    with refused(StateError, "other data"):
        resume(data.filter(lambda x: x % 2 == 1), tmp_path / "out")
    rows = resume(data.filter(lambda x: (x + 2) % 2 == 0), tmp_path / "out")
    assert np.array_equal(rows, np.arange(0, N, 2))


@pytest.mark.parametrize("kind", ["hdf5", "npy"])
def test_a_file_that_was_written_to_meanwhile_is_noticed(monkeypatch, path, tmp_path, kind):
    """Though most values are the same, and so is the size."""
    values = np.arange(float(N))
    file = path if kind == "hdf5" else tmp_path / "in.npy"
    np.save(tmp_path / "in.npy", values)

    def data():
        return hr.from_hdf5(file, x="x") if kind == "hdf5" else hr.from_arrays(file)

    stop(monkeypatch, data(), tmp_path / "out")
    with file.open("r+b") as opened:
        place = file.read_bytes().index(np.float64(523).tobytes())
        opened.seek(place)
        opened.write(np.float64(-1).tobytes())
    # Both may fall into one step of the clock.
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    with refused(StateError, "other data"):
        resume(data(), tmp_path / "out")
