"""A process that is killed, and a disk that takes no more: nothing that was there is lost."""

import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import headrace as hr
from tests.files import gzip, images, write

N = 3000
IMAGES = images(N, (16, 16, 3))
ROWS = 300
SHARD = 776 * ROWS

SCRIPT = """
import os, sys, threading
import headrace as hr
from headrace.packing.targets import FileTarget, FolderTarget
from headrace.packing.shuffling import _Stretches

folder, kind, mode, where, count = sys.argv[1:]

def say(word):
    # At once: lines of several threads do not mix.
    os.write(1, f"{word}\\n".encode())

def stop_at(owner, name, count):
    method, done = getattr(owner, name), 0
    def stopping(*arguments):
        nonlocal done
        method(*arguments)
        done += 1
        if done == count:
            # It goes no further by itself, however long the kill takes to come.
            say("stopped")
            threading.Event().wait()
    setattr(owner, name, stopping)

if where != "nowhere":
    at = {
        "piece": (FileTarget, "put"),
        "first pass": (_Stretches, "put"),
        "note": (FolderTarget, "_note"),
    }
    stop_at(*at[where], int(count))

def fn(x, y):
    # Tells which rows are mapped.
    say(int(y[0]))
    return x, y

data = hr.from_hdf5(f"{folder}/in.h5", x="image", y="id").map(fn)
options = {"compression": "gzip", "chunk": 7680, "workers": 2, "memory": "500kB", "overwrite": True}
if kind != "file":
    options |= {"shard_size": SHARD, "resume": mode == "resume"}
if kind == "shuffled shards":
    options |= {"shuffle": True, "seed": 3}
hr.pack(data, f"{folder}/out", **options)
""".replace("SHARD", str(SHARD))


@pytest.fixture
def folder(tmp_path):
    """A gzip file of images and row numbers."""
    write(tmp_path / "in.h5", image=gzip(IMAGES, 16), id=np.arange(N))
    return tmp_path


