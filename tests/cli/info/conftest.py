"""The command, and where a test writes its file."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.files import gzip, images, write


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where a test writes its file: in the current folder, so that commands are short."""
    monkeypatch.chdir(tmp_path)
    return Path("cats.h5")


@pytest.fixture
def cats(path):
    """Images and labels, in order of the labels: there is something to advise, and how to go on."""
    return write(path, image=gzip(images(2000)), label=np.repeat(np.arange(4), 500))


@pytest.fixture
def info(headrace):
    """Runs `headrace info --json` and gives the document."""

    def run(path, *arguments):
        code, out, _ = headrace("info", path, "--json", *arguments)
        assert code == 0
        return json.loads(out)

    return run


@pytest.fixture
def all_advice(info):
    """The advice on a file, in a list."""

    def run(path, *arguments):
        return info(path, *arguments)["advice"]

    return run


@pytest.fixture
def advice(all_advice):
    """The advice on a file, by kind."""

    def run(path, *arguments):
        return {one["kind"]: one for one in all_advice(path, *arguments)}

    return run
