"""What tests of sources share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.files import write
from tests.sources.storage import IMAGES, STORAGE

SECONDS = 20
"""Far more than looking at any hostile file takes; a machine that runs tests may be slow."""


@pytest.fixture(params=STORAGE)
def stored(request, path):
    """A file of `IMAGES` in each form, written long ago."""
    write(path, image={"data": IMAGES, **STORAGE[request.param]})
    # No later writing has the same time.
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.fixture(scope="module")
def process():
    """A process with little memory, started again if it dies."""
    running = []

    def start():
        root = Path(__file__).parents[2]
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.sources.hostile"],
                cwd=root,
                env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def ask(path):
        if not running or running[-1].poll() is not None:
            start()
        running[-1].stdin.write(f"{path}\n")
        running[-1].stdin.flush()
        line = running[-1].stdout.readline()
        assert line, f"the process died: {running[-1].wait()}"
        return json.loads(line)

    yield ask
    for one in running:
        one.kill()
        one.communicate()


@pytest.fixture
def look(process, path):
    """What becomes of the dataset `x` of the file, within bounds of time and memory."""

    def run(most_bytes=300_000_000):
        found = process(path)
        assert found.pop("seconds") < SECONDS, found
        assert found.pop("bytes") < most_bytes, found
        return found

    return run
