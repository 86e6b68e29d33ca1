"""Positional reads, gathers, and what happens when the file is not what it was."""

import gc
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import ChangedFileError, MissingFileError, NoPermissionError, ReadError
from headrace.sources import file as file_module
from headrace.sources import open_files as opened
from headrace.sources.file import File
from tests.files import as_nobody

LONG_AGO = 10**18
"""A modification time in nanoseconds that no later writing can have."""


@pytest.fixture
def content():
    return np.random.default_rng(0).integers(0, 256, 300_001, np.uint8)


@pytest.fixture
def path(content, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(content.tobytes())
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def file(path):
    return File(str(path))


def test_reads_the_bytes_at_an_offset(file, content):
    for offset, size in ((0, 10), (299_991, 10), (5, 299_996), (17, 0)):
        out = np.zeros(size, np.uint8)
        file.read_into(out, offset)
        assert (out == content[offset : offset + size]).all()


def test_reading_beyond_the_end_says_truncated(file):
    with pytest.raises(ReadError, match=r"ends at byte 300001, but 20 .* offset 299990: .*trunc"):
        file.read_into(np.empty(20, np.uint8), 299_990)


def without_the_call(monkeypatch):
    monkeypatch.setattr(file_module, "_copy_within_process", None)


def with_a_call_that_is_refused(monkeypatch):
    monkeypatch.setattr(file_module, "_copy_within_process", lambda out, remote: False)


def without_mapping(monkeypatch):
    monkeypatch.setattr(opened.OpenFile, "map", lambda file, size: False)


WAYS = [None, without_the_call, with_a_call_that_is_refused, without_mapping]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 2500])
def test_gather_gives_the_rows_at_all_offsets(path, content, monkeypatch, way, size, count):
    """The same bytes with one system call for many rows and with a read for each row."""
    if way:
        way(monkeypatch)
    file = File(str(path))
    offsets = np.random.default_rng(count).integers(0, len(content) - size + 1, count)
    if count:
        offsets[0], offsets[-1] = 0, len(content) - size
    out = np.zeros((count + 2, size), np.uint8)
    file.gather(offsets, out.shape[1], out[1:-1].reshape(-1))
    expected = content[offsets[:, None] + np.arange(size)]
    assert (out[1:-1] == expected).all()
    assert not out[0].any()
    assert not out[-1].any()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_gather_takes_one_call_on_linux(file, monkeypatch):
    """Not the way that works everywhere, by a silent accident."""
    monkeypatch.setattr(File, "read_into", None)
    file.gather(np.arange(2000), 3, np.empty(6000, np.uint8))


@pytest.mark.parametrize("offset", [300_000, 2**40, -1, -(2**40)])
def test_gather_never_reads_outside_the_file(file, offset):
    """Beyond the mapping lies other memory of the process."""
    with pytest.raises(ReadError):
        file.gather(np.array([5, offset]), 8, np.empty(16, np.uint8))


def test_what_is_in_memory_is_not_announced(file, content):
    """A look at some of it shows that it was read a moment ago."""
    file.read_into(np.empty(len(content), np.uint8), 0)
    assert not file.announce(np.arange(0, 200_000, 1000), 500)
    assert not file.announce(np.empty(0, np.int64), 500)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system has no posix_fadvise")
@pytest.mark.parametrize("sizes", [3000, np.array([3000, 9000, 5])])
def test_what_is_announced_comes_into_memory(file, path, content, sizes):
    """The system fetches it while nobody waits for it; what is read is the same."""
    with path.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        offsets = np.array([150_000, 8192, 290_000])
        if not in_memory(opened, offsets):  # a file system in memory cannot let go of it
            assert file.announce(offsets, sizes)
            deadline = time.monotonic() + 10
            while not in_memory(opened, offsets):
                assert time.monotonic() < deadline
        assert not in_memory(opened, [60_000]) or not file.announce(np.array([60_000]), 10)
    out = np.empty(3000, np.uint8)
    file.read_into(out, 8192)
    assert (out == content[8192:11192]).all()


def in_memory(opened, offsets):
    try:
        return all(os.preadv(opened.fileno(), [bytearray(1)], o, os.RWF_NOWAIT) for o in offsets)
    except BlockingIOError:
        return False


