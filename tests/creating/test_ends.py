"""How writing ends: well, with an error, forgotten, in another process; and how it goes on."""

import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import headrace as hr
from headrace.creating import store as store_module
from headrace.errors import (
    DataError,
    LockedFileError,
    OptionError,
    StateError,
    WriteError,
)
from headrace.staging import WRITTEN, staging_folder
from tests.bad_input.refusal import refused
from tests.creating.helpers import FIELDS, check_file, names_in, samples


def fail(path, rows, length=None, **options):
    """Writes some rows, and fails."""
    with hr.create(path, FIELDS, length, **options) as writer:
        if rows:
            writer.write(samples(0, rows))
        raise KeyError("mine")


def stop(path, rows=20, length=None, **options):
    """Leaves some rows behind."""
    with pytest.raises(KeyError):
        fail(path, rows, length, **options)


def test_after_an_exception_what_was_written_is_kept(tmp_path):
    """The error is not masked, and says how to go on."""
    image, label = samples(0, 30)
    with pytest.raises(KeyError, match="mine") as caught:
        fail(tmp_path / "a.h5", 20)
    (note,) = caught.value.__notes__
    assert "up to row 20, is kept: create(..., resume=True)" in note
    assert not (tmp_path / "a.h5").exists()
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert len(writer) == 20
        writer.write((image[20:], label[20:]))
    check_file(tmp_path / "a.h5", {"image": image, "label": label})
    assert names_in(tmp_path) == ["a.h5"]


def test_an_exception_before_the_first_row_leaves_nothing(tmp_path):
    """Nothing is kept, and nothing is said."""
    with pytest.raises(KeyError) as caught:
        fail(tmp_path / "a.h5", 0)
    assert not hasattr(caught.value, "__notes__")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("length", [None, 30])
def test_rows_that_are_missing_at_the_end_can_be_written_later(tmp_path, length):
    """A with statement that ends too early loses nothing."""
    image, label = samples(0, 30)

    def write_some():
        with hr.create(tmp_path / "a.h5", FIELDS, length) as writer:
            writer["image"][0:30] = image
            writer["label"][0:20] = label[:20]

    with pytest.raises(DataError, match="lacks 10 of 30 rows, from row 20") as caught:
        write_some()
    assert "up to row 30, is kept" in caught.value.__notes__[0]
    with hr.create(tmp_path / "a.h5", FIELDS, length, resume=True) as writer:
        assert list(writer["image"].missing()) == []
        (gap,) = writer["label"].missing()
        writer["label"][gap.start : gap.stop] = label[gap.start : gap.stop]
    check_file(tmp_path / "a.h5", {"image": image, "label": label})


def test_what_was_left_is_not_destroyed_without_a_word(tmp_path):
    """By `create`, or by `pack`; overwriting discards it."""
    data = hr.from_arrays(np.arange(10))
    stop(tmp_path / "a.h5")
    for make in (
        lambda: hr.create(tmp_path / "a.h5", FIELDS),
        lambda: hr.pack(data, tmp_path / "a.h5"),
    ):
        with refused(OptionError, "still there", "resume=True", "overwrite=True"):
            make()
    with hr.create(tmp_path / "a.h5", FIELDS, overwrite=True) as writer:
        assert len(writer) == 0
        writer.write(samples(5, 3))
    image, label = samples(5, 3)
    check_file(tmp_path / "a.h5", {"image": image, "label": label})


def test_what_cannot_be_gone_on_with_is_removed(tmp_path):
    """As of a process that was killed before it had flushed anything."""
    left = staging_folder(tmp_path / "a.h5")
    left.mkdir()
    (left / "9.raw").write_text("left")
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert "9.raw" not in names_in(left)
        writer.write(samples(0, 3))


def test_to_go_on_with_nothing_is_to_begin(tmp_path):
    """So that a script can always say so."""
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert len(writer) == 0
        writer.write(samples(0, 3))
    with refused(OptionError, "is there already"):
        hr.create(tmp_path / "a.h5", FIELDS, resume=True)
    stop(tmp_path / "a.h5", overwrite=True)
    with hr.create(tmp_path / "a.h5", FIELDS, overwrite=True, resume=True) as writer:
        assert len(writer) == 20
    assert len(hr.from_hdf5(tmp_path / "a.h5", "image")) == 20


