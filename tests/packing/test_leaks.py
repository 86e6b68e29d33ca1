"""A pack that fails, is refused or is interrupted leaves no thread, no open file and no folder."""

import errno
import os
import threading

import numpy as np
import pytest

import headrace as hr
from headrace.errors import DiskFullError, MemoryBudgetError, WriteError
from headrace.packing import shuffling
from headrace.packing.run import Scratch
from tests.bad_input.refusal import refused
from tests.files import gzip, images, write
from tests.leaks import interrupted_at, open_files, threads_left

N = 3000
IMAGES = images(N, (10, 10, 3))
KINDS = {
    "file": {},
    "gzip": {"compression": "gzip", "level": 1},
    "shards": {"shard_size": "300kB"},
    "two passes": {"shard_size": "300kB", "shuffle": True, "seed": 1, "memory": "1MB"},
}


@pytest.fixture
def data(tmp_path):
    """A gzip file of images, which a small memory cannot read in random order."""
    path = write(tmp_path / "in.h5", x=gzip(IMAGES, 100))
    return hr.from_hdf5(path, x="x")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_at_any_moment_leaves_no_thread_and_no_open_file(data, tmp_path, kind):
    """And the next pack begins as if there had been none.

    At one call in so many of those that write, the first ones among them.
    """
    hr.pack(data, tmp_path / "out", **KINDS[kind])
    before = threading.enumerate()
    step, interrupts = 1, 0
    while True:
        with interrupted_at(step) as where:
            hr.pack(data, tmp_path / "out", overwrite=True, **KINDS[kind])
        if not where:
            break
        assert threads_left(before) == [], where
        assert open_files(tmp_path / ".out.headrace") == [], where
        step += 1 + step // 7
        interrupts += 1
    assert interrupts > 20
    assert hr.verify(tmp_path / "out").ok
    assert names(tmp_path) == ["in.h5", "out"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pack_without_threads_leaves_nothing(data, tmp_path, monkeypatch, kind):
    """As where the system has no more of them."""
    start = threading.Thread.start

    def fail(thread):
        if thread.name.startswith("headrace-flush"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        hr.pack(data, tmp_path / "out", **KINDS[kind])
    assert threads_left() == []
    assert open_files(tmp_path / ".out.headrace") == []
    assert names(tmp_path) == ["in.h5"]


def test_a_refusal_leaves_no_hidden_folder(tmp_path):
    """Of shards as well, before any of them is there."""
    path = write(tmp_path / "in.h5", x=gzip(np.zeros((20_000, 300), "u1"), 100))
    data = hr.from_hdf5(path, x="x")
    options = {"shard_size": "1MB", "memory": "1MB", "shuffle": True, "seed": 1}
    for resume in (False, True):
        with refused(MemoryBudgetError, "The least that works"):
            hr.pack(data, tmp_path / "out", resume=resume, **options)
        assert names(tmp_path) == ["in.h5"]
    huge = hr.from_arrays(np.broadcast_to(np.zeros(1000, "u1"), (10**12, 1000)))
    with refused(DiskFullError, "left"):
        hr.pack(huge, tmp_path / "out", shard_size="1GB")
    assert names(tmp_path) == ["in.h5"]


def test_an_error_before_the_first_shard_leaves_no_hidden_folder(tmp_path):
    """And one behind it does: those that are there are made once."""

    def fail(x):
        if x[0, 0, 0, 0] == 255:
            raise ValueError("no good")
        return x

    for row, left in ((1, ["bad.npy"]), (2900, [".out.headrace", "bad.npy"])):
        bad = IMAGES.copy()
        bad[row // 1000 * 1000 :] = 255
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises(ValueError, match="no good"):
            hr.pack(
                hr.from_arrays(tmp_path / "bad.npy").map(fail), tmp_path / "out", shard_size="60kB"
            )
        assert names(tmp_path) == left


@pytest.mark.parametrize("what", ["mkdir", "thread", "write"])
def test_a_failure_of_scratch_files_names_what_is_packed(data, tmp_path, monkeypatch, what):
    """Whatever the system refuses on the way to a random order."""

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if what == "mkdir":
        monkeypatch.setattr(Scratch, "_stretch_offsets", fail)
    elif what == "thread":
        monkeypatch.setattr(shuffling, "FileFlusher", fail)
    else:
        monkeypatch.setattr(shuffling, "write_at", fail)
    with refused(WriteError, "Input/output error", str(tmp_path / "out")):
        hr.pack(data, tmp_path / "out", **KINDS["two passes"])
    assert threads_left() == []
    assert names(tmp_path) == ["in.h5"]