def test_an_unchanged_file_passes(file):
    file.check_unchanged()
    pickle.loads(pickle.dumps(file)).check_unchanged()


def test_writing_is_noticed(path, file):
    file.check_unchanged()
    with path.open("r+b") as opened:
        opened.write(b"x")
    with pytest.raises(ChangedFileError, match=r"data\.bin' was written to since .* Open the data"):
        file.check_unchanged()


@pytest.mark.parametrize("size", [0, 4096, 300_000, 300_002])
def test_another_size_is_noticed(path, file, size):
    os.truncate(path, size)
    with pytest.raises(ChangedFileError, match=f"had 300001 bytes and now has {size} since"):
        file.check_unchanged()


def test_an_open_file_stays_the_one_that_was_opened(path, file, content, tmp_path):
    """A file that is replaced lives on for those who have it open."""
    out = np.empty(10, np.uint8)
    file.read_into(out, 0)
    replace(path, tmp_path)
    file.read_into(out, 10)
    file.check_unchanged()
    assert (out == content[10:20]).all()


def test_a_replaced_file_is_noticed_by_those_who_open_it(path, file, tmp_path):
    """Even one of the same size and time."""
    copy = pickle.loads(pickle.dumps(file))
    replace(path, tmp_path)
    for late in (copy, file):
        with pytest.raises(ChangedFileError, match="was replaced by another file"):
            late.check_unchanged()


def replace(path, folder):
    other = folder / "other.bin"
    other.write_bytes(bytes(path.stat().st_size))
    os.utime(other, ns=(LONG_AGO, LONG_AGO))
    other.replace(path)


def test_a_file_that_is_gone_is_missing(path, file):
    path.unlink()
    with pytest.raises(MissingFileError, match=r"no file at .*data\.bin"):
        file.read_into(np.empty(1, np.uint8), 0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user numbers")
def test_a_file_that_may_not_be_opened_says_so(open_folder):
    path = open_folder / "data.bin"
    path.write_bytes(b"abc")
    file = File(str(path))
    path.chmod(0)
    with as_nobody(), pytest.raises(NoPermissionError, match=r"No permission to read .*data\.bin"):
        file.read_into(np.empty(1, np.uint8), 0)


def test_a_fault_of_the_disk_is_relayed(file, monkeypatch):
    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(opened.OpenFile, "read_at", fail)
    with pytest.raises(ReadError, match=r"offset 7 of .*data\.bin' failed: Input/output error"):
        file.read_into(np.empty(1, np.uint8), 7)


def test_sample_sees_other_content_of_the_same_size(path, file, tmp_path):
    assert file.sample() == pickle.loads(pickle.dumps(file)).sample()
    before = file.sample()
    replace(path, tmp_path)
    assert File(str(path)).sample() != before


def test_a_small_file_is_sampled_too(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert File(str(tmp_path / "a")).sample() == b"abc" * 16


SHRINKING = """
import os, sys
import numpy as np
from headrace.errors import ChangedFileError, ReadError
from headrace.sources.file import File
from tests.files import as_nobody

path, offsets = sys.argv[1], np.arange(0, 1 << 20, 4096)
out = np.empty((len(offsets), 100), np.uint8)
for size in (700_000, 700_001, 4096, 1, 0):
    for map_before in (True, False):
        open(path, "wb").write(bytes(1 << 20))
        file = File(path)
        if map_before:
            file.gather(offsets, out.shape[1], out.reshape(-1))
        os.truncate(path, size)
        try:
            file.gather(offsets, out.shape[1], out.reshape(-1))
            file.check_unchanged()
        except ReadError as error:
            assert isinstance(error, ChangedFileError), error
        else:
            raise AssertionError("nothing was noticed")
print("alive")
"""


def test_a_file_that_shrinks_under_its_mapping_kills_nobody(tmp_path):
    """Plain access to the lost pages would end the process with SIGBUS."""
    command = [sys.executable, "-c", SHRINKING, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_descriptors_are_closed_with_the_file(path):
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        file = File(str(path))
        file.gather(np.arange(10), 5, np.empty(50, np.uint8))
        del file
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_the_mapping_holds_no_more_than_the_file(file, content):
    """Its end is where the bytes of the file end."""
    held = file.open()
    assert held.map(len(content))
    assert len(held._mapping) == len(content)
