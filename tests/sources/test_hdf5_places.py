"""Where files are, how old they are, and file systems that lock in ways of their own."""

import errno
import os
import shutil
import subprocess
import sys
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5f, h5o, h5p

import headrace as hr
from headrace.errors import DataError, FieldNotFoundError, FileFormatError
from headrace.sources.hdf5 import HDF5Source, list_datasets
from headrace.testing import check_reads
from tests.bad_input.refusal import refused
from tests.files import gzip, images, larger_chunk_trees, libhdf5, overwrite, write
from tests.fuzz import checksum
from tests.sources.storage import read

IMAGES = images(40)
LABELS = np.arange(40)


def fill(file):
    """Datasets in each form, in groups and behind links."""
    file["rows"] = IMAGES
    file.create_dataset("a/b/c/gzip", **gzip(IMAGES))
    file.create_dataset("a/lzf", data=IMAGES, compression="lzf")
    file["a/b/label"] = LABELS
    file["hard"] = file["a/b/c/gzip"]
    file["soft"] = h5py.SoftLink("/a/b/c")
    file["a/b/beside"] = h5py.SoftLink("c/gzip")
    file["chain 0"] = h5py.SoftLink("/soft/gzip")
    for k in range(13):
        file[f"chain {k + 1}"] = h5py.SoftLink(f"/chain {k}")


NAMES = ["rows", "a/b/c/gzip", "a/lzf", "a/b/label", "hard", "soft/gzip", "a/b/beside", "chain 13"]
ORACLE = {name: LABELS if name == "a/b/label" else IMAGES for name in NAMES}


def check(path):
    """Every name reads what it stands for."""
    check_reads(HDF5Source(path, NAMES), ORACLE, np.arange(40))


def test_more_links_than_libhdf5_follows_are_an_error(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        fill(file)
        for k in range(13, 30):
            file[f"chain {k + 1}"] = h5py.SoftLink(f"/chain {k}")
        assert len(file["chain 14"]) == 40
    assert HDF5Source(tmp_path / "a.h5", ["chain 14"]).length == 40
    for k in (15, 30):
        with refused(DataError, f"'chain {k}'", "more than 16 links"):
            HDF5Source(tmp_path / "a.h5", [f"chain {k}"])


# Versions.


def superblock(path, offset=0):
    """The version of the superblock, and the version that ought to be in it."""
    return path.read_bytes()[offset + 8]


@pytest.mark.parametrize("user_block", [0, 512, 4096])
@pytest.mark.parametrize(
    "version",
    [0, pytest.param(1, marks=pytest.mark.skipif(not libhdf5(), reason="no libhdf5 found")), 2, 3],
)
def test_superblocks_of_every_version_are_read(tmp_path, version, user_block):
    path = tmp_path / "data.h5"
    made = h5p.create(h5p.FILE_CREATE)
    made.set_userblock(user_block)
    if version == 1:
        larger_chunk_trees(made)
    access = h5p.create(h5p.FILE_ACCESS)
    bounds = {
        0: (h5f.LIBVER_EARLIEST, h5f.LIBVER_V18),
        1: (h5f.LIBVER_EARLIEST, h5f.LIBVER_V18),
        2: (h5f.LIBVER_V18, h5f.LIBVER_V18),
        3: (h5f.LIBVER_V110, h5f.LIBVER_LATEST),
    }
    access.set_libver_bounds(*bounds[version])
    with h5py.File(h5f.create(os.fsencode(path), h5f.ACC_TRUNC, made, access)) as file:
        fill(file)
    assert superblock(path, user_block) == version
    check(path)


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "v112", "v114", "latest"])
@pytest.mark.parametrize("many", [1, 9, 500])
@pytest.mark.parametrize("track_order", [False, True])
def test_groups_of_every_kind_are_searched(tmp_path, libver, many, track_order):
    """Tables of symbols, links in the header, and links in a heap."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w", libver=libver, track_order=track_order) as file:
        for k in range(many):
            file[f"group/other {k}"] = [k]
        file["group/deep/er/x"] = LABELS
    source = HDF5Source(path, ["group/deep/er/x"])
    check_reads(source, {"group/deep/er/x": LABELS}, np.arange(40))
    assert len(list_datasets(path)) == many + 1


def test_names_of_all_kinds_are_found(tmp_path):
    """Spaces, dots, other alphabets, and what looks like something else."""
    names = ["with space", "dot.ted", "ünïcode/日本", "a'b", 'a"b', "%b", "*", "a[0]", "-x", "{y}"]
    write(tmp_path / "a.h5", **{name: LABELS + k for k, name in enumerate(names)})
    source = HDF5Source(tmp_path / "a.h5", names)
    check_reads(source, {name: LABELS + k for k, name in enumerate(names)}, np.arange(40))


@pytest.mark.parametrize(
    "name", ["ünïcode.h5", "with space.h5", "no suffix", "a%b.h5", "[1].h5", "-x.h5", "x" * 250]
)
def test_files_of_all_names_are_opened(tmp_path, name, monkeypatch):
    path = tmp_path / "日本" / name
    path.parent.mkdir()
    write(path, x={"data": IMAGES, "compression": "lzf"}, y=LABELS)
    monkeypatch.chdir(path.parent)
    for given in (path, str(path), name, Path(name), os.fsencode(name), f"./{name}"):
        data = hr.from_hdf5(given, x="x", y="y")
        assert (data[:][0] == IMAGES).all()


def test_a_path_in_bytes_that_are_no_text_is_opened(tmp_path):
    """Names on disk are bytes."""
    path = os.fsencode(tmp_path) + b"/\xff\xfe.h5"
    write(tmp_path / "a.h5", x={"data": IMAGES, "compression": "lzf"}, y=LABELS)
    os.rename(tmp_path / "a.h5", path)  # noqa: PTH104 - a path in bytes
    assert (hr.from_hdf5(path, x="x", y="y")[:][0] == IMAGES).all()


@pytest.mark.parametrize(
    "method", [m for m in ("spawn", "forkserver") if m in get_all_start_methods()]
)
def test_sources_are_read_in_processes_of_every_kind(tmp_path, method):
    """Sent before and after they were used."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        fill(file)
    source = HDF5Source(path, NAMES)
    with get_context(method).Pool(1) as pool:
        pool.apply(check_reads, (source, ORACLE, np.arange(40)))
        check_reads(source, ORACLE, np.arange(40))
        pool.apply(check_reads, (source, ORACLE, np.arange(40)))


