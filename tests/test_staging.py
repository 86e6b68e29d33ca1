"""Files that appear whole or not at all."""

import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace import staging
from headrace.errors import (
    DiskFullError,
    LockedFileError,
    MissingFileError,
    OptionError,
    WriteError,
)
from headrace.staging import Staging, check_room, staging_folder, write_errors
from tests.bad_input.refusal import refused


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(target, text, **options):
    """A file, by way of staging."""
    with Staging(target, **options) as made:
        made.path.write_text(text)
        made.publish()


def make_folder(target, inputs=(), **files):
    """A folder of files, by way of staging."""
    with Staging(target, inputs=inputs) as made:
        made.path.mkdir()
        for name, text in files.items():
            (made.path / name).write_text(text)
        made.publish()


def test_the_old_file_is_there_until_the_new_one_is(tmp_path):
    """And nothing else afterwards."""
    make(tmp_path / "a", "old")
    with Staging(tmp_path / "a") as made:
        made.path.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
        made.publish()
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_a_failure_leaves_the_old_file_alone(tmp_path):
    """What was made is removed, unless it is kept on purpose."""
    make(tmp_path / "a", "old")
    for keep in (False, True):
        with suppress(RuntimeError), Staging(tmp_path / "a") as made:
            made.keep = keep
            made.path.write_text("half")
            raise RuntimeError
        assert (tmp_path / "a").read_text() == "old"
        assert staging_folder(tmp_path / "a").exists() == keep
    with Staging(tmp_path / "a", resume=True) as made:
        assert made.path.read_text() == "half"


def test_what_was_left_is_removed(tmp_path):
    """By the next that makes the same."""
    left = staging_folder(tmp_path / "a")
    (left / "folder").mkdir(parents=True)
    (left / "folder" / "x").write_text("left")
    with Staging(tmp_path / "a") as made:
        assert names(made.folder) == ["lock"]
    assert names(tmp_path) == []


@pytest.mark.parametrize("exchanges", [True, False])
def test_folders_are_swapped(tmp_path, monkeypatch, exchanges):
    """Also where the system cannot do that in one step."""
    if not exchanges:
        monkeypatch.setattr(staging, "_swapped", lambda first, second: False)
    make_folder(tmp_path / "a", old="1")
    make_folder(tmp_path / "a", new="2")
    assert names(tmp_path / "a") == ["new"]
    assert names(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_a_file(tmp_path):
    """As was asked for."""
    make(tmp_path / "a", "file")
    make_folder(tmp_path / "a", new="2")
    assert names(tmp_path / "a") == ["new"]


def test_a_file_never_takes_the_place_of_a_folder(tmp_path):
    """It may have come, with whatever is in it, while the file was made."""
    with refused(OptionError, "is a folder by now"), Staging(tmp_path / "a") as made:
        made.path.write_text("new")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "thesis.txt").write_text("years")
        made.publish()
    assert (tmp_path / "a" / "thesis.txt").read_text() == "years"


def test_a_device_is_not_replaced(tmp_path):
    """Nor a pipe."""
    os.mkfifo(tmp_path / "a")
    with refused(OptionError, "a device, a pipe or a socket"):
        make(tmp_path / "a", "new")
    assert (tmp_path / "a").is_fifo()


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard"])
def test_an_input_is_not_replaced(tmp_path, link):
    """By whatever name it is called."""
    (tmp_path / "in").write_text("old")
    target = tmp_path / ("in" if link == "itself" else "link")
    if link == "symbolic":
        target.symlink_to("in")
    elif link == "hard":
        target.hardlink_to(tmp_path / "in")
    with refused(OptionError, "is a file that is read", "another name"):
        make(target, "new", inputs=[str(tmp_path / "in")])
    assert (tmp_path / "in").read_text() == "old"
    make(tmp_path / "other", "new", inputs=[str(tmp_path / "in"), str(tmp_path / "missing")])


