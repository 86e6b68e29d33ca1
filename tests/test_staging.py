"""Files that appear whole or not at all."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from penstock import staging
from penstock.errors import (
    DiskFullError,
    LockedFileError,
    MissingFileError,
    OptionError,
    WriteError,
)
from penstock.staging import Staging, check_room, staging_folder, write_errors
from tests.bad_input.refusal import refused


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(target, text, **options):
    """A file, by way of staging."""
    with Staging(target, **options) as made:
        made.path.write_text(text)
        made.publish()


def make_folder(target, **files):
    """A folder of files, by way of staging."""
    with Staging(target) as made:
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
        with suppress(RuntimeError), Staging(tmp_path / "a", keep=keep) as made:
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


def test_a_folder_and_a_file_take_each_others_place(tmp_path):
    """Whatever was there."""
    make(tmp_path / "a", "file")
    make_folder(tmp_path / "a", new="2")
    assert names(tmp_path / "a") == ["new"]
    make(tmp_path / "a", "file")
    assert (tmp_path / "a").read_text() == "file"


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
from penstock.errors import LockedFileError
from penstock.staging import Staging
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
