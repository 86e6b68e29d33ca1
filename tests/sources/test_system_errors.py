"""What the system refuses in reading: errors that name file and rows, and keep its number."""

import errno
import os
import resource

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import (
    HeadraceError,
    MissingFileError,
    OutOfMemoryError,
    ReadError,
)
from headrace.resources import empty
from headrace.sources import open_files as opened
from headrace.sources.arrays import array_source
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.opening import damage_explained
from tests.files import write
from tests.sources.storage import IMAGES, STORAGE, read


class Failing(opened.OpenFile):
    """A file on a disk that fails in some way from a certain moment on."""

    fails = ""

    def status(self):
        return self._or_fail("status", super().status)

    def read_at(self, offset, target):
        return self._or_fail("read", lambda: super(Failing, self).read_at(offset, target))

    def map(self, size):
        return False

    def _or_fail(self, what, work):
        if self.fails == what:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return work()


@pytest.fixture
def failing(monkeypatch):
    """Has files fail in the way that it is given."""
    monkeypatch.setattr(opened, "open_file", Failing)
    return lambda what: monkeypatch.setattr(Failing, "fails", what)


def hdf5(storage):
    def make(folder):
        path = write(folder / "data.h5", image={"data": IMAGES, **STORAGE[storage]})
        return HDF5Source(path, ["image"])

    return make


def npy(folder):
    np.save(folder / "data.npy", IMAGES)
    return array_source("image", folder / "data.npy")


def npy_in_fortran_s_order(folder):
    np.save(folder / "data.npy", np.asfortranarray(IMAGES))
    return array_source("image", folder / "data.npy")


SOURCES = {
    **{name: hdf5(name) for name in STORAGE},
    "npy": npy,
    "npy in Fortran's order": npy_in_fortran_s_order,
}


def is_our_error(error):
    assert error.errno == errno.EIO
    assert "of 'image'" in str(error)
    assert "ows 0 to 63" in str(error) or "ows 0 to 7" in str(error)
    assert f"{os.sep}data." in str(error)
    assert os.strerror(errno.EIO) in str(error)
    assert "damaged" not in str(error)
    return True


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_that_the_system_cannot_look_at_any_more(tmp_path, failing, name):
    """As on a file server that was restarted, after the rows have been read."""
    source = SOURCES[name](tmp_path)
    read(source)
    failing("status")
    with pytest.raises(ReadError) as caught:
        read(source)
    assert is_our_error(caught.value)


@pytest.mark.parametrize("name", [name for name in SOURCES if name in ("contiguous", "npy")])
def test_a_disk_that_fails_to_read(tmp_path, failing, name):
    """The file is not said to be damaged, and the way out is about the disk."""
    source = SOURCES[name](tmp_path)
    failing("read")
    with pytest.raises(ReadError, match=r"see the system's log \(dmesg\)") as caught:
        read(source)
    assert is_our_error(caught.value)


@pytest.mark.parametrize("name", SOURCES)
def test_an_error_in_an_epoch_names_rows_and_keeps_its_number(tmp_path, failing, name):
    """Across threads."""
    SOURCES[name](tmp_path)
    (path,) = tmp_path.glob("data.*")
    from_file = hr.from_arrays if path.suffix == ".npy" else hr.from_hdf5
    data = from_file(path, x="image") if path.suffix == ".h5" else from_file({"image": path})
    failing("status")
    with pytest.raises(ReadError, match=r"ows \d+ to \d+ of ") as caught:
        list(data.batch(8, memory="1MB"))
    assert caught.value.errno == errno.EIO


def break_under_libhdf5(file):
    """Puts a folder in the place of libhdf5's descriptor: reads fail, as on a failing disk."""
    folder = os.open(os.path.dirname(file.filename), os.O_RDONLY)  # noqa: PTH120
    os.dup2(folder, file.id.get_vfd_handle())
    os.close(folder)


def test_a_disk_that_fails_under_libhdf5(tmp_path):
    """Its words tell the number: nothing is damaged."""
    source = hdf5("scaleoffset")(tmp_path)
    read(source, [0])
    library = source._readers["image"]._library
    break_under_libhdf5(library._handle[1])
    with pytest.raises(ReadError, match=r"rows 56 to 63 of 'image'.*Is a directory") as caught:
        read(source, np.arange(56, 64))
    assert caught.value.errno == errno.EISDIR
    assert "damaged" not in str(caught.value)


def test_metadata_that_the_disk_fails_to_give_are_not_damaged(path):
    """h5py raises a KeyError in which libhdf5 tells of the system's error."""
    write(path, **{"group/x": IMAGES})
    with h5py.File(path) as file:
        break_under_libhdf5(file)
        with pytest.raises(HeadraceError) as caught, damage_explained("'group/x'"):
            list(file["group"])
    assert caught.value.errno == errno.EISDIR
    assert "damaged" not in str(caught.value)
    assert "Reading 'group/x' failed: Is a directory" in str(caught.value)


@pytest.mark.parametrize("kind", ["npy", "hdf5"])
def test_too_many_open_files(tmp_path, kind):
    """The error says which file, and how to allow more."""
    (npy if kind == "npy" else hdf5("gzip"))(tmp_path)
    (path,) = tmp_path.glob("data.*")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(ReadError, match=r"data\..*Too many open files.*ulimit -n") as caught:
            hr.from_hdf5(path, x="image") if kind == "hdf5" else hr.from_arrays(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.errno == errno.EMFILE


def test_a_missing_file_has_the_system_s_number(tmp_path):
    """As `open` gives it."""
    with pytest.raises(MissingFileError) as caught:
        hr.from_hdf5(tmp_path / "none.h5", x="x")
    assert caught.value.errno == errno.ENOENT


def test_advice_that_the_system_refuses_is_no_error(tmp_path):
    """Reads alone say whether rows can be read."""
    source = hdf5("gzip")(tmp_path)
    file = source._files[0].open()
    reading, writing = os.pipe()
    os.dup2(reading, file._raw.fileno())
    file.will_need(0, 10)
    os.close(reading)
    os.close(writing)


def test_memory_that_the_system_refuses():
    """The error says how much, and is a MemoryError."""
    with pytest.raises(OutOfMemoryError, match=r"refused 1\S* TB .*memory=") as caught:
        empty((1 << 30, 1 << 20), "u1")
    assert isinstance(caught.value, MemoryError)