def test_a_folder_that_holds_an_input_is_not_replaced(tmp_path):
    """Nor what is left in the hidden folder removed, where it is read."""
    make_folder(tmp_path / "a", part="1")
    with refused(OptionError, "together with the folder"):
        make_folder(tmp_path / "a", new="2", inputs=[str(tmp_path / "a" / "part")])
    left = staging_folder(tmp_path / "b") / "new" / "part"
    left.parent.mkdir(parents=True)
    left.write_text("1")
    with refused(OptionError, "would be removed"):
        make(tmp_path / "b", "2", inputs=[str(left)])
    assert left.read_text() == "1"


def test_an_input_that_came_to_the_target_meanwhile_is_not_replaced(tmp_path):
    """As by renaming it."""
    (tmp_path / "in").write_text("old")
    made = Staging(tmp_path / "a", inputs=[str(tmp_path / "a")])
    with refused(OptionError, "is a file that is read"), made:
        made.path.write_text("new")
        (tmp_path / "in").rename(tmp_path / "a")
        made.publish()
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_that_was_moved_away_comes_back(tmp_path, monkeypatch):
    """After a kill between the two moves of a system that cannot swap."""
    monkeypatch.setattr(staging, "_swapped", lambda first, second: False)
    make_folder(tmp_path / "a", old="1")
    left = staging_folder(tmp_path / "a")
    left.mkdir()
    (tmp_path / "a").replace(left / "replaced")
    with Staging(tmp_path / "a"):
        assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path / "a") == ["old"]


def test_a_folder_that_cannot_be_replaced_comes_back_at_once(tmp_path, monkeypatch):
    """Where the second of two moves fails; nothing that was there is removed with the rest."""
    make_folder(tmp_path / "a", old="1")
    # What was made is gone by then.
    monkeypatch.setattr(staging, "_swapped", lambda made, target: made.rmdir())
    with refused(WriteError, "is as it was"), Staging(tmp_path / "a") as made:
        made.path.mkdir()
        made.publish()
    assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path) == ["a"]


