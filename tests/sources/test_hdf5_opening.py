"""Opening an HDF5 file beside others who have it open, and on file systems of all kinds."""

import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import ChangedFileError, LockedFileError, ReadError
from headrace.sources import empty_arrays, run_reads
from headrace.sources.hdf5 import HDF5Source, list_datasets, opening
from headrace.testing import SourceTests, check_reads
from tests.files import gzip, images, write

IMAGES = images()
EVERY = {
    "contiguous": IMAGES,
    "raw": {"data": IMAGES, "chunks": (8, 4, 4, 3)},
    "gzip": gzip(images(dtype="u2"), 5, shuffle=True),
    "scaleoffset": {"data": images(seed=1), "chunks": (12, 4, 4, 3), "scaleoffset": 8},
    "label": np.arange(50),
}
ORACLE = {
    "contiguous": IMAGES,
    "raw": IMAGES,
    "gzip": images(dtype="u2"),
    "scaleoffset": images(seed=1),
    "label": np.arange(50),
}


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "data.h5", **EVERY)


class TestFieldsSideBySide(SourceTests):
    """Fields of all forms, with blocks of different lengths, in one source."""

    @pytest.fixture
    def source(self, path):
        return HDF5Source(path, list(EVERY))

    @pytest.fixture
    def oracle(self):
        return ORACLE

    def test_each_field_takes_its_own_path(self, source):
        found = {name: path.path for name, path in source.read_paths().items()}
        rows, chunks = "direct rows", "direct chunks"
        assert found == dict(zip(EVERY, (rows, rows, chunks, "h5py", rows), strict=True))

    def test_blocks_are_those_of_the_largest_field_that_has_some(self, source):
        assert source.block_offsets(list(EVERY)).tolist() == list(range(0, 51, 5))
        assert source.block_offsets(["scaleoffset", "label"]).tolist() == [0, 12, 24, 36, 48, 50]
        assert source.block_offsets(["contiguous", "label"]).tolist() == [0, 50]

    def test_addressable_fields_are_so_together(self, source):
        assert source.addressable(["contiguous", "raw", "label"])
        assert not source.addressable(["contiguous", "gzip"])


class TestThroughH5py(SourceTests):
    """The same, with the slow path forced."""

    @pytest.fixture
    def source(self, path, monkeypatch):
        monkeypatch.setenv("HEADRACE_HDF5", "h5py")
        return HDF5Source(path, list(EVERY))

    @pytest.fixture
    def oracle(self):
        return ORACLE

    def test_the_report_says_why(self, source):
        paths = set(source.read_paths().values())
        assert {(p.path, p.reason) for p in paths} == {("h5py", "HEADRACE_HDF5=h5py is set")}


def test_a_name_twice_is_one_field(path):
    source = HDF5Source(path, ["label", "gzip", "label"])
    assert [field.name for field in source.fields] == ["label", "gzip"]


def test_datasets_are_listed_with_their_groups(tmp_path):
    write(tmp_path / "a.h5", **{"b/c/d": [1], "a": [1]})
    assert list_datasets(tmp_path / "a.h5") == ["a", "b/c/d"]


def test_the_fingerprint_sees_other_content(path, tmp_path):
    """Of the same shape, type and size; a copy elsewhere has the same."""
    before = HDF5Source(path, ["contiguous"]).fingerprint()
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    assert HDF5Source(copy, ["contiguous"]).fingerprint() == before
    with h5py.File(copy, "r+") as file:
        file["contiguous"][...] = 0
    assert copy.stat().st_size == path.stat().st_size
    assert HDF5Source(copy, ["contiguous"]).fingerprint() != before
    assert HDF5Source(path, ["raw"]).fingerprint() != before


