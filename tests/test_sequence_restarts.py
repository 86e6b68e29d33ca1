"""Worker processes that end or hang: what was being made is made again, or the error says why."""

import contextlib
import gc
import itertools
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest

import headrace as hr
from headrace.errors import BatchTimeoutError, OptionError, ReadError
from tests import misbehaving, sequences
from tests.bad_input.refusal import refused
from tests.test_sequence_processes import blocks, environment, processes_of

RESTARTED = pytest.mark.filterwarnings("ignore:A worker process .* was restarted")


def epochs_of(loader, count=3):
    return [[(x.tolist(), y.tolist()) for x, y in loader] for _ in range(count)]


def test_batches_of_processes_that_end_are_made_again_and_stay_the_same(tmp_path):
    """Order, content, random numbers, and the object's own shuffles; said once, and counted."""
    options = {"processes": True, "workers": 2, "seed": 3, "shuffle": True}
    expected = epochs_of(hr.from_sequence(misbehaving.Dying(tmp_path, {}), **options))
    ways = {1: "KILL", 2: "exit0", 3: "exit3", 4: "TERM", 6: "SEGV"}
    items = misbehaving.Dying(tmp_path, ways, epoch=2)
    loader = hr.from_sequence(items, **options)
    with pytest.warns(UserWarning, match=r"worker process .* while making batch \d") as said:
        found = epochs_of(loader)
    assert found == expected
    assert len(said) == 1
    assert "report() counts" in str(said[0].message)
    assert loader.report().restarts == 5
    assert "5 worker processes ended" in str(loader.report())
    assert loader.report().to_dict()["restarts"] == 5


def test_a_process_that_was_killed_while_it_waited_is_started_again():
    loader = hr.from_sequence(sequences.Shuffled(), workers=1, processes=True, seed=0)
    expected = epochs_of(hr.from_sequence(sequences.Shuffled(), workers=1, processes=True, seed=0))
    found = epochs_of(loader, 2)
    (victim,) = processes_of(loader)
    victim.kill()
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
    with pytest.warns(UserWarning, match=r"signal 9 \(SIGKILL.*while it had nothing to do"):
        found += epochs_of(loader, 1)
    assert found == expected
    assert loader.report().restarts == 1


@RESTARTED
def test_a_process_that_ends_while_an_epoch_ends_is_brought_to_the_same_order(tmp_path):
    options = {"processes": True, "workers": 2, "seed": 0}
    loader = hr.from_sequence(misbehaving.DyingBetween(tmp_path), **options)
    assert epochs_of(loader) == epochs_of(hr.from_sequence(sequences.Shuffled(), **options))
    assert loader.report().restarts == 1


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
import headrace as hr
from tests import misbehaving, sequences
from tests.test_sequence_restarts import epochs_of

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(sys.argv[1])
    options = {"processes": True, "workers": 1, "seed": 0}
    loader = hr.from_sequence(misbehaving.Interruptible(folder), **options)

    def interrupt():
        while not (folder / "waits").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        list(loader)
    except KeyboardInterrupt:
        print("interrupted")
    (folder / "go on").touch()
    undisturbed = epochs_of(hr.from_sequence(sequences.Shuffled(), **options))
    print(epochs_of(loader, 2) == undisturbed[1:])