@pytest.mark.parametrize(
    "options, what",
    [
        ({"fields": {"image": FIELDS["image"]}}, "fields"),
        ({"fields": {**FIELDS, "label": "float64"}}, "fields"),
        ({"length": 100}, "length"),
        ({"x": "image"}, "x"),
    ],
)
def test_to_go_on_takes_the_same_file(tmp_path, options, what):
    """Or says what differs; what was left stays."""
    stop(tmp_path / "a.h5")
    arguments = {"fields": FIELDS, **options}
    with refused(StateError, "cannot be resumed", f"other {what}. Create it as before"):
        hr.create(tmp_path / "a.h5", **arguments, resume=True)
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert len(writer) == 20


@pytest.mark.parametrize("length", [None, 5000])
def test_what_was_left_is_there_or_it_is_said(tmp_path, length):
    """Files that are too short hold no rows."""
    stop(tmp_path / "a.h5", 5000, length)
    left = staging_folder(tmp_path / "a.h5")
    file = left / ("1.raw" if length is None else "new.h5")
    os.truncate(file, file.stat().st_size - 1)
    why = "5000 rows of 'label' were noted" if length is None else "truncated file"
    with refused(StateError, "damaged", why, "overwrite=True"):
        hr.create(tmp_path / "a.h5", FIELDS, length, resume=True)


@pytest.mark.parametrize("rows", [50, 5000])
@pytest.mark.parametrize("moment", ["finished", "published"])
def test_a_kill_in_the_midst_of_the_end_loses_nothing(tmp_path, monkeypatch, rows, moment):
    """Before the file is in its place it is made again; after that it is there."""
    image, label = samples(0, rows)

    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    writer = hr.create(tmp_path / "a.h5", FIELDS)
    writer.write((image, label))
    if moment == "finished":
        monkeypatch.setattr(writer._store.staging, "publish", killed)
    else:
        monkeypatch.setattr(writer._store.staging, "remove", killed)
    with pytest.raises(Killed):
        writer.close()
    assert (staging_folder(tmp_path / "a.h5") / WRITTEN).exists()
    assert (tmp_path / "a.h5").exists() == (moment == "published")
    if moment == "finished":
        with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
            assert len(writer) == rows
    check_file(tmp_path / "a.h5", {"image": image, "label": label})
    # And what is left behind is no file that could be resumed.
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True, overwrite=True) as writer:
        assert len(writer) == 0
        writer.write((image, label))
    assert names_in(tmp_path) == ["a.h5"]


def test_a_writer_that_nobody_closed_is_reported(tmp_path):
    """And what it wrote is kept, and free to go on with."""
    writer = hr.create(tmp_path / "a.h5", FIELDS)
    writer.write(samples(0, 20))
    holder = [writer]
    del writer
    with pytest.warns(ResourceWarning, match=r"a.h5 was not closed, and no file was made"):
        holder.clear()
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert len(writer) == 20


def test_a_column_keeps_its_writer(tmp_path):
    """Which may be the only thing that refers to it."""
    column = hr.create(tmp_path / "a.h5", {"x": "int64"})["x"]
    gc.collect()
    column[0:3] = [1, 2, 3]
    column._writer.close()
    check_file(tmp_path / "a.h5", {"x": np.array([1, 2, 3])})


def test_a_writer_may_be_collected_in_the_thread_that_flushes(tmp_path, monkeypatch):
    """Which then ends, and lets go of the file, when it is through."""
    writer = hr.create(tmp_path / "a.h5", FIELDS)
    writer.write(samples(0, 20))
    store, ended = writer._store, threading.Event()
    release = store._release
    monkeypatch.setattr(store, "_release", lambda: (release(), ended.set()))
    sync = store._files.sync

    def collect_and_sync():
        monkeypatch.setattr(store._files, "sync", sync)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            holder.clear()
        sync()

    monkeypatch.setattr(store._files, "sync", collect_and_sync)
    holder = [writer]
    del writer
    store._flusher.note(1 << 26)
    assert ended.wait(60)
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert len(writer) == 20


FORGETS = """
import sys
import numpy as np
import headrace as hr
writer = hr.create(sys.argv[1], {"x": "int64"})
writer.write(np.arange(1000))
"""


