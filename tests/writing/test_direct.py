"""Writes and reads past the page cache: the same bytes, on any file system."""

import errno
import fcntl
import hashlib
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.writing import direct
from headrace.writing.direct import PAGE, Digest, Stretches, sha256_of

SIZES = st.sampled_from([0, 1, 7, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 50_000])
WAYS = ["direct", "plain", "refused", "short"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """File systems that take direct writes, know none, refuse them, or take a part of each."""
    if request.param == "plain":
        monkeypatch.setattr(direct, "open_direct", lambda path, flags: None)
    elif request.param != "direct":
        monkeypatch.setattr(direct, "_write_direct", _limited(request.param, direct._write_direct))
    return request.param


def _limited(way, write):
    def limited(descriptor, data, place):
        if way == "refused":
            return 0
        return write(descriptor, data[: len(data) // 2 // PAGE * PAGE], place)

    return limited


@given(
    st.lists(st.tuples(st.sampled_from("ab"), SIZES), max_size=20),
    st.sampled_from([0, PAGE, 4 * PAGE]),
)
def test_what_is_put_lies_where_it_should(tmp_path, way, puts, buffer):
    """Two stretches of a file, written in turn in pieces of any size; nothing else is touched."""
    path = tmp_path / "file"
    room = 1 << 21
    path.write_bytes(b"\xa5" * (2 * room + PAGE))
    starts = {"a": PAGE, "b": PAGE + room}
    stretches = Stretches(path, starts, {"a": buffer, "b": 2 * PAGE})
    written = _put(stretches, puts)
    content = bytearray(b"\xa5" * (2 * room + PAGE))
    for name, start in starts.items():
        content[start : start + len(written[name])] = written[name]
    assert path.read_bytes() == content


def _put(stretches, puts):
    """Writes so many bytes to each, and gives what they were."""
    rng = np.random.default_rng(0)
    written = {"a": b"", "b": b""}
    for name, size in puts:
        values = rng.integers(0, 256, size, np.uint8)
        written[name] += values.tobytes()
        stretches.put(name, values)
    stretches.close()
    return written


@given(
    st.lists(st.tuples(st.sampled_from("ab"), SIZES), max_size=20),
    st.sampled_from([0, PAGE, 4 * PAGE]),
    st.sampled_from([PAGE, 100 * PAGE]),
)
def test_the_digest_takes_what_is_written(tmp_path, way, puts, buffer, room):
    """And reads the rest; the second stretch may begin where the first one ends."""
    path = tmp_path / "file"
    puts = [(name, min(size, room // 20)) for name, size in puts]
    path.write_bytes(b"\xa5" * (2 * room + PAGE))
    digest = Digest()
    stretches = Stretches(path, {"a": PAGE, "b": PAGE + room}, {"a": buffer, "b": 2 * PAGE}, digest)
    assert digest.place == PAGE
    written = _put(stretches, puts)
    if buffer:
        assert digest.place >= PAGE + len(written["a"]) // buffer * buffer
    digest.read(path, PAGE)
    assert str(digest) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_values_of_any_type_are_bytes(tmp_path):
    """Of any shape."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    values = np.arange(30_000.0).reshape(100, 3, 100)
    stretches = Stretches(path, {"a": 0}, {"a": 5 * PAGE})
    stretches.put("a", values[:40])
    stretches.put("a", values[40:])
    stretches.close()
    assert np.array_equal(np.fromfile(path).reshape(values.shape), values)


@pytest.mark.parametrize("size", [0, 1, PAGE, PAGE + 1, 100_000])
@pytest.mark.parametrize("buffer", [1, PAGE, 1 << 20])
def test_the_digest_is_that_of_all_bytes(tmp_path, size, buffer):
    """Whatever is left over behind whole pages and buffers."""
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file", buffer) == hashlib.sha256(content).hexdigest()


def test_a_file_system_without_direct_reads_is_read(tmp_path, monkeypatch):
    """It says so when the file is opened, or when it is read."""
    (tmp_path / "file").write_bytes(b"abc" * 5000)
    expected = hashlib.sha256(b"abc" * 5000).hexdigest()
    preadv, control = os.preadv, fcntl.fcntl

    def refuse_reads(descriptor, buffers, place):
        if os.get_blocking(descriptor) and _is_direct(descriptor):
            raise OSError(errno.EINVAL, "Invalid argument")
        return preadv(descriptor, buffers, place)

    monkeypatch.setattr(os, "preadv", refuse_reads)
    assert sha256_of(tmp_path / "file") == expected

    def refuse_flag(file, command, flags=0):
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return control(file, command, flags)

    monkeypatch.setattr(fcntl, "fcntl", refuse_flag)
    assert sha256_of(tmp_path / "file") == expected


def _is_direct(descriptor):
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT


def test_a_disk_that_fails_is_not_taken_for_one_that_cannot(tmp_path, monkeypatch):
    """Only an invalid argument means that plain writes should be tried."""
    path = tmp_path / "file"
    path.write_bytes(b"")

    def fail(descriptor, data, place):
        raise OSError(errno.EIO, "Input/output error")

    stretches = Stretches(path, {"a": 0}, {"a": PAGE})
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="Input/output error"):
        stretches.put("a", np.zeros(2 * PAGE, np.uint8))
    monkeypatch.undo()
    stretches.close()
