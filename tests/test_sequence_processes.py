"""Worker processes that make batches: what they send, and what becomes of them."""

import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import headrace as hr
from headrace.errors import OptionError, ProcessesError, ReadError
from headrace.loading.items import process_pool as pool
from tests import sequences
from tests.bad_input.refusal import refused


def test_copies_that_went_different_ways_are_an_error():
    loader = hr.from_sequence(sequences.Apart(), workers=2, processes=True)
    with refused(OptionError, "copies of the object in different states"):
        list(loader)


def test_processes_of_copies_that_differ_end_with_their_loader():
    """The error that stopped the pool does not keep the loader alive."""
    loader = hr.from_sequence(sequences.Apart(), workers=2, processes=True)
    workers = [one.thread for one in loader._processes.supervisors]
    for _ in range(2):
        with pytest.raises(OptionError, match="copies of the object in different states"):
            list(loader)
    del loader
    deadline = time.monotonic() + 60
    while any(thread.is_alive() for thread in workers) and time.monotonic() < deadline:
        gc.collect()  # the frames of the error are in a cycle
        workers[0].join(0.05)
    assert [thread for thread in workers if thread.is_alive()] == []


def test_random_numbers_do_not_depend_on_the_number_of_processes():
    def noise(workers, seed):
        loader = hr.from_sequence(sequences.Noisy(), workers=workers, processes=True, seed=seed)
        return [[x.tolist() for x, _ in loader] for _ in range(2)]

    one = noise(1, 5)
    assert one == noise(3, 5)
    assert one[0] != one[1]
    assert one != noise(1, 6)
    assert len({str(batch) for batch in one[0]}) == 8


def test_errors_that_do_not_pickle_arrive_as_text():
    loader = hr.from_sequence(sequences.FailingBadly(), processes=True)
    with pytest.raises(ReadError, match="Unspeakable: a lock is in it"):
        list(loader)


def test_an_object_that_cannot_be_made_in_a_worker_is_an_error():
    with pytest.raises(RuntimeError, match="no second one"):
        hr.from_sequence(sequences.Unmakeable(), processes=True)


def test_an_object_that_does_not_pickle_is_refused_with_advice():
    items = sequences.Numbers()
    items.lock = threading.Lock()
    with refused(ProcessesError, "does not pickle", "attribute 'lock'", "leave processes=True out"):
        hr.from_sequence(items, processes=True)
    assert len(sequences.labels(hr.from_sequence(items))) == 8


def test_large_batches_come_through_shared_memory_and_stay_as_they_are():
    loader = hr.from_sequence(sequences.Large(), workers=2, processes=True, max_queue_size=3)
    kept = list(loader) + list(loader)
    for index, (x, y) in enumerate(kept):
        assert (x["a"] == index % 12).all()
        assert x["a"].nbytes == (1 << 20) * (1 + (index % 3 == 2))
        assert x["b"].tolist() == [0, 1, 2, 3]
        assert y.tolist() == [1, 2, 3, 4]
    assert any(one.block for one in loader._processes.supervisors)


