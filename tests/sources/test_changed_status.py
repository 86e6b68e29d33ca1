"""Files whose status changes while they are open: with their content, or for another reason."""

import os
import pickle
import shutil

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import ChangedFileError
from headrace.sources.arrays import array_source
from headrace.sources.hdf5 import HDF5Source
from tests.files import write
from tests.sources.storage import IMAGES, STORAGE, read


def stored_in_hdf5(storage):
    def make(folder):
        path = write(folder / "a.h5", image={"data": IMAGES, **STORAGE[storage]})
        return HDF5Source(path, ["image"]), path

    return make


def virtual(storage):
    def make(folder):
        path = write(folder / "source.h5", x={"data": IMAGES, **STORAGE[storage]})
        layout = h5py.VirtualLayout(IMAGES.shape, IMAGES.dtype)
        layout[:] = h5py.VirtualSource("source.h5", "x", IMAGES.shape)
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_virtual_dataset("image", layout)
        return HDF5Source(folder / "a.h5", ["image"]), path

    return make


def virtual_through_h5py(folder):
    path = write(folder / "source.h5", x=IMAGES)
    layout = h5py.VirtualLayout(IMAGES.shape, IMAGES.dtype)
    layout[:, ::2] = h5py.VirtualSource("source.h5", "x", IMAGES.shape)[:, ::2]
    layout[:, 1::2] = h5py.VirtualSource("source.h5", "x", IMAGES.shape)[:, 1::2]
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_virtual_dataset("image", layout)
    source = HDF5Source(folder / "a.h5", ["image"])
    assert source.read_paths()["image"].path == "h5py"
    return source, path


def external(folder):
    path = folder / "bytes"
    path.write_bytes(IMAGES.tobytes())
    with h5py.File(folder / "a.h5", "w") as file:
        pieces = [(str(path), 0, IMAGES.nbytes)]
        file.create_dataset("image", IMAGES.shape, IMAGES.dtype, external=pieces)
    return HDF5Source(folder / "a.h5", ["image"], allow_external=True), path


def npy(folder):
    np.save(folder / "a.npy", IMAGES)
    return array_source("image", folder / "a.npy"), folder / "a.npy"


def npy_in_fortran_s_order(folder):
    np.save(folder / "a.npy", np.asfortranarray(IMAGES))
    return array_source("image", folder / "a.npy"), folder / "a.npy"


def npz(folder):
    np.savez(folder / "a.npz", image=IMAGES)
    return array_source("image", folder / "a.npz"), folder / "a.npz"


def mapped(folder):
    np.save(folder / "a.npy", IMAGES)
    return array_source("image", np.load(folder / "a.npy", mmap_mode="r")), folder / "a.npy"


SOURCES = {
    **{storage: stored_in_hdf5(storage) for storage in STORAGE},
    **{f"virtual {name}": virtual(name) for name in ("contiguous", "gzip", "scaleoffset")},
    "virtual through h5py": virtual_through_h5py,
    "external": external,
    "npy": npy,
    "npy in Fortran's order": npy_in_fortran_s_order,
    "npz": npz,
    "mapped": mapped,
}


@pytest.fixture(params=SOURCES)
def opened(request, tmp_path):
    """A source that was read once, and the file that its values are in."""
    source, path = SOURCES[request.param](tmp_path)
    assert (read(source) == IMAGES).all()
    return source, path


def let_the_clock_move(path):
    """The system's clock for changes of status may stand still for some milliseconds."""
    other = path.with_name("clock")
    while not other.exists() or other.stat().st_ctime_ns <= path.stat().st_ctime_ns:
        other.write_bytes(b"")
        other.unlink()
        other.write_bytes(b"")


def rewrite(path):
    """Other bytes in the same place; size and modification time are as before."""
    let_the_clock_move(path)
    status = path.stat()
    with path.open("r+b") as file:
        content = file.read()
        file.seek(len(content) // 2)
        file.write(bytes(64))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert after.st_ctime_ns > status.st_ctime_ns


def test_a_file_that_was_written_to_is_an_error_whatever_its_time_says(opened):
    """Its modification time was set back; the time of its last change of status cannot be."""
    source, path = opened
    rewrite(path)
    with pytest.raises(ChangedFileError, match="was changed, and its modification time set back"):
        read(source)


def permit(path):
    path.chmod(path.stat().st_mode ^ 0o11)


def give_away(path):
    os.chown(path, path.stat().st_uid + 1, -1)


def link(path):
    path.with_name(f"link{path.stat().st_nlink}").hardlink_to(path)


HARMLESS = [
    permit,
    pytest.param(give_away, marks=pytest.mark.skipif(os.getuid() != 0, reason="root alone may")),
    link,
]


@pytest.mark.parametrize("change", HARMLESS)
def test_other_permissions_owners_and_names_change_nothing(opened, change):
    """They move the same clock, and are seen beside it. Writing is still noticed afterwards."""
    source, path = opened
    for _ in range(2):
        let_the_clock_move(path)
        change(path)
        assert (read(source) == IMAGES).all()
    again = pickle.loads(pickle.dumps(source))
    let_the_clock_move(path)
    change(path)
    assert (read(again) == IMAGES).all()
    assert (read(source) == IMAGES).all()
    rewrite(path)
    for one in (source, again):
        with pytest.raises(ChangedFileError, match="was changed"):
            read(one)


@pytest.mark.parametrize("name", ["contiguous", "gzip", "scaleoffset", "npy", "npz", "external"])
def test_a_file_that_is_renamed_is_read_on(tmp_path, name):
    """Also when it gets its name back, and not once it is written to."""
    source, path = SOURCES[name](tmp_path)
    assert (read(source) == IMAGES).all()
    away = path.with_name("away")
    for old, new in ((path, away), (away, path), (path, away)):
        let_the_clock_move(old)
        old.rename(new)
        assert (read(source) == IMAGES).all()
    rewrite(away)
    with pytest.raises(ChangedFileError, match="was changed"):
        read(source)


def test_an_epoch_over_a_file_that_is_rewritten_ends_in_an_error(tmp_path):
    """In threads, in its middle; what was handed out before is of one version."""
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(20_000, "i8"))
    seen = []

    def epoch():
        for (x,) in hr.from_arrays(path).batch(50, shuffle=True, seed=1, memory="60kB"):
            if len(seen) == 20:
                let_the_clock_move(path)
                times = path.stat().st_atime_ns, path.stat().st_mtime_ns
                with path.open("r+b") as file:
                    file.seek(128)
                    file.write(np.ones(20_000, "i8").tobytes())
                os.utime(path, ns=times)
            seen.append(x)

    with pytest.raises(ChangedFileError, match=r"rows \d+ to \d+ of .*set back"):
        epoch()
    assert len(seen) > 20


@pytest.mark.parametrize("name", ["gzip", "npy"])
def test_a_copy_with_other_times_resumes(tmp_path, name):
    """A saved position is about content: not about times, names, or permissions."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    _, path = SOURCES[name](tmp_path / "first")

    def loader(path):
        data = hr.from_arrays(path) if name == "npy" else hr.from_hdf5(path, x="image")
        return data.batch(8, shuffle=True, seed=0)

    first = loader(path)
    next(iter(first))
    copy = tmp_path / "second" / path.name
    shutil.copyfile(path, copy)
    os.utime(copy, ns=(10**18, 10**18))
    copy.chmod(0o600)
    second = loader(copy)
    second.load_state_dict(first.state_dict())
    assert len(list(second)) == len(second) - 1
