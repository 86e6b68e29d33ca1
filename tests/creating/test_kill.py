"""A writer that is killed, at any moment, loses at most what it had not flushed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import numpy as np
import pytest

import headrace as hr
from headrace.errors import DataError
from headrace.staging import staging_folder
from tests.creating.helpers import FIELDS, check_file, names_in, samples

KILLS = 25
ROWS = 4000
FEW_ROWS = 100

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@contextmanager
def victims():
    """A process that has children to kill."""
    command = [sys.executable, "-m", "tests.creating.victim"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        yield process
        process.stdin.close()
    assert process.returncode == 0


def let_it_write(process, lines, **job):
    """Has a child write, and kills it after so many lines.

    Returns:
        The number of rows that are safe, what the child said, and the signal that ended it.
    """
    print(json.dumps(job), file=process.stdin, flush=True)
    safe, seen, child = 0, [], None
    for line in process.stdout:
        word, number = line.split()
        if word == "ended":
            return safe, seen, os.WTERMSIG(int(number))
        if word == "process":
            child = int(number)
        else:
            seen.append(word)
        if word in ("safe", "closed"):
            safe = int(number)
        if child is not None and len(seen) >= lines:
            os.kill(child, signal.SIGKILL)
            child = None
    raise AssertionError("the process that has victims has ended")


def rows_left(path, length, folder):
    """How many rows somebody who goes on finds, all of them right; tried out in another folder."""
    folder.mkdir()
    copy = folder / path.name
    shutil.copytree(staging_folder(path), staging_folder(copy))
    with hr.create(copy, FIELDS, length, resume=True) as writer:
        found = len(writer)
        if not found:
            writer.write(samples(0, 1))
        elif length is not None:
            gaps = list(writer["image"].missing())
            assert gaps == [range(found, length)] * (found < length)
            writer.write(samples(found, length - found))
    rows = (found or 1) if length is None else length
    image, label = samples(0, rows)
    check_file(copy, {"image": image, "label": label})
    shutil.rmtree(folder)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("length", [None, ROWS], ids=["growing", "fixed"])
def test_a_kill_at_any_moment_loses_at_most_what_was_not_flushed(tmp_path, length):
    """25 times for each kind of file; what is published at the end is right.

    Until then an old file lies at its place, as it was.
    """
    rng = np.random.default_rng(ROWS if length else 0)
    path = tmp_path / "a.h5"
    path.write_text("old")
    job = {"path": str(path), "length": length, "rows": ROWS}
    found = 0
    with victims() as process:
        for _ in range(KILLS):
            job |= {"seed": int(rng.integers(1 << 30)), "seconds": float(rng.choice([0.001, 5]))}
            safe, seen, end = let_it_write(process, int(rng.integers(1, 30)), **job)
            assert (end, path.read_bytes()) == (signal.SIGKILL, b"old")
            least = max(safe, found)
            found = rows_left(path, length, tmp_path / "copy")
            assert found >= least, seen
        safe, _, end = let_it_write(process, 10**9, close=True, **job)
    assert (safe, end) == (ROWS, 0)
    image, label = samples(0, ROWS)
    check_file(path, {"image": image, "label": label})
    assert names_in(tmp_path) == ["a.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("length", [None, FEW_ROWS], ids=["growing", "fixed"])
def test_a_kill_while_a_file_is_closed_loses_nothing(tmp_path, length):
    """There is the old file or the new one, and all rows in any case.

    Killed at one call of the system after the other; the further it comes, the fewer are tried.
    """
    path = tmp_path / "a.h5"
    image, label = samples(0, FEW_ROWS)
    job = {"path": str(path), "length": length, "rows": FEW_ROWS, "seconds": 5, "close": True}
    ends = {"old": 0, "new": 0}
    step, end = 1, None
    with victims() as process:
        while end != 0:
            path.write_text("old")
            _, _, end = let_it_write(process, 10**9, **job, seed=step, die_at=step)
            there = "old" if path.read_bytes() == b"old" else "new"
            ends[there] += 1
            if there == "old":
                assert end == signal.SIGKILL
                with hr.create(path, FIELDS, length, overwrite=True, resume=True) as writer:
                    assert len(writer) == FEW_ROWS
            check_file(path, {"image": image, "label": label})
            # Rows that were published are not said to be left.
            path.unlink()
            with suppress(DataError), hr.create(path, FIELDS, length):
                pass
            assert names_in(tmp_path) == []
            step += 1 + step // 12
    assert ends["old"] > 10
    assert ends["new"] > 1


FORKED = """
import os, signal, sys
import headrace as hr
from headrace.errors import DataError

writer = hr.create(sys.argv[1], {"a": "i4"})
writer.write([1, 2])
writer.flush()
if not os.fork():
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
signal.pause()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_killed_process_does_not_keep_a_file_locked(tmp_path):
    """It may be a worker that lives on."""
    command = [sys.executable, "-W", "ignore", "-c", FORKED, tmp_path / "a.h5"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "forked\n"
        process.kill()
        process.wait()
        with hr.create(tmp_path / "a.h5", {"a": "i4"}, resume=True) as writer:
            assert len(writer) == 2
    assert hr.open(tmp_path / "a.h5")[:][0].tolist() == [1, 2]