def test_a_script_that_forgets_to_close_keeps_its_rows(tmp_path):
    """At its end they are flushed."""
    command = [sys.executable, "-W", "always", "-c", FORGETS, str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "was not closed" in done.stderr
    with hr.create(tmp_path / "a.h5", {"x": "int64"}, resume=True) as writer:
        assert len(writer) == 1000
    check_file(tmp_path / "a.h5", {"x": np.arange(1000)})


def test_a_closed_writer_is_closed(tmp_path):
    """Closing it again does nothing, and nothing else is possible."""
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        writer.write(samples(0, 3))
        writer.close()
        writer.close()
        for use in (
            lambda: writer.write(samples(0, 3)),
            lambda: writer["label"].__setitem__(0, 1),
            writer.flush,
        ):
            with refused(OptionError, "was closed"):
                use()
    assert len(hr.from_hdf5(tmp_path / "a.h5", "image")) == 3


def test_a_file_has_one_writer(tmp_path):
    """Another one is told, in this process or in another."""
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with refused(LockedFileError, "is being written at this moment", "not closed"):
                hr.create(tmp_path / "a.h5", FIELDS, **options)
        writer.write(samples(0, 3))
    assert len(hr.from_hdf5(tmp_path / "a.h5", "image")) == 3


def test_writers_are_not_sent_to_other_processes(tmp_path):
    """By a pickle."""
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        for item in (writer, writer["label"]):
            with refused(OptionError, "cannot be pickled", "Use threads"):
                pickle.dumps(item)
        writer.write(samples(0, 3))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_writers_are_not_sent_to_other_processes_by_a_fork(tmp_path):
    """The child is refused, and harms nothing; the parent goes on."""
    image, label = samples(0, 20)
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        writer.write((image[:10], label[:10]))
        child = os.fork()
        if not child:
            refusals = 0
            for use in (lambda: writer.write((image, label)), writer.flush, writer.close):
                try:
                    use()
                except OptionError as error:
                    refusals += "was created in another process" in str(error)
            writer._finalizer()
            os._exit(refusals)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        writer.write((image[10:], label[10:]))
    check_file(tmp_path / "a.h5", {"image": image, "label": label})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_forked_child_does_not_keep_a_file_locked(tmp_path):
    """Which was closed by its parent, while the child lives on."""
    writer = hr.create(tmp_path / "a.h5", FIELDS)
    writer.write(samples(0, 3))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    writer._store.abandon()
    writer._finalizer.detach()
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert len(writer) == 3
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0


def noted_rows(path):
    """How many rows of a file that is being written somebody who goes on would find."""
    note = staging_folder(path) / WRITTEN
    if not note.exists():
        return 0
    rows = json.loads(note.read_text())["rows"].values()
    return min(store_module.RowSet.from_json(some).stop for some in rows)


def test_rows_are_flushed_when_asked_and_by_themselves(tmp_path, monkeypatch):
    """At once, after a while, and after many bytes."""
    monkeypatch.setattr(store_module, "SECONDS", 0.01)
    path, flushed = tmp_path / "a.h5", threading.Condition()
    replace = store_module.replace_text

    def replace_and_tell(*arguments):
        with flushed:
            replace(*arguments)
            flushed.notify_all()

    with hr.create(path, FIELDS) as writer:
        writer.write(samples(0, 3))
        writer.flush()
        assert noted_rows(path) == 3
        monkeypatch.setattr(store_module, "replace_text", replace_and_tell)
        with flushed:
            writer.write(samples(3, 4))
            assert flushed.wait_for(lambda: noted_rows(path) == 7, 60)


def test_what_fails_in_the_background_is_said(tmp_path, monkeypatch):
    """By the next call; nothing is noted after that, and nothing published."""
    writer = hr.create(tmp_path / "a.h5", FIELDS)
    writer.write(samples(0, 3))
    writer.flush()

    def fail():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer._store._files, "sync", fail)
    writer.write(samples(3, 4))
    with refused(WriteError, "Input/output error", "a.h5"):
        writer.flush()
    monkeypatch.undo()
    with refused(WriteError, "Input/output error"):
        writer.flush()
    with refused(WriteError, "Input/output error"):
        writer.close()
    with hr.create(tmp_path / "a.h5", FIELDS, resume=True) as writer:
        assert len(writer) == 3
