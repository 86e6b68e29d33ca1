"""Objects that give batches, read ahead by threads and by processes."""

import gc
import itertools
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

import penstock as ps
from penstock.errors import DataError, OptionError, ReadError
from penstock.loading.items import processes as pool
from tests import sequences
from tests.bad_input.refusal import refused

BOTH = pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])


def labels(loader):
    return [y.tolist() for _, y in loader]


@BOTH
def test_batches_come_in_order_each_once(processes):
    loader = ps.from_sequence(sequences.Slow(), workers=2, processes=processes)
    expected = [list(range(60))[i : i + 8] for i in range(0, 60, 8)]
    assert labels(loader) == expected
    assert labels(loader) == expected
    assert len(loader) == 8


def test_each_index_is_asked_for_once_an_epoch():
    items = sequences.Numbers()
    loader = ps.from_sequence(items, workers=3)
    for _ in range(3):
        list(loader)
    assert sorted(items.asked) == sorted([*range(8)] * 3)


def test_no_more_is_made_ahead_than_the_queue_holds():
    items = sequences.Numbers()
    stream = iter(ps.from_sequence(items, workers=2, max_queue_size=3))
    next(stream)
    deadline = time.monotonic() + 10
    while len(items.asked) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(items.asked) == 4
    assert not any(time.sleep(0.01) or len(items.asked) > 4 for _ in range(20))


@BOTH
def test_the_end_of_an_epoch_is_told_where_the_object_is_used(processes):
    """Its own shuffle then holds for the next epoch, in every copy."""
    items = sequences.Shuffled()
    loader = ps.from_sequence(items, workers=2, processes=processes, seed=3)
    epochs = [np.concatenate(labels(loader)).tolist() for _ in range(4)]
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert epochs[0] == list(range(60))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert items.ends == (0 if processes else 4)


def test_an_epoch_that_was_broken_off_has_an_end_as_well():
    items = sequences.Shuffled()
    loader = ps.from_sequence(items)
    next(iter(loader))
    assert items.ends == 0
    list(loader)
    assert items.ends == 2


def test_copies_that_went_different_ways_are_an_error():
    loader = ps.from_sequence(sequences.Apart(), workers=2, processes=True)
    with refused(OptionError, "copies of the object in different states"):
        list(loader)


@BOTH
def test_indices_can_be_shuffled(processes):
    loader = ps.from_sequence(sequences.Numbers(), processes=processes, shuffle=True, seed=0)
    first, second = labels(loader), labels(loader)
    assert sorted(first) == sorted(second) == sorted(labels(ps.from_sequence(sequences.Numbers())))
    assert first != second
    again = ps.from_sequence(sequences.Numbers(), workers=1, shuffle=True, seed=0)
    assert labels(again) == first


@BOTH
def test_samples_are_put_together(processes):
    options = {"processes": processes, "batch_size": 7}
    loader = ps.from_sequence(sequences.Samples(), shuffle=True, seed=0, **options)
    rows = [(x["x"], y) for x, y in loader]
    assert [len(y) for _, y in rows] == [7, 7, 7, 7, 2]
    assert sorted(np.concatenate([y for _, y in rows])) == list(range(30))
    assert all((x == y[:, None]).all() for x, y in rows)
    assert labels(ps.from_sequence(sequences.Samples(), **options))[0] == list(range(7))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [None, 7, 5000])
def test_no_item_of_many_is_lost_or_repeated(shuffle, size):
    options = {"shuffle": shuffle, "seed": 0, "batch_size": size, "workers": 1}
    loader = ps.from_sequence(sequences.Many(), **options)
    found = np.concatenate([x.ravel() for (x,) in loader]).tolist()
    assert (found == list(range(10_000))) is not shuffle
    assert sorted(found) == list(range(10_000))
    if shuffle:
        again = ps.from_sequence(sequences.Many(), **options)
        assert found == np.concatenate([x.ravel() for (x,) in again]).tolist()


