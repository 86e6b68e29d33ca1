"""Runs one job: `python -m benchmarks.worker`, started by `process.run_job`.

The protocol is lines of JSON. The job arrives on stdin; signals and the result go to stdout, and
the parent answers each signal with a line on stdin. The output of libraries goes to stderr.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

Signal = Callable[[str], None]
"""Sends a signal to the parent, and waits for its answer.

"ready": everything is imported, and the measurement may begin. "done": the measurement has ended,
and the checks follow.
"""


def main() -> None:
    """Reads a job, runs it, and writes its result."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    message = json.loads(sys.stdin.readline())
    _join_group(message["group"])

    from benchmarks import machine

    machine.pin()

    def signal(state: str) -> None:
        print(json.dumps(state), file=channel, flush=True)
        sys.stdin.readline()

    task = import_module(f"benchmarks.{message['task']}").run
    result = task(message["job"], signal)
    print(json.dumps(result), file=channel, flush=True)


def _join_group(group: str | None) -> None:
    """Enters a control group before memory is allocated, so that the group counts all of it."""
    if group:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))


if __name__ == "__main__":
    main()
