"""The thread that brings files to the disk."""

import gc
import threading

import pytest

from headrace.writing import flushing
from headrace.writing.flushing import FileFlusher, Flusher
from tests.leaks import open_files


def test_so_many_bytes_are_brought_to_the_disk():
    """Not before, and not without a word."""
    flushed = threading.Event()
    flusher = Flusher(flushed.set)
    flusher.note(flushing.STEP_BYTES - 1)
    assert not flushed.is_set()
    flusher.note(1)
    assert flushed.wait(60)
    flusher.close()


def test_fewer_bytes_are_brought_there_after_a_while():
    """Where that is asked for; nothing is done for none."""
    counts, again = [], threading.Event()

    def flush():
        counts.append(len(counts))
        again.set()

    flusher = Flusher(flush, seconds=0.001)
    for _ in range(2):
        flusher.note(1)
        assert again.wait(60)
        again.clear()
    flusher.close()
    assert counts == [0, 1]


def test_what_went_wrong_is_said():
    """To whoever writes next, and at the end; the last call is made all the same."""
    failed, last = threading.Event(), threading.Event()

    def flush():
        failed.set()
        raise OSError(5, "Input/output error")

    flusher = Flusher(flush, seconds=0.001)
    flusher.note(1)
    assert failed.wait(60)
    with pytest.raises(OSError, match="Input/output error"):
        flusher.close(last.set)
    assert last.is_set()
    with pytest.raises(OSError, match="Input/output error"):
        flusher.note(0)


def test_it_may_be_ended_from_within():
    """As by the garbage collector: it does not wait for itself."""
    ended = threading.Event()
    flusher = Flusher(lambda: flusher.close(ended.set), seconds=0.001)
    flusher.note(1)
    assert ended.wait(60)


def test_a_file_is_let_go_of_at_the_end(tmp_path):
    """Once, and no file of another is closed in its place."""
    path = tmp_path / "a"
    path.write_bytes(b"x")
    before = open_files(tmp_path)
    flusher = FileFlusher(path)
    flusher.note(flushing.STEP_BYTES)
    assert len(open_files(tmp_path)) == 1
    flusher.close()
    assert open_files(tmp_path) == before == []


def test_one_that_nobody_closes_ends(tmp_path):
    """As after an interrupt in the midst of a constructor: neither thread nor file stays."""
    (tmp_path / "a").write_bytes(b"x")
    flusher = FileFlusher(tmp_path / "a")
    flusher.note(1)
    thread = flusher._thread
    del flusher
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_thread_that_cannot_start_leaves_no_file_open(tmp_path, monkeypatch, kind):
    """Or is interrupted while it starts."""
    (tmp_path / "a").write_bytes(b"x")

    def fail(thread):
        raise kind

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(kind):
        FileFlusher(tmp_path / "a")
    assert open_files(tmp_path) == []
