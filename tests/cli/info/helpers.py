"""Runs what `headrace info` advises, and compares the files; quick ways to write large ones."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np


def named(document):
    """The objects of a document by their names."""
    return {item["name"]: item for item in document["objects"]}


def run_in_shell(command):
    """Runs a command as a person would, and gives the file that it made."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    before = set(Path().iterdir())
    done = subprocess.run(
        ["bash", "-ec", command], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    [made] = set(Path().iterdir()) - before
    return made


def assert_same_data(one, other):
    """Every dataset and group of `one` is in `other`, with its values and attributes."""
    with h5py.File(one) as a, h5py.File(other) as b:
        names = []
        a.visit(names.append)
        for name in names:
            if isinstance(a[name], h5py.Dataset):
                assert a[name].dtype.kind == b[name].dtype.kind
                assert (a[name][...] == b[name][...]).all()
            assert attributes(a[name]).items() <= attributes(b[name]).items()
        assert attributes(a).items() <= attributes(b).items()


def attributes(item):
    return {name: str(np.asarray(value).tolist()) for name, value in item.attrs.items()}


def repeated(file, name, shape, chunks, level=1, data=None, **options):
    """A gzip dataset whose whole chunks of samples all hold the same values: quick to write."""
    made = file.create_dataset(
        name, shape, "u1", chunks=chunks, compression="gzip", compression_opts=level, **options
    )
    if data is None:
        data = np.zeros(chunks, np.uint8)
    raw = zlib.compress(data.tobytes(), level)
    for place in np.ndindex(*(-(-n // c) for n, c in zip(shape, chunks, strict=True))):
        made.id.write_direct_chunk(tuple(i * c for i, c in zip(place, chunks, strict=True)), raw)
    return made
