"""Several files as one data set."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import DataError, FieldNotFoundError, MissingFileError, OptionError
from tests.bad_input.refusal import refused
from tests.files import gzip, images, write

IMAGES = images(60)


@pytest.fixture
def shards(tmp_path):
    """Eleven files of five images, and one of five more under another name."""
    for k in range(11):
        rows = np.arange(k * 5, k * 5 + 5)
        write(tmp_path / f"shard{k}.h5", image=gzip(IMAGES[rows], 2), id=rows)
    write(tmp_path / "more.h5", image=IMAGES[55:], id=np.arange(55, 60))
    return tmp_path


def ids(data):
    return data.only("id")[:][0].tolist()


@pytest.mark.parametrize("function", [hr.from_hdf5, hr.open])
def test_a_pattern_is_all_its_files_in_natural_order(shards, function):
    data = function(shards / "shard*.h5", x="image", y="id")
    assert len(data) == 55
    x, y = data[:]
    assert (x == IMAGES[:55]).all()
    assert y.tolist() == list(range(55))


def test_a_list_is_its_files_in_the_order_given(shards):
    data = hr.from_hdf5([shards / "more.h5", str(shards / "shard1.h5")], x="image", y="id")
    assert ids(data) == [55, 56, 57, 58, 59, 5, 6, 7, 8, 9]
    assert (data[:][0] == IMAGES[ids(data)]).all()


def test_a_file_named_twice_gives_its_rows_twice(shards):
    data = hr.from_hdf5([shards / "shard1.h5", shards / "shard0.h5", shards / "shard1.h5"], "id")
    assert ids(data) == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_start_and_end_count_over_all_files(shards):
    data = hr.from_hdf5(shards / "shard*.h5", x="id", start=7, end=13)
    assert ids(data) == list(range(7, 13))
    assert len(data.pipeline.view.parts) == 2
    with refused(OptionError, "start < end <= 55"):
        hr.from_hdf5(shards / "shard*.h5", x="id", end=56)


def test_an_epoch_has_every_row_of_every_file_once(shards):
    data = hr.from_hdf5([shards / "shard*.h5", shards / "more.h5"], x="image", y="id")
    loader = data.batch(7, shuffle=True, seed=0, memory=40_000)
    batches = list(loader)
    y = np.concatenate([y for _, y in batches])
    assert sorted(y) == list(range(60))
    assert y.tolist() != list(range(60))
    assert (np.concatenate([x for x, _ in batches]) == IMAGES[y]).all()


def test_the_order_of_an_epoch_is_that_of_one_file(shards, tmp_path):
    """Where rows have addresses, how they are spread over files does not matter."""
    write(tmp_path / "all.h5", id=np.arange(55))
    one = hr.from_hdf5(tmp_path / "all.h5").batch(8, shuffle=True, seed=3)
    many = hr.from_hdf5(tmp_path / "shard*.h5", x="id").batch(8, shuffle=True, seed=3)
    for (a,), (b,) in zip(one, many, strict=True):
        assert a.tolist() == b.tolist()


def test_without_x_the_first_file_says_what_there_is(shards):
    assert hr.from_hdf5(shards / "shard*.h5", y="id").spec.x == "image"
    with refused(FieldNotFoundError, "Which dataset of", str(shards / "shard0.h5"), "image"):
        hr.from_hdf5(shards / "shard*.h5")


def test_a_field_that_a_file_lacks_names_the_file(shards):
    write(shards / "shard12.h5", id=np.arange(5))
    with refused(FieldNotFoundError, "'image'", str(shards / "shard12.h5"), "It holds: id."):
        hr.from_hdf5(shards / "shard*.h5", x="image")


@pytest.mark.parametrize(
    "other, form",
    [(images(5, (4, 5, 3)), "(4, 5, 3) uint8"), (IMAGES[:5].astype("f4"), "(4, 4, 3) float32")],
)
def test_files_that_differ_say_in_what(shards, other, form):
    write(shards / "shard12.h5", image=other, id=np.arange(5))
    first, second = str(shards / "shard0.h5"), str(shards / "shard12.h5")
    with refused(DataError, "differ in 'image'", first, "(4, 4, 3) uint8", second, form):
        hr.from_hdf5(shards / "shard*.h5", x="image", y="id")


def test_files_may_be_stored_in_different_ways(shards):
    """The report says how many in which."""
    data = hr.from_hdf5([shards / "shard*.h5", shards / "more.h5"], x="image")
    path = data.batch(8).report().paths["image"]
    assert path["path"] == "direct chunks and direct rows"
    assert "gzip, decoded in threads (11 of 12 sources)" in path["reason"]


def test_byte_orders_may_differ(tmp_path):
    """The model gets the same."""
    write(tmp_path / "a.h5", x=np.arange(5, dtype=">i4"))
    write(tmp_path / "b.h5", x=np.arange(5, 9, dtype="<i4"))
    (x,) = hr.from_hdf5([tmp_path / "a.h5", tmp_path / "b.h5"])[:]
    assert (x.tolist(), x.dtype) == (list(range(9)), np.dtype("i4"))


def test_a_pattern_without_files_is_an_error(shards):
    with refused(MissingFileError, "No file matches", "*.hdf5", "holds: more.h5, shard0.h5"):
        hr.from_hdf5(shards / "*.hdf5", x="image")


def test_what_is_wrong_with_one_of_many_names_it(shards):
    (shards / "shard3.h5").write_text("a,b\n1,2\n")
    with refused(hr.errors.FileFormatError, str(shards / "shard3.h5"), "CSV"):
        hr.from_hdf5(shards / "shard*.h5", x="image")
    with refused(MissingFileError, "gone.h5"):
        hr.from_hdf5([shards / "more.h5", shards / "gone.h5"], x="image")
    with h5py.File(shards / "more.h5", "r") as file, refused(OptionError, "an open <HDF5 file"):
        hr.from_hdf5([file], x="image")


FEW = """
import os, resource, sys
import numpy as np
import headrace as hr

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
data = hr.from_hdf5(sys.argv[1], x="x", y="y")
assert len(data) == 1500, len(data)
for shuffle in (True, "exact"):
    got = []
    for x, y in data.batch(32, shuffle=shuffle, seed=0, workers=3, memory=60_000):
        assert (x == y[:, None]).all()
        got.append(y)
        assert len(os.listdir("/proc/self/fd")) < 60
    assert sorted(np.concatenate(got)) == list(range(1500))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