def test_without_shared_memory_batches_come_through_pipes(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = blocks()
    loader = hr.from_sequence(sequences.Large(), workers=1, processes=True, max_queue_size=2)
    with pytest.warns(UserWarning, match=r"no shared memory .*--shm-size"):
        batches = list(loader)
    assert all((x["a"] == index).all() for index, (x, _) in enumerate(batches))
    assert blocks() <= before


def processes_of(loader):
    return [psutil.Process(one.process.process.pid) for one in loader._processes.supervisors]


def blocks(pid=None):
    """Names of blocks of shared memory that a process made; this one, if it is not given."""
    return {path.name for path in Path("/dev/shm").glob(f"headrace-{pid or os.getpid()}-*")}


@pytest.mark.parametrize("how", ["dropped", "closed", "broken off", "busy"])
def test_workers_and_their_memory_are_gone_when_the_loader_is(how):
    before = blocks()
    items = sequences.Hurried() if how == "busy" else sequences.Large()
    loader = hr.from_sequence(items, workers=2, processes=True)
    workers = processes_of(loader)
    stream = iter(loader)
    next(stream)
    if how == "closed":
        loader.close()
        with pytest.raises(ReadError, match="closed"):
            list(stream)
    threads = [one.thread for one in loader._processes.supervisors]
    del stream, loader
    gc.collect()
    for thread in threads:
        thread.join(10)
    assert not psutil.wait_procs(workers, 10)[1]
    assert blocks() <= before


SCRIPT = """
import headrace as hr
from tests.sequences import Large
loader = hr.from_sequence(Large(), workers=2, processes=True)
print(sum(len(y) for _, y in loader), flush=True)
"""
ROOT = Path(__file__).parents[1]


def environment():
    """In which a program elsewhere finds the package `tests`."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_program_that_is_killed_leaves_no_workers_and_no_memory(tmp_path):
    script = tmp_path / "script.py"
    lines = "\n".join("    " + line for line in SCRIPT.strip().splitlines()[2:])
    script.write_text(
        "import os, headrace as hr\nfrom tests.sequences import Large\n"
        f"if __name__ == '__main__':\n{lines}\n    os.kill(os.getpid(), 9)\n"
    )
    started = subprocess.Popen(
        [sys.executable, str(script)], env=environment(), stdout=subprocess.PIPE
    )
    process = psutil.Process(started.pid)
    assert started.stdout.readline() == b"48\n"
    children = process.children(recursive=True)
    started.communicate()
    assert not psutil.wait_procs(children, 10)[1]
    assert not blocks(started.pid)


def test_the_object_is_pickled_once(monkeypatch):
    pickled = []
    right = pickle.dumps

    def count(value, *arguments, **options):
        pickled.append(type(value))
        return right(value, *arguments, **options)

    monkeypatch.setattr(pool.pickle, "dumps", count)
    loader = hr.from_sequence(sequences.Numbers(), workers=3, processes=True)
    list(loader)
    list(loader)
    assert pickled.count(sequences.Numbers) == 1


def test_notes_of_copies_may_differ():
    loader = hr.from_sequence(sequences.Noting(), workers=2, processes=True)
    assert sequences.labels(loader) == sequences.labels(loader)


@pytest.mark.parametrize("workers", [1, 2])
def test_long_requests_and_many_of_them_do_not_block_each_other(workers):
    """Ten times what a pipe holds."""
    options = {"batch_size": 4000, "workers": workers, "max_queue_size": 50}
    loader = hr.from_sequence(sequences.Long(), processes=True, **options)
    found = np.concatenate([x.ravel() for (x,) in loader])
    assert (found == np.arange(400_000)).all()


def test_memory_of_batches_that_grow_is_let_go_of():
    sizes = [size for k in range(1, 25) for size in (k << 18, 100)]
    before = blocks()
    loader = hr.from_sequence(sequences.Growing(sizes), workers=1, processes=True)
    for index, (x,) in enumerate(loader):
        assert len(x) == sizes[index]
        assert (x == index % 251).all()
    (worker,) = processes_of(loader)
    assert len({m.path for m in worker.memory_maps() if "headrace-" in m.path}) == 1
    loader.close()
    assert blocks() <= before


FORKED = """
import os
import headrace as hr
from headrace.errors import ReadError
from tests.sequences import Numbers
if __name__ == "__main__":
    loader = hr.from_sequence(Numbers(), workers=1, processes=True)
    child = os.fork()
    if not child:
        try:
            list(loader)
        except ReadError as error:
            os._exit(0 if "Make a loader in this one" in str(error) else 2)
        os._exit(1)
    print(os.waitpid(child, 0)[1], len(list(loader)))
"""


def test_a_forked_process_is_told_that_the_workers_are_not_its_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(FORKED)
    done = subprocess.run(
        [sys.executable, str(script)], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["0", "8"], done.stderr


def test_errors_that_cannot_be_made_again_say_what_they_said():
    with refused(ReadError, "Demanding: this and that", "making batch 0"):
        list(hr.from_sequence(sequences.FailingTwice(), workers=1, processes=True))


SLEEPER = """
import psutil, sys
import headrace as hr
from tests.sequences import Sleeping
if __name__ == "__main__":
    loader = hr.from_sequence(Sleeping(), workers=2, processes={processes})
    stream = iter(loader)
    stream._begin()
    stream._fill()
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("processes", [False, True])
def test_a_program_that_ends_waits_for_no_batch(tmp_path, processes):
    """It is killed, or comes to its end, while its workers sleep for a minute."""
    script = tmp_path / "script.py"
    script.write_text(SLEEPER.format(processes=processes))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    program = subprocess.Popen([sys.executable, str(script)], env=environment(), **pipes)
    workers = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
    if processes:
        program.kill()
    program.communicate("go on\n", timeout=20)
    assert not psutil.wait_procs(workers, 20)[1]


def test_programs_without_a_file_are_told_what_processes_need():
    code = (
        "import headrace as hr\n"
        "class A:\n    __len__ = lambda self: 3\n    __getitem__ = lambda self, i: i\n"
        "hr.from_sequence(A(), processes=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Put the class into a file" in done.stderr.strip().splitlines()[-1]
    done = subprocess.run([sys.executable], input=code, capture_output=True, text=True)
    assert "Put the class into a file" in done.stderr.strip().splitlines()[-1]
