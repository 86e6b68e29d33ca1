"""Files that change while they are open: one version of the values, or an error."""

import os
import subprocess
import sys

import numpy as np
import pytest

import headrace as hr
from headrace.errors import ChangedFileError, MissingFileError
from headrace.sources.hdf5 import HDF5Source, opening
from headrace.sources.hdf5.opening import open_file
from tests.files import damage, gzip, write
from tests.sources.storage import IMAGES, STORAGE, read


def shorten(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def append(path):
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path):
    """Other values in the same place."""
    content = path.read_bytes()
    path.write_bytes(content[:4000] + bytes(len(content) - 4000))


@pytest.mark.parametrize("used_before", [False, True])
@pytest.mark.parametrize("change", [shorten, empty, append, rewrite])
def test_a_file_that_changes_is_an_error(stored, change, used_before):
    """Never values from two versions of it."""
    source = HDF5Source(stored, ["image"])
    if used_before:
        assert (read(source) == IMAGES).all()
    change(stored)
    for rows in (np.arange(64), np.array([63]), np.array([1, 60])):
        with pytest.raises(ChangedFileError, match=r"rows? \d+ to \d+ of 'image' .*since it was"):
            read(source, rows)


def test_a_file_that_is_replaced_is_one_version_or_an_error(stored, tmp_path):
    """Those who have it open go on with what it was."""
    source = HDF5Source(stored, ["image"])
    other = write(tmp_path / "other.h5", image={"data": IMAGES[::-1]})
    other.replace(stored)
    if source.read_paths()["image"].path == "h5py":
        with pytest.raises(ChangedFileError, match=r"of 'image' failed: .*data\.h5"):
            read(source)
    else:
        assert (read(source) == IMAGES).all()


def test_repairs_come_from_the_same_version_of_the_file(path, tmp_path):
    """A chunk that only libhdf5 reads is not taken from a file put in its place."""
    write(path, image=gzip(IMAGES))
    damage(path, "image", 3)
    source = HDF5Source(path, ["image"])
    write(tmp_path / "other.h5", image=gzip(IMAGES[::-1])).replace(path)
    with pytest.raises(ChangedFileError, match=r"was replaced|had \d+ bytes"):
        read(source)


def test_a_file_that_is_replaced_while_it_is_opened_is_an_error(stored, tmp_path, monkeypatch):
    """Between looking at its index and looking at the file."""

    def open_and_replace(path):
        opened = open_file(path)
        write(tmp_path / "other.h5", image=IMAGES[::-1]).replace(path)
        return opened

    monkeypatch.setattr(opening, "open_file", open_and_replace)
    with pytest.raises(ChangedFileError, match=r"was replaced|had \d+ bytes"):
        HDF5Source(stored, ["image"])


def test_a_file_that_is_deleted_is_missing_or_still_open(stored):
    source = HDF5Source(stored, ["image"])
    stored.unlink()
    if source.read_paths()["image"].path == "h5py":
        with pytest.raises(MissingFileError, match=r"no file at .*data\.h5"):
            read(source)
    else:
        assert (read(source) == IMAGES).all()


MANY = np.tile(IMAGES, (64, 1, 1, 1)) + np.arange(64, dtype="u1").repeat(64)[:, None, None, None]


@pytest.fixture(params=STORAGE)
def data(request, path):
    """A data set of many rows, and a loader's arguments that leave most of them in the file."""
    write(path, image={"data": MANY, **STORAGE[request.param]})
    os.utime(path, ns=(10**18, 10**18))
    return hr.from_hdf5(path, x="image"), {"memory": "600kB", "workers": 2}


@pytest.mark.parametrize("change", [shorten, empty, append, rewrite])
def test_an_epoch_over_a_file_that_changes_ends_in_an_error(data, path, change):
    """In threads, in the middle of an epoch; what was handed out before is right."""
    data, options = data
    got = []

    def epoch():
        for (x,) in data.batch(4, **options):
            if not got:
                change(path)
            got.append(x)

    with pytest.raises(ChangedFileError, match=r"rows? \d+ to \d+ of 'image' .*since it was"):
        epoch()
    assert (np.concatenate(got) == MANY[: 4 * len(got)]).all()


@pytest.mark.parametrize("change", ["replace", "delete"])
def test_an_epoch_over_a_file_that_is_replaced_is_one_version_or_an_error(
    data, path, change, tmp_path
):
    data, options = data
    other = write(tmp_path / "other.h5", image=MANY[::-1])
    got = []
    try:
        for (x,) in data.batch(4, **options):
            if not got:
                other.replace(path) if change == "replace" else path.unlink()
            got.append(x)
    except (ChangedFileError, MissingFileError):
        assert len(got) < len(MANY) / 4
    assert got
    assert (np.concatenate(got) == MANY[: 4 * len(got)]).all()


SURVIVE = """
import os, sys
import numpy as np
from headrace.errors import ChangedFileError
from headrace.sources import empty_arrays, run_reads
from headrace.sources import hdf5
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.opening import open_file

for path in sys.argv[1:]:
    content = open(path, "rb").read()
    for size in (len(content) * 2 // 3, 5000, 0):
        open(path, "wb").write(content)
        source = HDF5Source(path, ["image"])
        rows = np.random.default_rng(0).permutation(source.length)
        out = empty_arrays(source.fields, len(rows))
        for _ in range(2):
            try:
                if source.addressable(["image"]):
                    source.read_rows(rows, out)
                else:
                    run_reads(source.reads(np.sort(rows), out))
            except ChangedFileError:
                print("changed")
            os.truncate(path, size)
"""


def test_the_process_survives_a_file_that_shrinks(tmp_path):
    """Random access to pages that are gone ends in an error, not in SIGBUS."""
    paths = [
        write(tmp_path / f"{name}.h5", image={"data": IMAGES, **storage})
        for name, storage in STORAGE.items()
    ]
    command = [sys.executable, "-c", SURVIVE, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["changed"] * 3 * len(paths)