"""


def test_an_end_of_an_epoch_that_was_interrupted_is_not_told_twice(tmp_path):
    """Ctrl-C while the processes reorder: they have done so once when the next loop begins."""
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["interrupted", "True"], done.stderr


@RESTARTED
@pytest.mark.parametrize(
    "way, retries, words",
    [
        ("KILL", 0, ["was killed by signal 9 (SIGKILL", "while making batch 3.", "fewer workers="]),
        ("exit3", 1, ["ended with exit code 3", "2 times in a row", "making batch 3", "raise an"]),
        ("BUS", 0, ["signal 7 (SIGBUS", "--shm-size"]),
        ("ABRT", 0, ["signal 6 (SIGABRT", "compiled library"]),
    ],
)
def test_a_batch_that_ends_its_process_again_and_again_is_an_error(tmp_path, way, retries, words):
    """It names the batch, the cause and the way out; the other batches can be had."""
    items = misbehaving.Dying(tmp_path, {3: way}, times=100)
    loader = hr.from_sequence(items, workers=1, processes=True, retries=retries)
    stream = iter(loader)
    assert [next(stream)[1][0] for _ in range(3)] == [0, 8, 16]
    with refused(ReadError, *words, f"retries={retries}"):
        next(stream)
    assert loader[4][1][0] == 32
    assert loader.report().restarts == retries


@RESTARTED
def test_a_crash_shows_where_the_process_stood(tmp_path):
    items = misbehaving.Dying(tmp_path, {3: "SEGV"}, times=9)
    loader = hr.from_sequence(items, workers=1, processes=True, retries=0)
    with pytest.raises(ReadError, match="SIGSEGV") as caught:
        list(loader)
    assert "misbehaving.py" in caught.value.__notes__[0]
    assert "in die" in caught.value.__notes__[0]


@RESTARTED
@pytest.mark.parametrize(
    "later, kind, words",
    [
        ("raise", RuntimeError, "cannot be made twice"),
        ("KILL", ReadError, "was killed by signal 9 .* 3 times in a row.* while starting"),
        ("exit1", ReadError, "ended with exit code 1 3 times in a row.* while starting"),
    ],
)
def test_a_process_that_cannot_be_started_again_is_an_error_and_no_loop(
    tmp_path, later, kind, words
):
    items = misbehaving.MadeOnce(tmp_path, later)
    loader = hr.from_sequence(items, workers=1, processes=True)
    with pytest.raises(kind, match=words):
        next(iter(loader))
    assert loader.report().restarts <= 2


@RESTARTED
def test_an_order_that_a_new_process_cannot_repeat_is_an_error(tmp_path):
    """It would hand out rows twice, and others never."""
    loader = hr.from_sequence(misbehaving.Drifting(tmp_path), workers=1, processes=True)
    assert len(list(loader)) == 8
    with refused(OptionError, "on_epoch_end() left", "started again", "uses nowhere else"):
        list(loader)


HANGS = ["wait", "compute", "hold_the_lock", "stop"]


@pytest.mark.parametrize("how", HANGS)
def test_a_process_that_hangs_is_found_out_and_shows_where_it_stands(how):
    """Whatever it waits for; it is killed, and another takes its place."""
    loader = hr.from_sequence(misbehaving.Hanging(how), workers=1, processes=True, timeout=1)
    (hung,) = processes_of(loader)
    with pytest.raises(BatchTimeoutError) as caught:
        loader[0]
    message = str(caught.value)
    assert message.startswith("Making batch 0 takes longer than 1 s. ")
    assert f"It stands in {how}(), " in message
    assert "longer timeout=" in message
    assert ("SIGSTOP" in message) is (how == "stop")
    assert f"in {how}" in caught.value.__notes__[0]
    assert isinstance(caught.value, TimeoutError)
    assert not psutil.wait_procs([hung], 20)[1]
    assert loader[1][1][0] == 8
    assert loader.report().restarts == 0


def test_an_end_of_an_epoch_that_hangs_is_found_out():
    loader = hr.from_sequence(misbehaving.HangingBetween(), workers=1, processes=True, timeout=1)
    with refused(BatchTimeoutError, "On_epoch_end takes longer than 1 s", "on_epoch_end()"):
        list(loader)


class Waits(sequences.Numbers):
    """Waits at batch 3 until it is let go."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()

    def __getitem__(self, index):
        if index == 3:
            self.go_on.wait()
        return super().__getitem__(index)


class WaitsAndShuffles(Waits):
    def on_epoch_end(self):
        pass