def test_random_numbers_do_not_depend_on_the_number_of_processes():
    def noise(workers, seed):
        loader = ps.from_sequence(sequences.Noisy(), workers=workers, processes=True, seed=seed)
        return [[x.tolist() for x, _ in loader] for _ in range(2)]

    one = noise(1, 5)
    assert one == noise(3, 5)
    assert one[0] != one[1]
    assert one != noise(1, 6)
    assert len({str(batch) for batch in one[0]}) == 8


@BOTH
def test_an_error_arrives_in_its_place_with_the_batch_and_the_traceback(processes):
    loader = ps.from_sequence(sequences.Failing(), workers=2, processes=processes)
    stream = iter(loader)
    for _ in range(3):
        next(stream)
    with pytest.raises(KeyError, match="the third") as caught:
        next(stream)
    notes = "\n".join(caught.value.__notes__)
    assert "raised while batch 3 was made" in notes
    if processes:
        assert "in a worker process" in notes
        assert "sequences.py" in notes


def test_errors_that_do_not_pickle_arrive_as_text():
    loader = ps.from_sequence(sequences.FailingBadly(), processes=True)
    with pytest.raises(ReadError, match="Unspeakable: a lock is in it"):
        list(loader)


@BOTH
def test_an_exit_is_an_error_not_a_hang(processes):
    loader = ps.from_sequence(sequences.Exiting(), workers=2, processes=processes)
    with pytest.raises((SystemExit, ReadError)):
        list(loader)


def test_a_killed_worker_is_an_error_within_a_second():
    loader = ps.from_sequence(sequences.Killed(), workers=2, processes=True)
    began = time.monotonic()
    with pytest.raises(ReadError, match=r"killed by SIGKILL while making batch 3\."):
        list(loader)
    assert time.monotonic() - began < 1
    with pytest.raises(ReadError, match="SIGKILL"):
        list(loader)


def test_a_worker_killed_while_it_waits_is_an_error():
    loader = ps.from_sequence(sequences.Numbers(), workers=2, processes=True)
    assert len(labels(loader)) == 8
    victim = loader._pool._workers[0].process
    victim.kill()
    victim.join()
    with pytest.raises(ReadError, match="SIGKILL"):
        list(itertools.chain.from_iterable(loader for _ in range(100)))


def test_an_object_that_cannot_be_made_in_a_worker_is_an_error():
    with pytest.raises(RuntimeError, match="no second one"):
        ps.from_sequence(sequences.Unmakeable(), processes=True)


def test_an_object_that_does_not_pickle_is_refused_with_advice():
    items = sequences.Numbers()
    items.lock = threading.Lock()
    with refused(OptionError, "does not pickle", "leave processes=True out"):
        ps.from_sequence(items, processes=True)
    assert len(labels(ps.from_sequence(items))) == 8


def test_large_batches_come_through_shared_memory_and_stay_as_they_are():
    loader = ps.from_sequence(sequences.Large(), workers=2, processes=True, max_queue_size=3)
    kept = list(loader) + list(loader)
    for index, (x, y) in enumerate(kept):
        assert (x["a"] == index % 12).all()
        assert x["a"].nbytes == (1 << 20) * (1 + (index % 3 == 2))
        assert x["b"].tolist() == [0, 1, 2, 3]
        assert y.tolist() == [1, 2, 3, 4]
    assert loader._pool._all


