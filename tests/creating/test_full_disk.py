"""A disk without room: what was flushed is kept, and the old file is as it was."""

import os
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

import headrace as hr
from headrace.errors import DiskFullError
from tests.bad_input.refusal import refused
from tests.creating.helpers import check_file, names_in

FIELDS = {"x": ((1000,), "int64"), "y": "int64"}
DISK_BYTES = 4 << 20


@pytest.fixture
def disk(tmp_path):
    """A folder with a disk of its own, of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "headrace", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def rows(start, count):
    """x and y of rows."""
    numbers = np.arange(start, start + count)
    return np.repeat(numbers[:, None], 1000, axis=1), numbers


def fill(writer):
    """Writes until there is no room; gives how many rows were flushed."""
    flushed = len(writer)
    with suppress(DiskFullError):
        while True:
            writer.write(rows(len(writer), 7))
            writer.flush()
            flushed = len(writer)
    return flushed


def test_a_full_disk_loses_nothing_that_was_flushed(disk):
    """Once there is room, it goes on."""
    (disk / "junk").write_bytes(b"x" * (DISK_BYTES // 2))
    (disk / "a.h5").write_text("old")
    flushed = 0

    def write():
        nonlocal flushed
        with hr.create(disk / "a.h5", FIELDS, overwrite=True) as writer:
            flushed = fill(writer)
            writer.write(rows(flushed, 100))

    with pytest.raises(DiskFullError, match=r"disk is full.*is as it was") as caught:
        write()
    assert flushed > 100
    assert "resume=True" in caught.value.__notes__[0]
    assert (disk / "a.h5").read_text() == "old"
    (disk / "junk").unlink()
    with hr.create(disk / "a.h5", FIELDS, overwrite=True, resume=True) as writer:
        assert len(writer) >= flushed
        writer.write(rows(len(writer), 300 - len(writer)))
    x, y = rows(0, 300)
    check_file(disk / "a.h5", {"x": x, "y": y})
    assert names_in(disk) == ["a.h5"]


@pytest.mark.parametrize("length", [None, 300], ids=["growing", "fixed"])
def test_a_full_disk_keeps_rows_that_nobody_flushed(disk, length):
    """There is room for the note that they are there."""
    written = 0

    def write():
        nonlocal written
        with hr.create(disk / "a.h5", FIELDS, length) as writer:
            (disk / "junk").write_bytes(b"x" * (DISK_BYTES // 2))
            while True:
                writer.write(rows(written, 7))
                written += 7

    with pytest.raises(DiskFullError) as caught:
        write()
    assert written > 100
    assert f"up to row {written}, is kept" in caught.value.__notes__[0]
    (disk / "junk").unlink()
    with hr.create(disk / "a.h5", FIELDS, length, resume=True) as writer:
        assert len(writer) == written
        writer.write(rows(written, 300 - written))
    x, y = rows(0, 300)
    check_file(disk / "a.h5", {"x": x, "y": y})


def test_a_writer_that_found_no_room_can_be_used_again(disk):
    """Without being closed and opened."""
    (disk / "junk").write_bytes(b"x" * (DISK_BYTES // 2))
    with hr.create(disk / "a.h5", FIELDS) as writer:
        fill(writer)
        written = len(writer)
        (disk / "junk").unlink()
        assert writer.write(rows(written, 10)) == range(written, written + 10)
    x, y = rows(0, written + 10)
    check_file(disk / "a.h5", {"x": x, "y": y})


def test_no_room_at_the_end_loses_nothing(disk):
    """Where fields are copied: it can be closed later."""
    fields = {"x": ((1000,), "int64"), "z": ((1000,), "int64")}
    x, _ = rows(0, 150)
    writer = hr.create(disk / "a.h5", fields)
    writer.write((x, x))
    (disk / "junk").write_bytes(b"x" * (DISK_BYTES - 2 * x.nbytes - (1 << 18)))
    with refused(DiskFullError, "disk is full"):
        writer.close()
    assert not (disk / "a.h5").exists()
    (disk / "junk").unlink()
    with hr.create(disk / "a.h5", fields, resume=True) as writer:
        assert len(writer) == 150
    check_file(disk / "a.h5", {"x": x, "z": x})


def test_a_file_of_known_length_finds_out_before(disk):
    """Nothing is written for nothing."""
    with refused(DiskFullError, "left. Make room"):
        hr.create(disk / "a.h5", FIELDS, length=1000)
    assert names_in(disk) == []


LIMITED = """
import resource, sys
import numpy as np
import headrace as hr
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with hr.create(sys.argv[1], {"x": "int64"}, overwrite=True) as writer:
        writer.write(np.arange(100_000))
        writer.flush()
        writer.write(np.arange(100_000, 200_000))
except hr.errors.WriteError as error:
    print(error, *error.__notes__)
"""


@pytest.mark.skipif(os.name == "nt", reason="this system has no such limit")
def test_a_file_that_may_not_grow_loses_nothing_that_was_flushed(tmp_path):
    """As under `ulimit -f`; what the system says is passed on."""
    (tmp_path / "a.h5").write_text("old")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert "up to row 100000, is kept" in done.stdout
    assert (tmp_path / "a.h5").read_text() == "old"
    with hr.create(tmp_path / "a.h5", {"x": "int64"}, overwrite=True, resume=True) as writer:
        writer.write(np.arange(len(writer), 200_000))
    check_file(tmp_path / "a.h5", {"x": np.arange(200_000)})
