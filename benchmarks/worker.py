"""One job in a fresh process: `python -m benchmarks.worker`, started by `process.run_job`.

Lines of JSON on stdin and stdout: the job comes in, signals go out and are
answered, the result goes out. What libraries print goes to stderr.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

Signal = Callable[[str], None]
"""Tells the parent where the job is, and waits for its word to go on.

"ready": everything is imported, the measurement may begin. "done": it has
ended; what follows is checks.
"""


def main() -> None:
    """Reads a job, does it, and writes its result."""
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
    """Enters a control group before anything is allocated, so that all of it counts."""
    if group:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))


if __name__ == "__main__":
    main()