@pytest.mark.parametrize("kind", [Waits, WaitsAndShuffles])
def test_a_thread_that_hangs_is_found_out_and_left_behind(kind):
    """The batches before it come, the loop does not wait for it, and later loops say so as well."""
    items = kind()
    loader = hr.from_sequence(items, workers=2, timeout=1)
    try:
        stream = iter(loader)
        assert [next(stream)[1][0] for _ in range(3)] == [0, 8, 16]
        for _ in range(2):
            with pytest.raises(BatchTimeoutError, match=r"Making batch 3 .*getitem") as caught:
                next(stream)
            assert "self.go_on.wait()" in caught.value.__notes__[0]
            stream = itertools.chain.from_iterable([loader] * 2)
            if kind is Waits:
                assert [next(stream)[1][0] for _ in range(3)] == [0, 8, 16]
        with pytest.raises(BatchTimeoutError):
            loader[3]
    finally:
        items.go_on.set()
    assert len(list(loader)) == 8


def test_slow_batches_and_errors_of_their_own_are_no_hangs():
    """Each batch has its own time; a `TimeoutError` of the object is the object's."""

    class Own(sequences.Slow):
        def __getitem__(self, index):
            if index == 7:
                raise TimeoutError("its own")
            return super().__getitem__(index)

    with pytest.raises(TimeoutError, match="its own") as caught:
        list(hr.from_sequence(Own(), workers=1, timeout=60))
    assert not isinstance(caught.value, BatchTimeoutError)


@pytest.mark.parametrize(
    "options",
    [{"retries": -1}, {"retries": 1.5}, {"retries": True}]
    + [{"timeout": value} for value in (0, -1, float("nan"), float("inf"), "5", True)],
)
def test_limits_that_cannot_be_meant_are_refused(options):
    (name,) = options
    with refused(OptionError, f"Expected {name} to be"):
        hr.from_sequence(sequences.Numbers(), **options)


def open_things():
    """Descriptors, children, our threads and blocks of shared memory."""
    threads = {t for t in threading.enumerate() if t.name.startswith("headrace-worker")}
    descriptors = {path.name for path in Path("/proc/self/fd").iterdir()}
    children = set(psutil.Process().children())
    return {"threads": threads, "children": children, "blocks": blocks(), "fds": descriptors}


def left_since(before):
    """What there is now, and was not before; of descriptors, their number."""
    now = open_things()
    new = {kind: now[kind] - before[kind] for kind in ("threads", "children", "blocks")}
    return {**new, "fds": max(0, len(now["fds"]) - len(before["fds"]))}


@RESTARTED
def test_nothing_stays_after_each_failure(tmp_path):
    """No process, thread, descriptor or shared memory."""
    list(hr.from_sequence(sequences.Large(), workers=1, processes=True))  # starts what stays
    failing = [
        misbehaving.Raising(),
        misbehaving.Dying(tmp_path, {3: "KILL"}, times=9),
        misbehaving.Hanging("wait", at=3),
        sequences.Apart(),
    ]
    gc.collect()
    before = open_things()
    for items in failing:
        workers = 1 + isinstance(items, sequences.Apart)
        options = {"workers": workers, "retries": 1, "timeout": 1}
        loader = hr.from_sequence(items, processes=True, **options)
        with contextlib.suppress(Exception):  # other tests look at them
            for _ in range(2):
                list(loader)
        loader.close()
        assert not any(left_since(before).values()), left_since(before)
    with pytest.raises(RuntimeError, match="no second one"):
        hr.from_sequence(sequences.Unmakeable(), workers=2, processes=True)
    assert not any(left_since(before).values()), left_since(before)


def test_reports_of_threads():
    loader = hr.from_sequence(sequences.Numbers(), workers=2)
    list(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = loader.report()
    assert (report.samples, report.batches, report.epochs, report.restarts) == (60, 8, 1, 0)
    assert report.bytes == 60 * (3 * 4 + 8)
    assert "2 threads" in str(report)
    assert np.isfinite(report.samples_per_second)
    assert set(report.to_dict()) >= {"samples", "wait_share", "samples_per_second"}
