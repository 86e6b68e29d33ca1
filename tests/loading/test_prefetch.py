"""Threads end when they should: Ctrl-C, the end of the program, garbage, slow and failing work."""

import gc
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import headrace as hr
from tests.loading.helpers import SMALL, threads

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


def loader_of(images, fn=None, **options):
    data = hr.from_hdf5(images.path, x="image", y="id")
    if fn:
        data = data.map(fn)
    return data.batch(16, **{"shuffle": True, "seed": 0, "memory": SMALL, **options})


SCRIPT = """
import sys, threading, time, warnings
warnings.simplefilter("ignore")
import headrace as hr
from tests.loading.helpers import SMALL, threads
def slow(x, y):
    time.sleep(0.02)
    return x, y
loader = hr.from_hdf5(sys.argv[1], x="image", y="id").map(slow).batch(4, memory=40_000)
iterator = iter(loader)
next(iterator)
{rest}
"""

WAIT = """
try:
    print("started", flush=True)
    for _ in iterator:
        pass
    time.sleep(600)
except KeyboardInterrupt:
    del iterator
    print(sum(t.name.startswith("headrace") for t in threading.enumerate()))
"""


def start(images, rest):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(rest=rest), images.path],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_arrives_while_waiting_for_data(make_images):
    """As KeyboardInterrupt in the loop, and the threads end."""
    with start(make_images(4000), WAIT) as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert out == "0\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    "rest", ["", "sys.exit(3)", "raise SystemExit(3)", "import gc; gc.disable()"]
)
def test_a_program_may_end_with_an_iterator_under_way(make_images, rest):
    """It ends at once and with its own exit code."""
    with start(make_images(4000), rest) as process:
        process.communicate(timeout=20)
    assert process.returncode == (3 if "3" in rest else 0)


def test_garbage_in_a_cycle_ends_the_threads(make_images):
    """An iterator that refers to itself is found by the collector."""
    iterator = iter(loader_of(make_images(2000)))
    next(iterator)
    iterator.cycle = iterator
    del iterator
    gc.collect()
    for thread in threads():
        thread.join(10)
    assert threads() == []


def test_collection_in_a_worker_thread_does_not_lock_up(make_images):
    """The collector may run anywhere, also in a thread of the iterator that it ends."""
    images = make_images(2000)
    freed = threading.Event()

    def collect(x, y):
        gc.collect()
        freed.set()
        return x, y

    gc.collect()
    gc.freeze()  # what other tests left takes the collector long
    try:
        for _ in range(20):
            iterator = iter(loader_of(images, collect))
            next(iterator)
            iterator.cycle = iterator
            del iterator
        assert freed.wait(10)
    finally:
        gc.unfreeze()
    deadline = time.monotonic() + 10
    while threads() and time.monotonic() < deadline:
        # A collection that is under way in another thread makes this one do nothing.
        gc.collect()
        for thread in threads():
            thread.join(0.05)
    assert threads() == []


def test_read_ahead_is_bounded(make_images):
    """A consumer that stops asking: only so many batches are made."""
    made = []
    quiet = threading.Event()

    def count(x, y):
        made.append(len(x))
        if len(made) == 2:
            quiet.set()
        return x, y

    loader = loader_of(make_images(5000), count, workers=2)
    iterator = iter(loader)
    next(iterator)
    assert quiet.wait(10)
    for t in threads():
        t.join(0.3)  # they would be busy still, were nothing to stop them
    assert len(made) * 16 * 56 <= SMALL
    next(iterator)


def test_map_runs_in_several_threads_at_a_time(make_images):
    """Two batches meet at a barrier, which one thread alone would never pass."""
    barrier = threading.Barrier(2, timeout=20)
    names = set()

    def meet(x, y):
        names.add(threading.current_thread().name)
        if len(names) < 2 or barrier.n_waiting:
            barrier.wait()
        return x, y

    list(loader_of(make_images(64), meet, workers=2, memory="10MB"))
    assert len(names) == 2


def test_batches_leave_in_order_however_long_each_takes(make_images):
    """Work of random length, eight threads: the same epoch as without threads."""
    rng = np.random.default_rng(0)
    waits = dict(enumerate(rng.random(200) * 0.004))

    def dawdle(x, y):
        time.sleep(waits[int(y[0]) % 200])
        return x, y

    images = make_images(1500)
    slow = [y.tolist() for _, y in loader_of(images, dawdle, workers=8, memory="1MB")]
    plain = [y.tolist() for _, y in loader_of(images, workers=1, memory="1MB")]
    assert slow == plain