def test_a_hidden_folder_that_stays_is_no_failure(tmp_path, monkeypatch):
    """As where a file system keeps what is removed and still open under another name (FUSE, NFS).

    The next one removes it.
    """
    unlink = Path.unlink

    def hide(path, missing_ok=False):
        if path.name == "lock":
            path.rename(path.with_name(".fuse_hidden01"))
        else:
            unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", hide)
    make(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert names(staging_folder(tmp_path / "a")) == [".fuse_hidden01"]
    monkeypatch.undo()
    make(tmp_path / "a", "newer")
    assert (tmp_path / "a").read_text() == "newer"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_name_that_may_not_be_on_the_disk_is_a_warning(tmp_path, monkeypatch, number):
    """The file is in its place."""
    fsync = os.fsync

    def fail(descriptor):
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.warns(UserWarning, match="whole and in its place.*power failure"):
        make(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_leaving_twice_removes_nothing_of_another_process(tmp_path):
    """Which may use the same hidden folder by then."""
    with Staging(tmp_path / "a") as made:
        made.path.write_text("new")
        made.publish()
        other = Staging(tmp_path / "a")
        other.__enter__()
        other.path.write_text("newer")
    other.publish()
    assert (tmp_path / "a").read_text() == "newer"
    assert names(tmp_path) == ["a"]


def test_a_link_stays_a_link(tmp_path):
    """What it leads to is replaced."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_text("old")
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "a")
    make(tmp_path / "a", "new")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "disk" / "a").read_text() == "new"
    assert names(tmp_path / "disk") == ["a"]


OTHER = """
import sys
from headrace.errors import LockedFileError
from headrace.staging import Staging
try:
    with Staging(sys.argv[1]) as made:
        made.path.write_text("other")
        print("ready", flush=True)
        sys.stdin.read()
except LockedFileError as error:
    print(error)
"""


def test_two_processes_do_not_make_the_same_at_once(tmp_path):
    """The second is told; once the first was killed, its place is free."""
    command = [sys.executable, "-c", OTHER, str(tmp_path / "a")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "ready\n"
        with refused(LockedFileError, "another process", str(tmp_path / "a")):
            make(tmp_path / "a", "mine")
        assert staging_folder(tmp_path / "a").exists()
        other.kill()
    make(tmp_path / "a", "mine")
    assert (tmp_path / "a").read_text() == "mine"
    assert names(tmp_path) == ["a"]


def test_what_is_there_may_have_to_stay(tmp_path):
    """Unless overwriting is asked for."""
    make(tmp_path / "a", "old", overwrite=False)
    with refused(OptionError, "overwrite=True"):
        make(tmp_path / "a", "new", overwrite=False)
    with refused(MissingFileError, "missing"):
        make(tmp_path / "missing" / "a", "new")


def test_what_came_meanwhile_stays_as_well(tmp_path):
    """Making a file may take hours."""
    with refused(OptionError, "is there already"), Staging(tmp_path / "a", overwrite=False) as made:
        made.path.write_text("new")
        (tmp_path / "a").write_text("another's")
        made.publish()
    assert (tmp_path / "a").read_text() == "another's"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "number, kind, words",
    [
        (28, DiskFullError, "The disk is full"),
        (122, DiskFullError, "The disk is full"),
        (27, WriteError, "File too large"),
        (5, WriteError, "Input/output error"),
    ],
)
def test_what_the_system_says_is_explained(tmp_path, number, kind, words):
    """A full disk apart from all else; what was there is mentioned if something was."""
    with refused(kind, words, str(tmp_path / "a")), write_errors(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    (tmp_path / "a").write_text("old")
    with refused(kind, "is as it was"), write_errors(tmp_path / "a"):
        raise OSError(number, os.strerror(number))


def test_room_is_looked_for(tmp_path):
    """More than any disk has; what is there already is not needed again."""
    check_room(tmp_path / "a", 10)
    with refused(DiskFullError, "TB", "left"):
        check_room(tmp_path / "a", 10**18)
    check_room(tmp_path / "a", 10**18, 10**18 - 10)


@pytest.mark.parametrize("write", [hr.pack, hr.create], ids=["pack", "create"])
@pytest.mark.parametrize(
    "name, kind, words",
    [
        ("x" * 300, WriteError, "File name too long"),
        ("x" * 250, WriteError, "File name too long"),
        ("a\0b", OptionError, "Expected the path of a file"),
        ("", OptionError, "Expected the path of a file"),
        (5, OptionError, "Expected the path of a file"),
    ],
    ids=["long", "long with a suffix", "zero", "empty", "number"],
)
def test_what_cannot_be_a_name_is_refused(tmp_path, write, name, kind, words):
    """Before anything is made; the system's own words come with the path."""
    what = hr.from_arrays(np.arange(3)) if write is hr.pack else {"x": "f4"}
    path = f"{tmp_path}/{name}" if name and isinstance(name, str) else name
    arguments = (what, path) if write is hr.pack else (path, what)
    with refused(kind, words):
        write(*arguments)
    assert names(tmp_path) == []


def test_what_lies_in_the_way_of_a_note_is_named(tmp_path):
    """As a folder of its name."""
    (tmp_path / ".a.headrace" / "progress.json").mkdir(parents=True)
    data = hr.from_arrays(np.arange(3))
    for options in ({}, {"shuffle": True}):
        with refused(WriteError, "progress.json", str(tmp_path / "a")):
            hr.pack(data, tmp_path / "a", shard_size=8, resume=True, **options)
    (tmp_path / "b" / "manifest.json").mkdir(parents=True)
    with refused(WriteError, "manifest.json", str(tmp_path / "b")):
        hr.pack(data, tmp_path / "b", shard_size=8, overwrite=True)
