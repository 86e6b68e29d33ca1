"""What the tests of the benchmarks share."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def run_benchmarks():
    """Runs `python -m benchmarks` with arguments; it must succeed."""

    def run(*arguments):
        command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    return run