# Locks.

SHIM = """
#include <errno.h>
#include <stdlib.h>

int flock(int descriptor, int operation) {
    (void)descriptor, (void)operation;
    errno = atoi(getenv("FLOCK_ERRNO"));
    return -1;
}
"""

READ = """
import sys
import headrace as hr
from headrace.errors import DataError, FieldNotFoundError, FileFormatError

for name in ("rows", "a/b/c/gzip", "a/lzf"):
    try:
        print(hr.from_hdf5(sys.argv[1], x=name)[:][0].sum())
    except hr.HeadraceError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that lets every flock() fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler, or this is not Linux")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "flock.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", folder / "flock.so", folder / "flock.c"]
    subprocess.run(command, check=True)
    return folder / "flock.so"


@pytest.fixture
def read_without_locks(shim, tmp_path):
    """Reads a file in a process in which flock() fails, and gives what that prints."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        fill(file)

    def run(number, locking=None):
        more = {} if locking is None else {"HDF5_USE_FILE_LOCKING": locking}
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path)],
            env={**os.environ, "LD_PRELOAD": str(shim), "FLOCK_ERRNO": str(number), **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_file_systems_without_locks_are_read(read_without_locks, number):
    """As NFS and Lustre may be mounted."""
    assert read_without_locks(number) == [str(IMAGES.sum())] * 3


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_someone_holds_is_respected(read_without_locks, number):
    for line in read_without_locks(number):
        assert line.startswith("LockedFileError")
        assert "another process has it open for writing" in line
    assert read_without_locks(number, "FALSE") == [str(IMAGES.sum())] * 3


@pytest.mark.parametrize("locking", ["TRUE", "BEST_EFFORT"])
def test_locks_that_the_environment_requires_are_named(read_without_locks, locking):
    """They are HDF5's to try, whatever it is asked for."""
    for line in read_without_locks(errno.ENOLCK, locking):
        assert line.startswith("LockedFileError")
        assert f"(No locks available), but HDF5_USE_FILE_LOCKING={locking} requires a lock" in line
        assert "Set it to FALSE" in line


@pytest.mark.parametrize("driver, options", [("split", {}), ("family", {"memb_size": 2048})])
def test_one_file_of_a_set_is_no_truncated_one(tmp_path, driver, options):
    name = tmp_path / ("x%d.h5" if driver == "family" else "x")
    with h5py.File(name, "w", driver=driver, **options) as file:
        file["x"] = np.arange(2000)
    part = min(tmp_path.iterdir())
    with pytest.raises(FileFormatError, match="is one of several files"):
        HDF5Source(part, ["x"])


def test_damage_elsewhere_does_not_hide_that_a_name_is_not_there(path):
    with h5py.File(path, "w") as file:
        for name in "abz":
            file[name] = np.arange(3)
        address = h5o.get_info(file["b"].id).addr
    overwrite(path, address, b"\xff" * 4)
    with pytest.raises(FieldNotFoundError, match=r"There is no field 'c' in .*It holds: a"):
        HDF5Source(path, ["c"])


def test_links_that_a_program_defined_for_itself_are_named(path):
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = np.arange(3)
        file["own"] = h5py.ExternalLink("other.h5", "/x")
    content = bytearray(path.read_bytes())
    pieces = checksum.find(bytes(content))
    kind = content.index(b"\x40\x03own")  # 64, for links into other files, and the name's length
    content[kind] = 200
    checksum.repair(content, pieces)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"'own' in .* of a user-defined kind"):
        HDF5Source(path, ["own"])
    assert (read(HDF5Source(path, ["x"])) == np.arange(3)).all()
