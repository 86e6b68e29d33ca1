"""Budgets above what this process may use: refused or warned of, unless the data need less."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace import cli, resources
from headrace.errors import MemoryBudgetError
from headrace.resources import Limit
from tests.loading.helpers import STORAGE, dataset

ROWS, WIDTH = 20_000, 4_096  # 82 MB that take little room on disk


@pytest.fixture
def blocks(tmp_path):
    """Rows that have to be decoded in blocks."""
    path = tmp_path / "blocks.h5"
    with h5py.File(path, "w") as file:
        options = {"chunks": (64, WIDTH), "compression": "lzf"}
        file.create_dataset("x", (ROWS, WIDTH), "u1", **options)
        file["x"][0] = 1
    return path


@pytest.fixture
def limited(monkeypatch):
    """Has a container allow so many bytes, of which so many are free."""

    def limit(most, free):
        container = Limit("the memory limit of its cgroup or container", most, free)
        monkeypatch.setattr(resources, "memory_limits", lambda: [container])

    return limit


def test_a_budget_above_the_limit_is_refused(blocks, limited):
    """The error says what would be held, the limit, and what fits."""
    limited(60_000_000, 45_500_000)
    data = hr.from_hdf5(blocks, x="x")
    expected = r"held in memory, and the memory limit of its cgroup.* allows 60\.0 MB"
    with pytest.raises(MemoryBudgetError, match=expected + r".*memory='45MB'"):
        data.batch(32, shuffle=True, memory="1GB")
    assert len(next(iter(data.batch(8, shuffle=True, memory="45MB")))[0]) == 8


def test_a_budget_above_what_is_free_is_warned_of(blocks, limited):
    """Others may give memory back."""
    limited(200_000_000, 45_500_000)
    data = hr.from_hdf5(blocks, x="x")
    with pytest.warns(UserWarning, match=r"cgroup.* leaves 45\.5 MB now.*memory='45MB'"):
        loader = data.batch(32, shuffle=True, memory="1GB")
    assert len(next(iter(loader))[0]) == 32


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_budget_that_is_never_used_in_full_is_taken(tmp_path, limited, shuffle):
    """Small data stay in memory, and take no more than they are; rows in order take little."""
    limited(60_000_000, 60_000_000)
    rows = 2_000 if shuffle else ROWS
    np.save(tmp_path / "x.npy", np.zeros((rows, WIDTH), "u1"))
    memory = "1GB" if shuffle else "70MB"
    loader = hr.from_arrays(tmp_path / "x.npy").batch(32, shuffle=shuffle, memory=memory)
    assert sum(len(x) for (x,) in loader) == rows


def test_pack_and_slices_refuse_it_too(blocks, limited, tmp_path):
    """And leave nothing behind."""
    limited(60_000_000, 60_000_000)
    data = hr.from_hdf5(blocks, x="x")
    with pytest.raises(MemoryBudgetError, match=r"allows 60\.0 MB"):
        hr.pack(data, tmp_path / "out.h5", memory="1GB", shuffle=True, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.h5"]
    with pytest.raises(MemoryBudgetError, match=r"this process may take 60\.0 MB"):
        data[:]


def test_the_command_line_refuses_it(blocks, limited, capsys, tmp_path):
    """With what fits."""
    limited(60_000_000, 60_000_000)
    command = [
        "pack",
        str(blocks),
        str(tmp_path / "out.h5"),
        "--x",
        "x",
        "--shuffle",
        "--memory",
        "1GB",
    ]
    assert cli.main(command) != 0
    assert "60.0 MB" in capsys.readouterr().err


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")
@pytest.mark.parametrize("memory", [60_000, "10MB"])
def test_no_more_is_held_than_was_said(make_images, storage, shuffle, memory):
    """What is compared with the limit is the most that is held."""
    data = dataset(make_images(1000, **STORAGE[storage]))
    loader = data.batch(16, shuffle=shuffle, memory=memory)
    for _ in range(2):
        list(loader)
    report = loader.report()
    assert 0 < report.peak_bytes <= loader._budget.needed <= loader.memory


SCRIPT = """
import resource, sys, warnings
import headrace as hr
from headrace.errors import MemoryBudgetError
from headrace.resources import memory_limits
data = hr.from_hdf5(sys.argv[1], x="x")
if sys.argv[2] != "cgroup":
    number, label = {"v": (resource.RLIMIT_AS, "VmSize"), "d": (resource.RLIMIT_DATA, "VmData")}[
        sys.argv[2]
    ]
    (used,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith(label))
    most = int(used) * 1024 + 40_000_000
    resource.setrlimit(number, (most, most))
least = min(memory_limits(), key=lambda limit: limit.most)
print(least.most, least.free, least.name, sep="|")
try:
    data.batch(32, shuffle=True, memory=4 * least.most)
except MemoryBudgetError as error:
    print(error)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    print(sum(len(x) for (x,) in data.take(2000).batch(32, shuffle=True, memory="10MB", workers=1)))
"""


def run(blocks, kind, within=()):
    command = [*within, sys.executable, "-c", SCRIPT, str(blocks), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def large(tmp_path):
    """A gigabyte, most of which was never written."""
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        options = {"chunks": (64, WIDTH), "compression": "lzf"}
        file.create_dataset("x", (250_000, WIDTH), "u1", **options)
        file["x"][0] = 1
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="ulimit -d binds on Linux alone")
@pytest.mark.parametrize("kind", ["v", "d"])
def test_ulimit_is_seen(large, kind):
    """Its own limit, and what is left of it."""
    limit, error, rows = run(large, kind)
    most, free, name = limit.split("|")
    assert 20_000_000 < int(free) < 42_000_000 < int(most)
    assert name == f"the limit of this process (ulimit -{kind})"
    assert name in error
    assert rows == "2000"


V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@pytest.fixture
def group():
    """A cgroup that allows 200 MB: the command that runs another one within it."""
    made = (V1 if V1.is_dir() else V2) / f"headrace-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if V1.is_dir() else "memory.max"
    try:
        made.mkdir()
        (made / limit).write_text("200000000")
    except OSError:
        if made.exists():
            made.rmdir()
        pytest.skip("cgroups can be made by root alone, and where they are mounted for writing")
    yield "sh", "-c", 'echo $$ > "$0" && exec "$@"', str(made / "cgroup.procs")
    made.rmdir()


def test_a_container_is_seen(large, group):
    """Without pages of files, which are given back when memory is needed."""
    limit, error, rows = run(large, "cgroup", group)
    most, free, name = limit.split("|")
    assert 190_000_000 < int(most) <= 200_000_000
    assert 50_000_000 < int(free) < 195_000_000
    assert name == "the memory limit of its cgroup or container"
    assert "allows 200 MB: the system would end this process" in error
    assert rows == "2000"
