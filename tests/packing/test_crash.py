"""A process that is killed, and a disk that takes no more: nothing that was there is lost."""

import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

import penstock as ps
from tests.files import gzip, images, write

N = 8000
IMAGES = images(N, (16, 16, 3))

SCRIPT = """
import sys, penstock as ps
folder, kind, first, resume = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "resume"

def fn(x, y):
    # Tells how far it is.
    print(int(y[0]), flush=True)
    return x, y

data = ps.from_hdf5(f"{folder}/in.h5", x="image", y="id").map(fn)
options = {"compression": "gzip", "chunk": 7680, "workers": 2, "memory": "500kB", "overwrite": True}
if kind == "shards":
    options |= {"shard_size": 776 * 1000, "resume": resume}
if kind == "shuffled shards":
    options |= {"shard_size": 776 * 1000, "resume": resume, "shuffle": True, "seed": 3}
ps.pack(data, f"{folder}/out", **options)
"""


@pytest.fixture
def folder(tmp_path):
    """A gzip file of images and row numbers."""
    write(tmp_path / "in.h5", image=gzip(IMAGES, 16), id=np.arange(N))
    return tmp_path


def start(folder, kind, resume=False):
    """Packs in a process of its own, which prints a line for each piece that it maps."""
    mode = "resume" if resume else "anew"
    command = [sys.executable, "-c", SCRIPT, str(folder), kind, "0", mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_after(process, lines):
    """Kills it once it has printed so many lines; False if it ended before."""
    for _ in range(lines):
        if not process.stdout.readline():
            break
    process.kill()
    process.stdout.close()
    return process.wait() != 0


def kill_at_shard(process, folder, count):
    """Kills it once so many shards are there; False if it ended before."""
    shards = folder / ".out.penstock" / "new"
    with process.stdout:
        while process.poll() is None:
            if len(list(shards.glob("shard-*"))) >= count:
                process.kill()
        return process.returncode != 0


def contents(folder):
    """Every file of a folder, with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_killed_pack_leaves_the_old_file(folder):
    """Wherever it is killed; the next one removes what it left."""
    ps.pack(ps.from_arrays(np.arange(10)), folder / "out")
    old = (folder / "out").read_bytes()
    random.seed(0)
    for _ in range(6):
        killed = kill_after(start(folder, "file"), random.randrange(1, 800))
        if killed:
            assert (folder / "out").read_bytes() == old
    assert (folder / ".out.penstock").is_dir()
    assert start(folder, "file").communicate()[0]
    assert ps.verify(folder / "out").ok
    assert np.array_equal(ps.open(folder / "out")[:][0], IMAGES)
    assert sorted(path.name for path in folder.iterdir()) == ["in.h5", "out"]


@pytest.mark.parametrize("kind", ["shards", "shuffled shards"])
def test_killed_again_and_again_the_result_is_the_same(folder, kind):
    """Byte for byte, as if it had run through; the old shards are there until the end."""
    assert start(folder, kind).communicate()[0]
    expected = contents(folder / "out")
    ps.pack(ps.from_arrays(np.arange(10)), folder / "out", shard_size=30, overwrite=True)
    old = contents(folder / "out")
    killed = 0
    for count in (1, 1, 2, 3, 4, 5):
        process = start(folder, kind, resume=killed > 0)
        if kind == "shuffled shards" and not killed:
            # In the first of two passes.
            killed += kill_after(process, 50)
        else:
            killed += kill_at_shard(process, folder, count)
        assert contents(folder / "out") == old
    assert killed == 6
    process = start(folder, kind, resume=True)
    process.communicate()
    assert process.returncode == 0
    assert contents(folder / "out") == expected
    assert sorted(path.name for path in folder.iterdir()) == ["in.h5", "out"]


def test_shards_that_are_there_are_not_made_again(folder):
    """What is mapped after the stop is what is still to be written, and what is looked at first."""
    kill_after(start(folder, "shards"), 600)
    done = len(list((folder / ".out.penstock" / "new").iterdir())) * 990
    assert done
    mapped = start(folder, "shards", resume=True).communicate()[0].split()
    again = [row for row in map(int, mapped) if row < done - 990]
    # The first row, for its form.
    assert again == [0]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import penstock as ps
data = ps.from_hdf5(f"{sys.argv[1]}/in.h5", x="image", y="id")
options = {} if sys.argv[2] == "file" else {"shard_size": "5MB"}
if sys.argv[2] == "gzip":
    options = {"compression": "gzip", "chunk": 7680}
if sys.argv[2] == "scratch":
    options = {"compression": "gzip", "chunk": 7680, "shuffle": True, "memory": "500kB"}
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    ps.pack(data, f"{sys.argv[1]}/out", overwrite=True, **options)
except ps.errors.WriteError as error:
    print(error)
import gc, os, threading
from pathlib import Path
gc.collect()
left = [t.name for t in threading.enumerate() if t.name.startswith("penstock")]
for link in Path("/proc/self/fd").iterdir():
    if os.path.islink(link) and ".out.penstock" in os.readlink(link):
        left.append(os.readlink(link))
if left:
    print("left behind:", left)
"""


PUBLISHED = """
import os, sys
from pathlib import Path
import penstock as ps
from penstock import staging

folder = Path(sys.argv[1])
sync = staging.sync

def die(path):
    sync(path)
    if path == folder:
        os.kill(os.getpid(), 9)

staging.sync = die
data = ps.from_hdf5(folder / "in.h5", x="image", y="id")
ps.pack(data, folder / "out", shard_size=776 * 1000, overwrite=True, resume=True)
"""


@pytest.mark.parametrize("before", ["nothing", "other rows", "the same rows"])
def test_killed_when_all_was_in_place_nothing_is_lost(folder, before):
    """What is there is not made again, and neither taken for what was there before."""
    data = ps.from_hdf5(folder / "in.h5", x="image", y="id")
    if before != "nothing":
        old = data if before == "the same rows" else data.map(lambda x, y: (x, y + 1))
        ps.pack(old, folder / "out", shard_size=776 * 1000)
    assert subprocess.run([sys.executable, "-c", PUBLISHED, str(folder)], check=False).returncode
    assert (folder / ".out.penstock").is_dir()
    times = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    packed = ps.pack(data, folder / "out", shard_size=776 * 1000, overwrite=True, resume=True)
    assert np.array_equal(packed[:][1], np.arange(N))
    assert ps.verify(folder / "out").ok
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()} == times
    assert sorted(path.name for path in folder.iterdir()) == ["in.h5", "out"]