def start(folder, kind, where="nowhere", count=0, resume=False):
    """Packs in a process of its own, which stops in the midst of it and waits to be ended."""
    mode = "resume" if resume else "anew"
    command = [sys.executable, "-c", SCRIPT, str(folder), kind, mode, where, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run(folder, kind, resume=False):
    """Packs to the end, and gives the rows that were mapped."""
    process = start(folder, kind, resume=resume)
    lines = process.communicate()[0].split()
    assert process.returncode == 0
    return list(map(int, lines))


def end_with(number, process):
    """Sends a signal once the process has stopped, and waits for its end."""
    with process.stdout:
        assert "stopped\n" in iter(process.stdout.readline, "")
        process.send_signal(number)
        process.stdout.read()
    return process.wait()


def kill(folder, kind, where, count, resume=False):
    """Packs up to a place, and is killed there."""
    process = start(folder, kind, where, count, resume)
    assert end_with(signal.SIGKILL, process) == -signal.SIGKILL


def contents(folder):
    """Every file of a folder, with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_killed_pack_leaves_the_old_file(folder):
    """Wherever it is killed; the next one removes what it left."""
    hr.pack(hr.from_arrays(np.arange(10)), folder / "out")
    old = (folder / "out").read_bytes()
    for count in (1, 30, N // 10):
        kill(folder, "file", "piece", count)
        assert (folder / "out").read_bytes() == old
        assert (folder / ".out.headrace").is_dir()
    run(folder, "file")
    assert hr.verify(folder / "out").ok
    assert np.array_equal(hr.open(folder / "out")[:][0], IMAGES)
    assert sorted(path.name for path in folder.iterdir()) == ["in.h5", "out"]


@pytest.mark.parametrize("kind", ["shards", "shuffled shards"])
def test_killed_again_and_again_the_result_is_the_same(folder, kind):
    """Byte for byte, as if it had run through; the old shards are there until the end."""
    run(folder, kind)
    expected = contents(folder / "out")
    hr.pack(hr.from_arrays(np.arange(10)), folder / "out", shard_size=30, overwrite=True)
    old = contents(folder / "out")
    if kind == "shuffled shards":
        kill(folder, kind, "first pass", 2)
    # The first note is that of the start.
    for count in (2, 3, 4):
        kill(folder, kind, "note", count, resume=True)
        assert contents(folder / "out") == old
    run(folder, kind, resume=True)
    assert contents(folder / "out") == expected
    assert sorted(path.name for path in folder.iterdir()) == ["in.h5", "out"]


def test_shards_that_are_there_are_not_made_again(folder):
    """What is mapped after the stop is what is still to be written, and what is looked at first."""
    kill(folder, "shards", "note", 4)
    done = len(list((folder / ".out.headrace" / "new").iterdir())) * ROWS
    assert done >= 3 * ROWS
    mapped = run(folder, "shards", resume=True)
    again = [row for row in mapped if row < done - ROWS]
    # The first row, for its form.
    assert again == [0]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import headrace as hr
data = hr.from_hdf5(f"{sys.argv[1]}/in.h5", x="image", y="id")
options = {} if sys.argv[2] == "file" else {"shard_size": "5MB"}
if sys.argv[2] == "gzip":
    options = {"compression": "gzip", "chunk": 7680}
if sys.argv[2] == "scratch":
    options = {"compression": "gzip", "chunk": 7680, "shuffle": True, "memory": "500kB"}
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    hr.pack(data, f"{sys.argv[1]}/out", overwrite=True, **options)
except hr.errors.WriteError as error:
    print(error)
import gc, os, threading
from pathlib import Path
gc.collect()
left = [t.name for t in threading.enumerate() if t.name.startswith("headrace")]
for link in Path("/proc/self/fd").iterdir():
    if os.path.islink(link) and ".out.headrace" in os.readlink(link):
        left.append(os.readlink(link))
if left:
    print("left behind:", left)
"""


PUBLISHED = """
import os, sys
from pathlib import Path
import headrace as hr
from headrace import staging

folder = Path(sys.argv[1])
sync = staging._fsync

def die(path):
    sync(path)
    if path == folder:
        os.kill(os.getpid(), 9)

staging._fsync = die
data = hr.from_hdf5(folder / "in.h5", x="image", y="id")
hr.pack(data, folder / "out", shard_size=SHARD, overwrite=True, resume=True)
""".replace("SHARD", str(SHARD))


@pytest.mark.parametrize("before", ["nothing", "other rows", "the same rows"])
def test_killed_when_all_was_in_place_nothing_is_lost(folder, before):
    """What is there is not made again, and neither taken for what was there before."""
    data = hr.from_hdf5(folder / "in.h5", x="image", y="id")
    if before != "nothing":
        old = data if before == "the same rows" else data.map(lambda x, y: (x, y + 1))
        hr.pack(old, folder / "out", shard_size=SHARD)
    assert subprocess.run([sys.executable, "-c", PUBLISHED, str(folder)], check=False).returncode
    assert (folder / ".out.headrace").is_dir()
    times = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    packed = hr.pack(data, folder / "out", shard_size=SHARD, overwrite=True, resume=True)
    assert np.array_equal(packed[:][1], np.arange(N))
    assert hr.verify(folder / "out").ok
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()} == times
    assert sorted(path.name for path in folder.iterdir()) == ["in.h5", "out"]


def test_what_was_there_before_is_not_taken_for_new(folder):
    """Where the new shards were put in its place, and then removed."""
    data = hr.from_hdf5(folder / "in.h5", x="image", y="id")
    # In more shards than there will be: none of them may be left among the new ones.
    hr.pack(data.map(lambda x, y: (x, y + 1)), folder / "out", shard_size=SHARD // 3)
    subprocess.run([sys.executable, "-c", PUBLISHED, str(folder)], check=False)
    shutil.rmtree(folder / "out")
    packed = hr.pack(data, folder / "out", shard_size=SHARD, resume=True)
    assert np.array_equal(packed[:][1], np.arange(N))
    found = hr.verify(folder / "out")
    assert found.ok
    assert not found.remarks


@pytest.mark.parametrize("kind", ["file", "gzip", "shards", "scratch"])
def test_a_file_system_that_takes_no_more_leaves_the_old_data(folder, kind):
    """A limit on the size of files: the error says what could not be written."""
    size = 30 if kind == "shards" else None
    hr.pack(hr.from_arrays(np.arange(10)), folder / "out", shard_size=size)
    command = [sys.executable, "-c", LIMITED, str(folder), kind]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "could not be written" in done.stdout, done.stderr
    assert "is as it was" in done.stdout
    assert done.stdout.count("\n") == 1
    assert hr.verify(folder / "out").ok
    assert len(hr.open(folder / "out")) == 10
    assert kind == "shards" or not (folder / ".out.headrace").exists()


def test_ctrl_c_ends_it_and_leaves_nothing(folder):
    """Of a single file."""
    process = start(folder, "file", "piece", 20)
    assert end_with(signal.SIGINT, process) != 0
    assert [path.name for path in folder.iterdir()] == ["in.h5"]
