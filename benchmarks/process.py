"""Runs a job in a new process, and can sample its memory."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread, Timer
from typing import IO, Any

from benchmarks import machine

TIMEOUT = 1800
"""Seconds after which a job is killed."""

GRACE = 60
"""Seconds within which a process must end after it has sent its result."""

_SAMPLE_SECONDS = 0.005


class JobFailed(Exception):
    """A job ended without a result; the message is the last line of its output."""


class MemoryWatch:
    """Samples the memory of a process tree in a thread, until `stop` is called.

    Args:
        pid: The process at the root of the tree.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._baseline = self._peak = machine.tree_memory(pid)
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, int]:
        """Ends the sampling; returns the peaks minus the first sample, in bytes."""
        self._end.set()
        self._thread.join()
        self._sample()
        return {f"peak_{key}": self._peak[key] - self._baseline[key] for key in self._peak}

    def _run(self) -> None:
        while not self._end.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        now = machine.tree_memory(self._pid)
        self._peak = {key: max(now[key], self._peak[key]) for key in now}


def run_job(
    task: str,
    job: dict[str, Any],
    *,
    prepare: Callable[[], object] | None = None,
    group: Path | None = None,
    watch_memory: bool = False,
) -> dict[str, Any]:
    """Runs `benchmarks.<task>.run` in a new process and returns its result.

    Args:
        task: A module of this package.
        job: The first argument of the module's `run`.
        prepare: Called after the process has imported everything and before the measurement. Its
            return value is kept alive until the measurement ends.
        group: Folder of a control group that the process enters first.
        watch_memory: Add `peak_pss` and `peak_private` to the result, if they can be measured.

    Raises:
        JobFailed: If the process ends without a result, or takes longer than `TIMEOUT`.
    """
    message = {"task": task, "job": job, "group": str(group) if group else None}
    command = [sys.executable, "-m", "benchmarks.worker"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        timer = Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            result = _talk(process, message, prepare, watch_memory)
            process.wait(GRACE)
        finally:
            process.kill()
            process.wait()
            timer.cancel()
        if result is None:
            raise JobFailed(_reason(process.returncode, errors))
    return result


def _talk(
    process: subprocess.Popen[str],
    message: dict[str, Any],
    prepare: Callable[[], object] | None,
    watch_memory: bool,
) -> dict[str, Any] | None:
    stdin, stdout = process.stdin, process.stdout
    assert stdin
    assert stdout
    memory: dict[str, int] = {}
    watch = held = None
    with stdin, stdout:
        answer = _ask(stdin, stdout, json.dumps(message))
        if answer == "ready":
            if prepare:
                held = prepare()
            if watch_memory and machine.can_measure_memory():
                watch = MemoryWatch(process.pid)
            answer = _ask(stdin, stdout, "start")
        if watch:
            memory = watch.stop()
        if answer == "done":
            answer = _ask(stdin, stdout, "go on")
    del held
    return answer and {**answer, **memory}


def _ask(stdin: IO[str], stdout: IO[str], line: str) -> Any:
    """Sends a line and returns the answer; None if the process has ended."""
    try:
        print(line, file=stdin, flush=True)
    except BrokenPipeError:
        return None
    answer = stdout.readline()
    return json.loads(answer) if answer else None


def _reason(status: int, errors: IO[str]) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    last = lines[-1] if lines else "it printed nothing"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}: {last}"
