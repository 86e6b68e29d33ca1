"""What is packed never takes the place of a file that its rows come from."""

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import OptionError
from tests.bad_input.refusal import refused

ROWS = np.arange(4000, dtype="u1").reshape(1000, 4)


class Sliced:
    """A class of somebody's own around an open file."""

    def __init__(self, dataset):
        self._dataset = dataset
        self.shape = dataset.shape

    def __getitem__(self, index):
        return self._dataset[index]


class Named(Sliced):
    """One that opens its file for each slice, and says which."""

    def __init__(self, path):
        self._path = path
        self.shape = ROWS.shape

    def __getitem__(self, index):
        with h5py.File(self._path) as file:
            return file["image"][index]

    def files(self):
        return [self._path]


@pytest.fixture
def path(tmp_path):
    """An HDF5 file with more than is packed."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["image"], file["label"], file["precious"] = ROWS, np.arange(1000), np.arange(500.0)
        file.create_group("notes").attrs["written"] = "by hand"
    return path


def from_dataset(path, mode="r", make=lambda dataset: dataset):
    file = h5py.File(path, mode)
    return hr.from_arrays(make(file["image"]))


def virtual(path):
    with h5py.File(path.with_name("virtual.h5"), "w") as file:
        layout = h5py.VirtualLayout(ROWS.shape, "u1")
        layout[:] = h5py.VirtualSource(path, "image", ROWS.shape)
        file.create_virtual_dataset("image", layout)
    return path.with_name("virtual.h5")


def linked(path):
    with h5py.File(path.with_name("linked.h5"), "w") as file:
        file["image"] = h5py.ExternalLink(path.name, "image")
    return path.with_name("linked.h5")


SOURCES = {
    "from_hdf5": lambda path: hr.from_hdf5(path, x="image"),
    "a few rows": lambda path: hr.from_hdf5(path, x="image").take(10),
    "mapped": lambda path: hr.from_hdf5(path, x="image").map(lambda x: x + 1),
    "concat": lambda path: hr.concat(hr.from_arrays(ROWS), from_dataset(path)),
    "h5py dataset": from_dataset,
    "h5py dataset that may be written to": lambda path: from_dataset(path, "r+"),
    "beside an array": lambda path: hr.from_arrays(h5py.File(path)["image"], np.arange(1000)),
    "HDF5Matrix": lambda path: hr.from_arrays(hr.HDF5Matrix(path, "image")),
    "object around an open file": lambda path: from_dataset(path, make=Sliced),
    "object that says its files": lambda path: hr.from_arrays(Named(path)),
    "virtual dataset": lambda path: hr.from_hdf5(virtual(path), x="image"),
    "open virtual dataset": lambda path: from_dataset(virtual(path), "r+"),
    "external link": lambda path: hr.from_hdf5(linked(path), x="image", allow_external=True),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ["a.h5", "symbolic.h5", "hard.h5"])
@pytest.mark.parametrize("kind", SOURCES)
def test_an_hdf5_file_is_not_packed_over(path, tmp_path, kind, name):
    """Through whatever its rows come, and by whatever name it is called."""
    (tmp_path / "symbolic.h5").symlink_to("a.h5")
    (tmp_path / "hard.h5").hardlink_to(path)
    data = SOURCES[kind](path)
    before = path.read_bytes()
    for options in ({}, {"shard_size": "1kB"}):
        with refused(OptionError, "a.h5", "a file that is read", "another name"):
            hr.pack(data, tmp_path / name, overwrite=True, **options)
    assert path.read_bytes() == before
    assert len(hr.pack(data, tmp_path / "new.h5")) == len(data)


def npz(folder):
    np.savez(folder / "in.npz", a=ROWS, b=np.arange(3))
    return folder / "in.npz", lambda path: hr.from_arrays(path / "a")


def npy(folder):
    np.save(folder / "in.npy", ROWS)
    return folder / "in.npy", hr.from_arrays


def npy_in_columns(folder):
    np.save(folder / "in.npy", np.asfortranarray(ROWS))
    return folder / "in.npy", hr.from_arrays


def mapped(folder, mode="r"):
    np.save(folder / "in.npy", ROWS)
    return folder / "in.npy", lambda path: hr.from_arrays(np.load(path, mmap_mode=mode)[5:])


def mapped_for_writing(folder):
    return mapped(folder, "r+")


def view_of_mapped(folder):
    np.save(folder / "in.npy", ROWS)
    return folder / "in.npy", lambda path: hr.from_arrays(
        np.asarray(np.load(path, mmap_mode="c"))[::2].T.T
    )


def external_storage(folder):
    np.arange(9000, dtype="u1").tofile(folder / "in.raw")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("image", ROWS.shape, "u1", external=[(folder / "in.raw", 0, 4000)])
    return folder / "in.raw", lambda path: hr.from_hdf5(
        path.with_name("x.h5"), x="image", allow_external=True
    )


def open_external_storage(folder):
    path, _ = external_storage(folder)
    return path, lambda path: from_dataset(path.with_name("x.h5"), "r+")


FILES = [npz, npy, npy_in_columns, mapped, mapped_for_writing, view_of_mapped, external_storage]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("make", [*FILES, open_external_storage], ids=lambda make: make.__name__)
def test_another_file_is_not_packed_over(tmp_path, make):
    """What else is in it would be gone."""
    path, read = make(tmp_path)
    before = path.read_bytes()
    data = read(path)
    with refused(OptionError, path.name, "a file that is read"):
        hr.pack(data, path, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("target", ["shards", "shards/shard-00003.h5", "link"])
def test_shards_are_not_packed_over(path, tmp_path, target):
    """Neither the folder nor a part of it."""
    hr.pack(hr.from_hdf5(path, x="image"), tmp_path / "shards", shard_size="1kB")
    (tmp_path / "link").symlink_to("shards")
    size = {} if target.endswith(".h5") else {"shard_size": "1kB"}
    with refused(OptionError, "shard-0000", "a file that is read"):
        hr.pack(hr.open(tmp_path / "shards").take(900), tmp_path / target, overwrite=True, **size)
    assert hr.verify(tmp_path / "shards").ok
    assert len(hr.open(tmp_path / "shards")) == 1000


def test_what_was_read_of_a_stopped_pack_is_not_removed(path, tmp_path):
    """Shards that are salvaged from the hidden folder of the same output."""
    hr.pack(hr.from_hdf5(path, x="image"), tmp_path / "out", shard_size="1kB")
    (tmp_path / ".out.headrace").mkdir()
    left = (tmp_path / "out").rename(tmp_path / ".out.headrace" / "new")
    with refused(OptionError, "would be removed", "where", "is made"):
        hr.pack(hr.from_hdf5(left / "*.h5", x="image"), tmp_path / "out", shard_size="1kB")
    assert len(hr.open(left)) == 1000


def test_what_came_into_a_folder_of_shards_meanwhile_stays(path, tmp_path):
    """Packing may take hours."""
    data = hr.from_hdf5(path, x="image")
    hr.pack(data, tmp_path / "out", shard_size="1kB")

    def write_notes(x):
        (tmp_path / "out" / "notes.md").write_text("mine")
        return x

    with refused(OptionError, "did not put there: notes.md"):
        hr.pack(data.map(write_notes), tmp_path / "out", shard_size="1kB", overwrite=True)
    assert (tmp_path / "out" / "notes.md").read_text() == "mine"
    assert len(hr.open(tmp_path / "out")) == 1000


def test_a_loader_is_not_written_over_its_own_file(path, tmp_path):
    """By create; where rows are written one by one, nobody knows what they come from."""
    loader = hr.from_hdf5(path, x="image").batch(100)
    before = path.read_bytes()
    writer = hr.create(path, {"image": ((4,), "u1")}, overwrite=True)
    with refused(OptionError, "a.h5", "a file that is read"), writer:
        writer.write_all(loader)
    assert path.read_bytes() == before