def test_what_was_there_before_is_not_taken_for_new(folder):
    """Where the new shards were put in its place, and then removed."""
    data = ps.from_hdf5(folder / "in.h5", x="image", y="id")
    # In more shards than there will be: none of them may be left among the new ones.
    ps.pack(data.map(lambda x, y: (x, y + 1)), folder / "out", shard_size=776 * 300)
    subprocess.run([sys.executable, "-c", PUBLISHED, str(folder)], check=False)
    shutil.rmtree(folder / "out")
    packed = ps.pack(data, folder / "out", shard_size=776 * 1000, resume=True)
    assert np.array_equal(packed[:][1], np.arange(N))
    found = ps.verify(folder / "out")
    assert found.ok
    assert not found.remarks


@pytest.mark.parametrize("kind", ["file", "gzip", "shards", "scratch"])
def test_a_file_system_that_takes_no_more_leaves_the_old_data(folder, kind):
    """A limit on the size of files: the error says what could not be written."""
    size = 30 if kind == "shards" else None
    ps.pack(ps.from_arrays(np.arange(10)), folder / "out", shard_size=size)
    command = [sys.executable, "-c", LIMITED, str(folder), kind]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "could not be written" in done.stdout, done.stderr
    assert "is as it was" in done.stdout
    assert done.stdout.count("\n") == 1
    assert ps.verify(folder / "out").ok
    assert len(ps.open(folder / "out")) == 10
    assert kind == "shards" or not (folder / ".out.penstock").exists()


def test_ctrl_c_ends_it_and_leaves_nothing(folder):
    """Of a single file."""
    process = start(folder, "file")
    for _ in range(3):
        # The first line comes of a look at the first row, before anything is written.
        process.stdout.readline()
    process.send_signal(2)
    process.communicate()
    assert process.returncode != 0
    assert [path.name for path in folder.iterdir()] == ["in.h5"]
