"""A small file, and functions to run `headrace` in this process or in one of its own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import h5py
import numpy as np
import pytest

from headrace.cli import main


@pytest.fixture
def file(tmp_path):
    """400 images of 8x8 in four classes, told apart by the bright corner, in gzip chunks."""
    rng = np.random.default_rng(0)
    label = rng.integers(4, size=400)
    image = rng.integers(60, size=(400, 8, 8))
    for i, (down, right) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        image[label == i, down : down + 4, right : right + 4] += 120
    path = tmp_path / "corners.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("image", data=image.astype("uint8"), chunks=(16, 8, 8), compression="gzip")
        f["label"] = label.astype("uint8")
        f["weight"] = np.ones(400, "float32")
        f["vector"] = image.reshape(400, 64).astype("float32")
        f["target"] = image.mean(axis=(1, 2))
        f["text"] = np.array(["text"] * 400, dtype=object)
    return path


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Lines are as wide as in a pipe, wherever the tests run."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def headrace(capsys):
    """Runs the command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def process():
    """Runs the installed command in a process of its own."""

    def run(*arguments, **options):
        return subprocess.run(
            [command(), *map(str, arguments)], capture_output=True, text=True, **options
        )

    return run


def command():
    """The installed console script."""
    suffix = ".exe" if sys.platform == "win32" else ""
    return str(Path(sysconfig.get_path("scripts")) / f"headrace{suffix}")