def test_the_user_may_change_folder(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    source = HDF5Source("data.h5", list(EVERY))
    copy = pickle.loads(pickle.dumps(source))
    monkeypatch.chdir("/")
    check_reads(source, ORACLE, np.arange(50))
    check_reads(copy, ORACLE, np.arange(50))


# Locks.


@pytest.mark.parametrize("locking", [True, False, None, "best-effort"])
def test_opens_beside_readers_in_this_process(path, locking):
    """Whatever locking they asked for; and they stay as they are."""
    with h5py.File(path, "r", locking=locking) as file:
        source = HDF5Source(path, list(EVERY))
        check_reads(source, ORACLE, np.arange(50))
        del source
        assert (file["contiguous"][:] == IMAGES).all()


def test_readers_open_beside_a_source_in_use(path):
    source = HDF5Source(path, list(EVERY))
    check_reads(source, ORACLE, np.arange(50))
    with h5py.File(path, "r") as file:
        assert (file["contiguous"][:] == IMAGES).all()
    check_reads(source, ORACLE, np.arange(50))


def test_a_file_system_without_locks_is_no_obstacle(path, monkeypatch):
    """As NFS and Lustre may be mounted."""
    asked = []

    def refuse(name, mode, locking=None):
        asked.append(locking)
        if locking is None:
            raise OSError(
                "Unable to synchronously open file (unable to lock file, errno = 37, error "
                "message = 'No locks available')"
            )
        return right(name, mode, locking=locking)

    right = h5py.File
    monkeypatch.setattr(opening.h5py, "File", refuse)
    opening.open_file(str(path)).close()
    assert asked == [None, False]


def test_a_file_that_someone_locks_is_not_opened_without(path, monkeypatch):
    def refuse(name, mode, locking=None):
        raise OSError(
            "(unable to lock file, errno = 11, error message = 'Resource temporarily ...')"
        )

    monkeypatch.setattr(opening.h5py, "File", refuse)
    with pytest.raises(LockedFileError):
        opening.open_file(str(path))


def test_a_writer_in_this_process_is_no_source_of_rows(path):
    """The slow path opens the file late, when it may be open for writing."""
    source = HDF5Source(path, ["scaleoffset"])
    with h5py.File(path, "r+"), pytest.raises(ReadError, match=r"since it was|open for writing"):
        check_reads(source, {"scaleoffset": ORACLE["scaleoffset"]}, np.arange(50))


def test_writing_under_a_direct_source_is_noticed(path):
    source = HDF5Source(path, ["contiguous"])
    with h5py.File(path, "r+") as file:
        file["contiguous"][0] = 0
    with pytest.raises(ChangedFileError):
        check_reads(source, {"contiguous": IMAGES}, np.arange(50))


OTHER_DRIVER = """
import sys
import numpy as np
import headrace as hr

data = hr.from_hdf5(sys.argv[1], x=["gzip", "raw"])
print({path.path for path in data.pipeline.view.read_paths().values()}, data[:][0][1].sum())
"""


@pytest.mark.parametrize("driver", ["stdio", "core"])
def test_other_drivers_are_left_to_h5py(path, driver):
    done = subprocess.run(
        [sys.executable, "-c", OTHER_DRIVER, str(path)],
        env={**os.environ, "HDF5_DRIVER": driver},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{{'h5py'}} {IMAGES.sum()}\n", done.stderr


def test_a_file_that_declares_far_more_than_it_holds_opens(tmp_path):
    """The index of its chunks would not fit into memory."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("x", (2**40,), "u1", chunks=(1,), fillvalue=9)
        made[7] = 1
    source = HDF5Source(tmp_path / "a.h5", ["x"])
    assert source.read_paths()["x"].reason == "nearly all chunks were never written"
    rows = np.array([6, 7, 2**40 - 1])
    out = empty_arrays(source.fields, 3)
    run_reads(source.reads(rows, out))
    assert out["x"].tolist() == [9, 1, 9]
    assert (hr.from_hdf5(tmp_path / "a.h5")[-1][0], len(hr.from_hdf5(tmp_path / "a.h5"))) == (
        9,
        2**40,
    )


# Descriptors and processes.


def descriptors():
    """How many are open, once what nobody holds is gone."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_a_hundred_sources_leave_no_descriptor(path):
    before = descriptors()
    for _ in range(100):
        source = HDF5Source(path, list(EVERY))
        check_reads(source, ORACLE, np.arange(50))
        source.read_rows(np.array([3, 1]), empty_arrays(source.fields[:1], 2))
        del source
    assert descriptors() <= before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_sources_that_fail_leave_no_descriptor(path, tmp_path):
    (tmp_path / "bad.h5").write_bytes(path.read_bytes()[:5000])
    before = descriptors()
    for _ in range(100):
        for file, names in (
            (path, ["nope"]),
            (path, ["label", "nope"]),
            (tmp_path / "bad.h5", ["x"]),
        ):
            with pytest.raises(hr.HeadraceError):
                HDF5Source(file, names)
    assert descriptors() <= before


def test_nothing_is_held_open_but_what_is_read(path):
    """A source that was only opened holds no lock that keeps writers away."""
    source = HDF5Source(path, ["scaleoffset"])
    h5py.File(path, "r+").close()
    assert source.length == 50


def test_a_data_set_reads_in_a_spawned_process(path):
    """Through pickle, with what is done to its rows."""
    data = (
        hr.from_hdf5(path, x=["gzip", "scaleoffset"], y="label", start=5)
        .split(0.5, seed=1)[0]
        .map(twice)
    )
    code = "import pickle, sys; d = pickle.load(sys.stdin.buffer); print(d[:][0][0].sum(), len(d))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(data),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == [str(data[:][0][0].sum()).encode(), str(len(data)).encode()]


def twice(x, y):
    return (x[0] * 2, x[1]), y


INSIDE = """
import sys, threading
import h5py
import headrace as hr

data = hr.from_hdf5(sys.argv[1], "x")
ended = threading.Event()

def train():
    while not ended.is_set():
        for _ in data.batch(100, shuffle=True, memory="1MB", workers=1):
            pass

thread = threading.Thread(target=train)
thread.start()
with h5py.File(sys.argv[1]) as file:
    for _ in range(300):
        file.visititems(lambda name, item: data[0:5] and None)
ended.set()
thread.join()
"""


def test_reading_inside_a_call_of_h5py_waits_for_nobody(tmp_path):
    """h5py holds its lock while `visititems` calls back, and other threads want it as well."""
    values = np.arange(40_000).reshape(-1, 10)
    path = write(tmp_path / "a.h5", x={"data": values, "chunks": (50, 10), "scaleoffset": 0})
    subprocess.run([sys.executable, "-c", INSIDE, path], timeout=120, check=True)