def test_without_shared_memory_batches_come_through_pipes(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = blocks()
    loader = ps.from_sequence(sequences.Large(), workers=1, processes=True, max_queue_size=2)
    with pytest.warns(UserWarning, match=r"no shared memory .*--shm-size"):
        batches = list(loader)
    assert all((x["a"] == index).all() for index, (x, _) in enumerate(batches))
    assert blocks() <= before


def blocks():
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


@pytest.mark.parametrize("how", ["dropped", "closed", "broken off", "busy"])
def test_workers_and_their_memory_are_gone_when_the_loader_is(how):
    before = blocks()
    items = sequences.Hurried() if how == "busy" else sequences.Large()
    loader = ps.from_sequence(items, workers=2, processes=True)
    workers = [psutil.Process(one.process.pid) for one in loader._pool._workers]
    stream = iter(loader)
    next(stream)
    if how == "closed":
        loader.close()
        with pytest.raises(ReadError, match="closed"):
            list(stream)
    receiver = loader._pool._thread
    del stream, loader
    gc.collect()
    receiver.join(10)
    assert not psutil.wait_procs(workers, 10)[1]
    assert blocks() <= before


SCRIPT = """
import penstock as ps
from tests.sequences import Large
loader = ps.from_sequence(Large(), workers=2, processes=True)
print(sum(len(y) for _, y in loader), flush=True)
"""
ROOT = Path(__file__).parents[1]


def environment():
    """In which a program elsewhere finds the package `tests`."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_program_without_a_main_guard_is_told_what_to_do(tmp_path):
    """Its workers run it once more."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr.strip().splitlines()[-1]


def test_a_program_that_is_killed_leaves_no_workers_and_no_memory(tmp_path):
    before = blocks()
    script = tmp_path / "script.py"
    lines = "\n".join("    " + line for line in SCRIPT.strip().splitlines()[2:])
    script.write_text(
        "import os, penstock as ps\nfrom tests.sequences import Large\n"
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
    assert blocks() <= before


@pytest.mark.parametrize(
    "made, words",
    [
        ((1, 2, 3, 4), "a tuple of 4"),
        ((np.ones(3), np.ones(2)), r"shapes \(3,\), \(2,\)"),
        (np.float32(3), r"shapes \(\)"),
        (np.array(["a", None]), "Python objects"),
        ((np.ones(3), {"a": ["x", None]}), "no array|Python objects"),
        ([], "tuple of 0|list of 0"),
    ],
)
def test_what_is_no_batch_is_an_error_that_names_it(made, words):
    class Bad(sequences.Numbers):
        def __getitem__(self, index):
            return made if index == 2 else super().__getitem__(index)

    with pytest.raises(DataError, match=f"batch 2.*({words})"):
        list(ps.from_sequence(Bad()))


@pytest.mark.parametrize(
    "made, expected",
    [
        (np.ones((2, 3)), "x"),
        ({"a": np.ones(2)}, "x"),
        ((np.ones(2), np.ones(2)), "xy"),
        ([np.ones(2), np.ones(2)], "xy"),
        ((np.ones(2), [0, 1], None), "xy"),
        (([np.ones(2), np.ones(2)], {"y": np.ones(2)}, np.ones(2)), "xyw"),
    ],
)
def test_batches_of_all_structures(made, expected):
    class Made(sequences.Numbers):
        def __getitem__(self, index):
            return made

    (batch, *_) = ps.from_sequence(Made())
    assert len(batch) == len(expected)


@pytest.mark.parametrize(
    "items, options, words",
    [
        ((number for number in range(3)), {}, "one batch after the other"),
        (3, {}, "has no __len__"),
        ([], {}, "length 0"),
        (sequences.Numbers(), {"workers": 0}, "workers"),
        (sequences.Numbers(), {"max_queue_size": 0}, "max_queue_size"),
        (sequences.Numbers(), {"processes": 2}, "processes"),
        (sequences.Numbers(), {"shuffle": "batch"}, "shuffle"),
        (sequences.Numbers(), {"batch_size": 0}, "batch_size"),
    ],
)
def test_what_cannot_be_meant_is_refused(items, options, words):
    with refused(OptionError, words):
        ps.from_sequence(items, **options)


def test_a_look_at_batches_and_a_loop_do_not_disturb_each_other():
    loader = ps.from_sequence(sequences.Numbers())
    stream = iter(loader)
    next(stream)
    assert loader[-1][1].tolist() == [56, 57, 58, 59]
    with pytest.raises(IndexError, match="batch 8"):
        loader[8]
    assert len(list(stream)) == 7


def test_threads_end_with_the_loop():
    loader = ps.from_sequence(sequences.Numbers(), workers=2)
    for _ in loader:
        break
    gc.collect()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [t for t in threading.enumerate() if t.name.startswith("penstock-items")]
        if not left:
            break
        time.sleep(0.01)
    assert not left


def test_the_object_is_pickled_once(monkeypatch):
    pickled = []
    right = pickle.dumps

    def count(value, *arguments, **options):
        pickled.append(type(value))
        return right(value, *arguments, **options)

    monkeypatch.setattr(pool.pickle, "dumps", count)
    loader = ps.from_sequence(sequences.Numbers(), workers=3, processes=True)
    list(loader)
    list(loader)
    assert pickled.count(sequences.Numbers) == 1


# What a review found.


def test_an_object_may_fill_one_array_again_and_again():
    for workers in (1, 1):
        found = [x.max() for (x,) in ps.from_sequence(sequences.Refilling(), workers=workers)]
        assert found == list(range(8))


def test_fresh_arrays_are_handed_on_without_a_copy():
    made = []

    class Fresh(sequences.Numbers):
        def __getitem__(self, index):
            x = np.zeros((4, 4))
            made.append(x.ctypes.data)
            return x

    handed = [x.ctypes.data for (x,) in ps.from_sequence(Fresh(), workers=1, max_queue_size=1)]
    assert handed == made


@BOTH
def test_a_stop_iteration_is_an_error_and_no_end(processes):
    with refused(DataError, "Item 3 of batch 3 raised StopIteration"):
        list(ps.from_sequence(sequences.Stopping(), workers=1, processes=processes))


def test_samples_of_two_numbers_are_x_and_y():
    x, y = next(iter(ps.from_sequence(sequences.Scalars(), batch_size=4)))
    assert x.tolist() == [0, 1, 2, 3]
    assert y.tolist() == [0, 10, 20, 30]


def test_the_item_that_failed_is_named():
    class Broken(sequences.Samples):
        def __getitem__(self, index):
            return {}[index] if index == 12 else super().__getitem__(index)

    with pytest.raises(KeyError) as caught:
        list(ps.from_sequence(Broken(), batch_size=5, workers=1))
    assert "batch 2 was made, from item 12" in caught.value.__notes__[0]


@BOTH
def test_the_beginning_of_an_epoch_is_told_where_the_object_is_used(processes):
    loader = ps.from_sequence(sequences.Opening(), workers=1, processes=processes)
    loader.peek()
    for epoch in (1, 2):
        assert {label for y in labels(loader) for label in y} == {epoch}


def test_an_epoch_that_was_only_begun_ahead_has_no_end():
    items = sequences.Shuffled()
    loader = ps.from_sequence(items, workers=1)
    stream = loader.stream(epochs=None)
    for _ in range(8):
        next(stream)
    del stream
    list(loader)
    assert items.ends == 2


def test_no_more_is_made_than_will_be_taken():
    items = sequences.Shuffled()
    stream = ps.from_sequence(items, workers=1).stream(epochs=None, most=10)
    for _ in range(10):
        next(stream)
    stream.close()
    assert len(items.asked) == 10


def test_the_epoch_asked_for_comes_also_after_one_that_was_broken_off():
    def loader():
        return ps.from_sequence(sequences.Numbers(), shuffle=True, seed=0)

    broken, whole = loader(), loader()
    next(iter(broken))
    for one in (broken, whole):
        one.go_to_epoch(5)
    assert labels(broken) == labels(whole)


def test_an_epoch_ends_while_nothing_is_being_made():
    class Watching(sequences.Numbers):
        inside = meanwhile = 0

        def __getitem__(self, index):
            self.inside += 1
            started.set()
            go_on.wait(10)
            self.inside -= 1
            return super().__getitem__(index)

        def on_epoch_end(self):
            self.meanwhile += self.inside

    started, go_on = threading.Event(), threading.Event()
    items = Watching()
    loader = ps.from_sequence(items, workers=2)
    go_on.set()
    stream = iter(loader)
    next(stream)
    started.clear()
    go_on.clear()
    next_one = threading.Thread(target=lambda: list(loader))
    started.wait(10)
    stream.close()
    next_one.start()
    go_on.set()
    next_one.join(60)
    assert items.meanwhile == 0
    assert loader._epoch == 2


def test_a_loop_that_another_one_overtook_is_an_error_if_orders_would_mix():
    plain = ps.from_sequence(sequences.Numbers())
    first, second = iter(plain), iter(plain)
    assert [y.tolist() for pair in zip(first, second, strict=True) for _, y in pair[:1]] == labels(
        plain
    )
    items = sequences.Shuffled()
    loader = ps.from_sequence(items)
    first, second = iter(loader), iter(loader)
    next(first)
    next(second)
    with refused(OptionError, "Another loop over this loader"):
        next(first)
    assert len(list(second)) == 7
    assert items.ends == 2


def test_an_object_that_is_empty_now_is_an_error():
    class Emptied(sequences.Numbers):
        def __len__(self):
            return 0 if self.ended else 8

        def on_epoch_end(self):
            self.ended = True

        ended = False

    loader = ps.from_sequence(Emptied())
    assert len(list(loader)) == 8
    with refused(DataError, "has length 0 now"):
        list(loader)


def test_notes_of_copies_may_differ():
    loader = ps.from_sequence(sequences.Noting(), workers=2, processes=True)
    assert labels(loader) == labels(loader)


@pytest.mark.parametrize("workers", [1, 2])
def test_long_requests_and_many_of_them_do_not_block_each_other(workers):
    """Ten times what a pipe holds."""
    options = {"batch_size": 4000, "workers": workers, "max_queue_size": 50}
    loader = ps.from_sequence(sequences.Long(), processes=True, **options)
    found = np.concatenate([x.ravel() for (x,) in loader])
    assert (found == np.arange(400_000)).all()


def test_memory_of_batches_that_grow_is_let_go_of():
    sizes = [size for k in range(1, 25) for size in (k << 18, 100)]
    before = blocks()
    loader = ps.from_sequence(sequences.Growing(sizes), workers=1, processes=True)
    for index, (x,) in enumerate(loader):
        assert len(x) == sizes[index]
        assert (x == index % 251).all()
    worker = psutil.Process(loader._pool._workers[0].process.pid)
    mapped = {m.path for m in worker.memory_maps() if "psm_" in m.path}
    assert len(mapped) <= 12
    loader.close()
    assert blocks() <= before


def test_a_forked_process_is_told_that_the_workers_are_not_its_own():
    loader = ps.from_sequence(sequences.Numbers(), workers=1, processes=True)
    child = os.fork()
    if not child:
        try:
            list(loader)
        except ReadError as error:
            os._exit(0 if "Make a loader in this one" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(loader)) == 8


def test_errors_that_cannot_be_made_again_say_what_they_said():
    with refused(ReadError, "Demanding: this and that", "making batch 0"):
        list(ps.from_sequence(sequences.FailingTwice(), workers=1, processes=True))


SLEEPER = """
import psutil, sys
import penstock as ps
from tests.sequences import Sleeping
if __name__ == "__main__":
    loader = ps.from_sequence(Sleeping(), workers=2, processes={processes})
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
        "import penstock as ps\n"
        "class A:\n    __len__ = lambda self: 3\n    __getitem__ = lambda self, i: i\n"
        "ps.from_sequence(A(), processes=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Put the class into a file" in done.stderr.strip().splitlines()[-1]
    done = subprocess.run([sys.executable], input=code, capture_output=True, text=True)
    assert "Put the class into a file" in done.stderr.strip().splitlines()[-1]


def test_what_has_a_data_set_is_told_to_hand_it_over():
    class Loader:
        dataset = sequences.Samples()

        def __iter__(self):
            return iter(())

    with refused(OptionError, "from_sequence(loader.dataset, batch_size="):
        ps.from_sequence(Loader())
