"""A writer that fails or is interrupted leaves no thread and no open file."""

import gc
import os
import resource
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import OptionError, StateError, WriteError
from headrace.staging import Staging, staging_folder
from tests.bad_input.refusal import refused
from tests.creating.helpers import FIELDS, check_file, names_in, samples
from tests.leaks import interrupted_at, open_files, threads_left

MANY = {f"f{number}": "f4" for number in range(60)}


def test_too_many_open_files_are_said_and_closed_again(tmp_path):
    """Half-way through those that a file of many fields takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, hard))
    try:
        with refused(WriteError, "Too many open files", "a.h5"):
            hr.create(tmp_path / "a.h5", MANY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_files(tmp_path) == []
    assert threads_left() == []
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("length", [None, 9], ids=["growing", "fixed"])
def test_a_damaged_leftover_is_not_held_open(tmp_path, length):
    """And stays, for whoever can make something of it."""
    with suppress(RuntimeError), hr.create(tmp_path / "a.h5", FIELDS, length) as writer:
        writer.write(samples(0, 9))
        writer.flush()
        raise RuntimeError
    left = staging_folder(tmp_path / "a.h5")
    os.truncate(left / ("0.raw" if length is None else "new.h5"), 10)
    for _ in range(3):
        with refused(StateError, "damaged"):
            hr.create(tmp_path / "a.h5", FIELDS, length, resume=True)
    assert open_files(tmp_path) == []
    assert left.exists()


@pytest.mark.parametrize("length", [None, 9], ids=["growing", "fixed"])
def test_a_writer_without_a_thread_leaves_nothing(tmp_path, monkeypatch, length):
    """As where the system has no more of them."""

    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        hr.create(tmp_path / "a.h5", FIELDS, length)
    assert open_files(tmp_path) == []
    assert names_in(tmp_path) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("length", [None, 30], ids=["growing", "fixed"])
def test_an_interrupt_at_any_moment_leaves_no_thread_and_no_open_file(tmp_path, length):
    """At one call in so many of those that write; another writer begins as if there were none."""
    path = tmp_path / "a.h5"
    image, label = samples(0, 30)
    before = threading.enumerate()
    step = 1
    while True:
        with (
            interrupted_at(step) as where,
            hr.create(path, FIELDS, length, overwrite=True) as writer,
        ):
            writer.write((image[:10], label[:10]))
            writer.flush()
            writer.write((image[10:], label[10:]))
        writer = None
        if not where:
            break
        assert threads_left(before) == [], where
        assert open_files(tmp_path) == [], where
        step += 1 + step // 5
    assert step > 200
    check_file(path, {"image": image, "label": label})
    assert names_in(tmp_path) == ["a.h5"]


def test_an_interrupt_after_the_file_is_in_place_does_not_say_otherwise(tmp_path, monkeypatch):
    """Nor is there anything to resume."""

    def interrupt(staging):
        raise KeyboardInterrupt

    writer = hr.create(tmp_path / "a.h5", FIELDS)
    writer.write(samples(0, 9))
    writer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "remove", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            writer.close()
    assert not getattr(caught.value, "__notes__", [])
    assert len(hr.from_hdf5(tmp_path / "a.h5", x="label")) == 9
    with refused(OptionError, "is there already"):
        hr.create(tmp_path / "a.h5", FIELDS, resume=True)
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True, overwrite=True) as writer:
        assert len(writer) == 0
        writer.write(samples(0, 2))
    assert names_in(tmp_path) == ["a.h5"]