@pytest.mark.parametrize(
    "storage",
    [{}, {"chunks": (2, 20), "compression": "gzip"}, {"chunks": (2, 20), "compression": "lzf"}],
    ids=["contiguous", "gzip", "lzf"],
)
def test_more_files_than_may_be_open(tmp_path, storage):
    """Three hundred, of which a process may open sixty-four; its other half is for others."""
    for k in range(300):
        rows = np.arange(k * 5, k * 5 + 5)
        x = np.repeat(rows[:, None], 20, 1).astype("i4")
        write(tmp_path / f"{k}.h5", x={"data": x, **storage}, y=rows)
    command = [sys.executable, "-W", "ignore:shuffle='exact'", "-c", FEW, str(tmp_path / "*.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_an_ellipsis_takes_all_fields_that_y_leaves(tmp_path):
    """`x=...` of an HDF5 file and of an .npz file."""
    image, label = np.zeros((5, 2), "u1"), np.arange(5)
    write(tmp_path / "a.h5", image=image, label=label, weight=np.ones(5))
    np.savez(tmp_path / "a.npz", image=image, label=label, weight=np.ones(5))
    assert hr.open(tmp_path / "a.h5", ..., y="label").spec.x == ("image", "weight")
    assert hr.open(tmp_path / "a.h5", ...).spec.x == ("image", "label", "weight")
    (x, y) = hr.open(tmp_path / "a.npz", ..., y="label")[:]
    assert [part.shape for part in x] == [(5, 2), (5,)]
    assert y.tolist() == label.tolist()


def test_an_npy_file_is_cut_by_start_and_end(tmp_path):
    """As other formats are."""
    np.save(tmp_path / "a.npy", np.arange(10))
    (x,) = hr.open(tmp_path / "a.npy", start=3, end=5)[:]
    assert x.tolist() == [3, 4]
