"""What a fork in the midst of things leaves to the child."""

import os
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from headrace.sources import file as file_module
from headrace.sources import open_files as opened
from headrace.sources.hdf5 import HDF5Source, library
from headrace.testing import check_reads
from tests.files import images, write

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning"),
]

IMAGES = images()
STORAGE = [
    {},
    {"chunks": (8, 4, 4, 3), "compression": "gzip"},
    {"chunks": True, "scaleoffset": 8},
]


@pytest.fixture(params=STORAGE, ids=["contiguous", "gzip", "h5py"])
def source(request, tmp_path):
    return HDF5Source(write(tmp_path / "a.h5", x={"data": IMAGES, **request.param}), ["x"])


def in_child(function):
    """The exit code of a forked child that calls a function: 7 if it comes back."""
    child = os.fork()
    if not child:
        try:
            function()
            os._exit(7)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 20
    while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.002)
    if not done[0]:
        os.kill(child, 9)
        os.waitpid(child, 0)
        return "hung"
    return os.waitstatus_to_exitcode(done[1])


@contextmanager
def held_for_a_moment(lock):
    """Another thread holds the lock, and gives it back soon."""
    held = threading.Event()

    def hold():
        with lock:
            held.set()
            time.sleep(0.05)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    thread.join()


@pytest.mark.parametrize(
    "lock", [file_module._pool.lock, library._pool.lock], ids=["opening", "h5py"]
)
@pytest.mark.parametrize("used_before", [False, True])
def test_a_fork_while_files_are_opened_or_read_leaves_the_child_able_to(source, lock, used_before):
    """It gets the lock free, or the fork waits for it, as h5py has it."""
    if used_before:
        check_reads(source, {"x": IMAGES}, np.arange(50))
    with held_for_a_moment(lock):
        assert in_child(lambda: check_reads(source, {"x": IMAGES}, np.arange(50))) == 7
    check_reads(source, {"x": IMAGES}, np.arange(50))


def test_a_fork_while_others_read_leaves_both_sides_able_to(source):
    """Child after child, beside threads that never pause."""
    stop = threading.Event()

    def read_on():
        while not stop.is_set():
            check_reads(source, {"x": IMAGES}, np.arange(50))

    threads = [threading.Thread(target=read_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        codes = [
            in_child(lambda: check_reads(source, {"x": IMAGES}, np.arange(50))) for _ in range(10)
        ]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert codes == [7] * 10


def test_the_child_opens_the_file_through_h5py_by_itself(source):
    """What libhdf5 had open in the parent is the parent's."""
    opened = library.Library(source._files[0])
    columns = source._readers["x"].layout.columns
    out = {"x": np.empty(IMAGES.shape, "u1")}

    def read():
        opened.read("x", columns, np.arange(50), out)
        assert (out["x"] == IMAGES).all()

    read()

    def read_and_look():
        read()
        assert opened._handle[0] == os.getpid()

    assert in_child(read_and_look) == 7


def test_parent_and_child_read_at_once_where_reads_move_the_file(tmp_path, monkeypatch):
    """They do not share a position."""
    monkeypatch.setattr(opened, "open_file", opened.SeekingFile)
    monkeypatch.setattr(file_module, "_copy_within_process", None)
    large = images(400, (40,))
    source = HDF5Source(write(tmp_path / "a.h5", x=large), ["x"])

    def read_often():
        rng = np.random.default_rng(os.getpid())
        for _ in range(300):
            check_reads(source, {"x": large}, np.sort(rng.choice(400, 50, False)))

    read_often()
    child = os.fork()
    if not child:
        try:
            read_often()
            os._exit(7)
        finally:
            os._exit(1)
    read_often()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
