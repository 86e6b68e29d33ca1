"""How iterators end: used up, abandoned, with an error, beside a fork."""

import gc
import itertools
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import psutil
import pytest

import headrace as hr
from tests.loading.helpers import SMALL, dataset, threads

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


def test_nothing_is_left_after_many_epochs_and_abandoned_iterators(make_images):
    """A hundred of each: no thread, no descriptor."""
    loader = dataset(make_images(500)).batch(32, shuffle=True, memory=SMALL)
    list(loader)
    gc.collect()
    process = psutil.Process()
    descriptors = process.num_fds()
    for _ in range(100):
        list(loader)
    for _ in range(100):
        next(iter(loader))
    kept = [iter(loader) for _ in range(100)]
    gc.collect()
    assert len(kept) == 100
    assert threads() == []
    assert process.num_fds() == descriptors


def test_breaking_out_of_a_loop_ends_the_threads(make_images):
    """At once, not at the end of the program."""
    loader = dataset(make_images(5000)).batch(8, shuffle=True, memory=SMALL)
    for _ in loader:
        break
    assert threads() == []


def failing_at(row):
    def fail(x, y):
        if row in y[1]:
            raise ValueError(f"row {row} is bad")
        return x, y

    return fail


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_arrives_in_its_place(make_images, workers):
    """The batches before it come first, on every run; then the error; then nothing."""
    data = dataset(make_images(1000)).map(failing_at(500))
    iterator = iter(data.batch(32, memory=SMALL, workers=workers))
    for i in range(500 // 32):
        assert next(iterator)[1][1][0] == i * 32
    with pytest.raises(ValueError, match="row 500 is bad"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert threads() == []


def test_an_error_names_file_field_and_rows(make_images):
    """A chunk that is damaged: the fast path and h5py both give up."""
    images = make_images(1000)
    with h5py.File(images.path) as file:
        info = file["image"].id.get_chunk_info(20)
    with images.path.open("r+b") as file:
        file.seek(info.byte_offset + 20)
        file.write(b"\xff" * 100)
    loader = dataset(images).batch(32, shuffle=True, memory=SMALL, seed=0)
    with pytest.raises(hr.errors.ReadError) as caught:
        list(loader)
    message = str(caught.value)
    assert "images.h5" in message
    assert "'image'" in message
    assert "320 to 335" in message
    assert threads() == []


def test_a_worker_that_exits_is_an_error_not_a_hang(make_images):
    """SystemExit in a map function would end the thread silently."""

    def leave(x, y):
        raise SystemExit(3)

    loader = dataset(make_images(100)).map(leave).batch(32)
    with pytest.raises(SystemExit):
        next(iter(loader))


def test_two_iterators_at_a_time_take_an_epoch_each(make_images):
    """Neither loses rows to the other."""
    loader = dataset(make_images(300)).batch(32, shuffle=True, seed=0, memory=SMALL)
    pairs = list(zip(loader, loader, strict=True))
    for side in (0, 1):
        rows = np.concatenate([pair[side][1][1] for pair in pairs])
        assert sorted(rows.tolist()) == list(range(300))
    assert not np.array_equal(pairs[0][0][1][1], pairs[0][1][1][1])


def test_a_stop_iteration_in_a_map_function_is_an_error(make_images):
    """It would look like the end of the data."""

    def stop(x, y):
        raise StopIteration

    with pytest.raises(hr.errors.DataError, match="StopIteration"):
        list(dataset(make_images(100)).map(stop).batch(32))


def test_running_out_of_memory_in_a_thread_is_an_error_not_a_hang(make_images, monkeypatch):
    """An allocation that fails where batches are begun."""
    from headrace.loading.prefetch.memory import BatchMemory

    def fail(self, rows):
        raise MemoryError("no room")

    monkeypatch.setattr(BatchMemory, "take", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(dataset(make_images(100)).batch(32))
    assert threads() == []


COLLECT = """
import sys, threading, time, warnings
warnings.simplefilter("ignore")
import headrace as hr
loader = hr.from_hdf5(sys.argv[1], x="image").batch(4, shuffle=True, memory=40_000, workers=4)
class Cycle:
    pass
deadline = time.monotonic() + 4
while time.monotonic() < deadline:
    cycle = Cycle()
    cycle.self, cycle.iterator = cycle, iter(loader)
    next(cycle.iterator)
    del cycle
    for batch in loader:
        pass
print("alive")
"""


def test_collection_at_any_moment_does_not_lock_up(make_images):
    """Iterators in cycles are collected while others count, wait and hand out."""
    command = [sys.executable, "-c", COLLECT, make_images(600).path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "alive\n"


def test_loops_in_two_threads_share_what_stays_in_memory(tmp_path):
    """Big-endian values are swapped in place: once."""
    path = tmp_path / "big.h5"
    values = np.arange(40_000, dtype=">i4").reshape(-1, 4)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(64, 4), compression="gzip")
    for _ in range(5):
        loader = hr.from_hdf5(path, x="x").batch(100, shuffle=False, memory="10MB", workers=2)
        with ThreadPoolExecutor(2) as pool:
            loops = list(pool.map(list, [loader, loader]))
        for loop in (*loops, list(loader)):
            batches = [x for (x,) in loop]
            assert np.array_equal(np.concatenate(batches), values)


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import headrace as hr
loader = hr.from_hdf5(sys.argv[1], x="image").batch(32, memory=40_000)
iterator = iter(loader)
next(iterator)
child = os.fork()
if child == 0:
    try:
        next(iterator)
    except hr.HeadraceError:
        os._exit(0 if len(list(loader)) == 32 else 2)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(list(iterator)))
"""


def test_an_iterator_from_before_a_fork_refuses_to_hang(make_images):
    """Its threads stayed in the parent, which goes on; a new iterator works in the child."""
    command = [sys.executable, "-c", FORK, make_images(1000).path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0", "31"]


@pytest.mark.parametrize("started", [0, 1, 3])
def test_a_thread_that_cannot_be_started_is_an_error_and_leaves_nothing(
    make_images, monkeypatch, started
):
    """The next loop finds the fields that stay in memory free to be filled."""
    loader = hr.from_hdf5(make_images().path, x="image", y="id").batch(32, workers=4)
    start, count = threading.Thread.start, itertools.count()

    def fail(thread):
        if next(count) == started:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        next(iter(loader))
    monkeypatch.undo()
    assert not threads()
    assert sorted(np.concatenate([y for _, y in loader])) == list(range(1000))


INTERRUPT = """
import os, signal, sys, threading, time
import headrace as hr
loader = hr.from_hdf5(sys.argv[1], x="image", y="id").batch(32, workers=4, memory="1MB")

def strike(delay):
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGINT)

for number in range(60):
    thread = threading.Thread(target=strike, args=(number * 5e-5,))
    try:
        thread.start()
        while True:
            for batch in loader:
                pass
    except KeyboardInterrupt:
        pass
    thread.join()
deadline = time.monotonic() + 10
while time.monotonic() < deadline:
    left = [t for t in threading.enumerate() if t.name.startswith("headrace")]
    if not left:
        break
    time.sleep(0.05)
print(len(left), sum(1 for batch in loader))
"""


def test_interrupts_at_any_moment_leave_no_threads(make_images):
    """Also while the threads are being started."""
    command = [sys.executable, "-c", INTERRUPT, str(make_images().path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["0", "32"]


FORK_WHILE_LOADING = """
import os, sys
import numpy as np
import headrace as hr
loader = hr.from_hdf5(sys.argv[1], x="image", y="id").batch(32, workers=2)
loader._cached._loading.acquire()  # as a thread does that fills it
child = os.fork()
if not child:
    rows = sorted(np.concatenate([y for _, y in loader]))
    os._exit(0 if rows == list(range(1000)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_while_others_fill_what_stays_in_memory(make_images):
    """The child fills it anew: nobody there goes on with it."""
    command = [sys.executable, "-c", FORK_WHILE_LOADING, str(make_images().path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0"]


def test_a_loader_does_not_pickle_and_says_what_does(make_images):
    loader = hr.from_hdf5(make_images().path, x="image").batch(32)
    with pytest.raises(TypeError, match=r"Pickle the data set, and call batch\(\)"):
        pickle.dumps(loader)
