"""Arrays as a data set."""

import io
import os
import tracemalloc
import zipfile

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

import headrace as hr
from headrace.errors import (
    ChangedFileError,
    DataError,
    FieldNotFoundError,
    FileFormatError,
    MissingFileError,
    OptionError,
    ReadError,
    ShapeError,
    TypeNotSupportedError,
)
from tests.bad_input.refusal import refused
from tests.files import images
from tests.sources.array_forms import Sliced

IMAGES = images(300, (6, 5, 3))
ROWS = np.arange(300)


def epoch(loader):
    """All batches of an epoch, put together."""
    batches = list(loader)
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def test_arrays_in_a_nest_are_fields_named_by_their_places():
    data = hr.from_arrays({"photo": IMAGES, "more": [ROWS, ROWS * 2]}, (ROWS,), ROWS / 300)
    assert list(data.spec) == ["x.photo", "x.more.0", "x.more.1", "y.0", "sample_weight"]
    x, y, weight = data[[7, -1, 7]]
    assert (x["photo"] == IMAGES[[7, 299, 7]]).all()
    assert [one.tolist() for one in x["more"]] == [[7, 299, 7], [14, 598, 14]]
    assert y[0].tolist() == [7, 299, 7]
    assert (weight == np.array([7, 299, 7]) / 300).all()


@pytest.mark.parametrize("shuffle", [True, "exact", "batch", False])
def test_an_epoch_has_every_row_once_with_its_own_label(shuffle):
    loader = hr.from_arrays(IMAGES, ROWS).batch(32, shuffle=shuffle, seed=0)
    x, y = epoch(loader)
    assert sorted(y) == ROWS.tolist()
    assert (x == IMAGES[y]).all()
    assert (y.tolist() == ROWS.tolist()) == (shuffle is False)


def test_the_shuffle_is_exact_whatever_the_budget():
    small = hr.from_arrays(IMAGES, ROWS).batch(8, shuffle=True, seed=0, memory="16kB")
    large = hr.from_arrays(IMAGES, ROWS).batch(8, shuffle=True, seed=0)
    assert epoch(small)[1].tolist() == epoch(large)[1].tolist()
    assert small.report().shuffle["mode"] == "exact"


def test_arrays_in_memory_are_not_copied():
    """They are far larger than the budget; and where they would fit, no copy is kept either."""
    big = np.zeros((1 << 20, 16), np.uint8)
    for memory in ("1MB", "1GB"):
        loader = hr.from_arrays(big, np.arange(1 << 20)).batch(256, shuffle=True, memory=memory)
        assert sorted(epoch(loader)[1]) == list(range(1 << 20))
        assert loader.report().peak_bytes < (1 << 20 if memory == "1MB" else 30e6)


@pytest.mark.parametrize(
    "change",
    [np.asfortranarray, lambda a: a.astype(">i4"), lambda a: a[:, ::2], lambda a: a[::-1]],
    ids=["Fortran order", "big-endian", "every other column", "backwards"],
)
def test_of_arrays_in_other_orders_only_rows_are_copied(change):
    big = change(np.arange(1 << 21, dtype=np.int32).reshape(-1, 16))
    data = hr.from_arrays(big)
    tracemalloc.start()
    (rows,) = data[[5, 70_000, 5]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (rows == big[[5, 70_000, 5]]).all()
    assert peak < 1 << 20


def test_batches_are_no_views_of_the_arrays():
    values = ROWS.copy()
    (x,) = next(iter(hr.from_arrays(values).batch(32)))
    x[:] = -1
    assert (values == ROWS).all()


def test_files_of_numpy_are_read_row_by_row(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    np.savez(tmp_path / "y.npz", label=ROWS)
    data = hr.from_arrays(tmp_path / "x.npy", tmp_path / "y.npz")
    loader = data.batch(32, shuffle=True, memory="100kB")
    x, y = epoch(loader)
    assert (x == IMAGES[y]).all()
    report = loader.report()
    # Labels stay in memory; of the images no more is read than is handed out.
    assert report.bytes_read <= IMAGES.nbytes + ROWS.nbytes
    assert report.paths["x"]["path"] == "direct rows"


def test_mapped_arrays_are_read_from_their_file_and_pickled_as_its_path(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = hr.from_arrays(mapped[100:], ROWS[100:])
    assert data.pipeline.view.read_paths()["x"].path == "direct rows"
    assert (data[:][0] == IMAGES[100:]).all()
    # Every second row does not lie together any more.
    assert hr.from_arrays(mapped[::2]).pipeline.view.read_paths()["x"].path == "memory"


def test_arrays_mapped_for_writing_are_read_as_they_are(tmp_path):
    values = np.memmap(tmp_path / "raw", "i8", "w+", shape=300)
    data = hr.from_arrays(values)
    values[:] = ROWS
    assert (data[:][0] == ROWS).all()


def test_open_knows_files_of_numpy(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    np.savez(tmp_path / "data.npz", image=IMAGES, label=ROWS)
    assert (hr.open(tmp_path / "x.npy")[:][0] == IMAGES).all()
    x, y = hr.open(tmp_path / "data.npz", x="image", y="label")[5:9]
    assert (x == IMAGES[5:9]).all()
    assert y.tolist() == [5, 6, 7, 8]
    with refused(FieldNotFoundError, "Which array", "image, label"):
        hr.open(tmp_path / "data.npz")


def test_an_h5py_dataset_is_read_as_its_file_is(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", data=IMAGES, chunks=(8, 6, 5, 3), compression="gzip")
        # While it is written, only h5py knows what is in it.
        data = hr.from_arrays(dataset)
        assert data.pipeline.view.read_paths()["x"].path == "slices"
        assert (data[:][0] == IMAGES).all()
    with h5py.File(tmp_path / "x.h5", "r") as file:
        data = hr.from_arrays(file["x"], ROWS)
    assert data.pipeline.view.read_paths()["x"].path == "direct chunks"
    assert (data[:][0] == IMAGES).all()


def test_sliced_objects_are_read_in_blocks_and_never_as_a_whole():
    asked = []

    class Counted(Sliced):
        chunks = (40, 6, 5, 3)

        def __getitem__(self, index):
            asked.append((index.start, index.stop))
            return super().__getitem__(index)

    data = hr.from_arrays(Counted(IMAGES), ROWS)
    asked.clear()
    with pytest.warns(UserWarning, match="takes 2 blocks"):
        loader = data.batch(16, shuffle=True, memory="40kB")
    x, y = epoch(loader)
    assert sorted(y) == ROWS.tolist()
    assert (x == IMAGES[y]).all()
    assert all(stop - start <= 40 for start, stop in asked)
    assert sorted(asked) == [(a, min(a + 40, 300)) for a in range(0, 300, 40)]


def test_data_frames_become_one_matrix_or_named_columns():
    frame = pd.DataFrame({"a": ROWS.astype("f4"), "b": (ROWS % 2).astype("i2")})
    data = hr.from_arrays(frame, frame["b"])
    assert data.spec["x"].shape == (2,)
    assert data.spec["x"].dtype == np.float32
    assert data[3][0].tolist() == [3, 1]
    named = hr.from_arrays(dict(frame))
    assert named[3][0]["b"].dtype == np.int16


def test_sparse_rows_are_dense_in_batches():
    matrix = scipy.sparse.random_array((300, 50), density=0.1, rng=0, format="csc")
    loader = hr.from_arrays(matrix, ROWS).batch(32, shuffle=True)
    x, y = epoch(loader)
    assert (x == matrix.toarray()[y]).all()


@pytest.mark.parametrize(
    "array, error, words",
    [
        ([1, 2, 3], OptionError, "A list means several inputs"),
        ({}, OptionError, "empty list or dict"),
        ([], OptionError, "empty list or dict"),
        (None, OptionError, "NoneType"),
        (np.float64(3), ShapeError, "single value"),
        (np.zeros((0, 3)), ShapeError, "it holds no values"),
        (np.zeros((3, 0)), ShapeError, "it holds no values"),
        (np.array(["a", None]), TypeNotSupportedError, "Python objects"),
        (np.ma.array([1, 2], mask=[0, 1]), TypeNotSupportedError, "mask"),
        (Sliced(np.array(["a", None])), TypeNotSupportedError, "Python objects"),
        (Sliced(np.ma.array([1, 2], mask=[1, 0])), TypeNotSupportedError, "mask"),
        (pd.DataFrame({"t": ["a", "b"]}), TypeNotSupportedError, "'t' is of type str"),
        (pd.DataFrame({"t": pd.Categorical(["a"])}), TypeNotSupportedError, "cat.codes"),
        (pd.Series([1, None], dtype="Int8"), DataError, "fillna"),
        (pd.DataFrame({"a": [2**60], "b": [0.5]}), DataError, "above 2**53"),
        (pd.DataFrame(index=range(3)), DataError, "without columns"),
        (pl.DataFrame({"t": ["a"]}), TypeNotSupportedError, "'t' is of type String"),
        (pl.Series("n", [1, None]), DataError, "fill_null"),
        (scipy.sparse.coo_array(np.ones(3)), ShapeError, "Expected 2"),
    ],
)
def test_what_cannot_be_used_is_refused(array, error, words):
    with refused(error, words):
        hr.from_arrays(array)


def test_arrays_of_other_lengths_are_refused():
    with refused(ShapeError, "x has 300, y has 299"):
        hr.from_arrays(IMAGES, ROWS[:-1])
    with refused(OptionError, "sample_weight= needs y="):
        hr.from_arrays(IMAGES, sample_weight=ROWS)


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "text.npy").write_text("<html>")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'")
    np.savez_compressed(tmp_path / "packed.npz", x=ROWS)
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    for name, error, words in [
        ("none.npy", MissingFileError, "no file"),
        ("text.npy", FileFormatError, "looks like a web page"),
        ("cut.npy", FileFormatError, "damaged"),
        ("packed.npz", FileFormatError, "compressed"),
        ("objects.npy", TypeNotSupportedError, "arbitrary code"),
        ("", FileFormatError, "is a folder"),
    ]:
        with refused(error, words):
            hr.from_arrays(str(tmp_path / name))


@pytest.mark.parametrize("order", ["C", "F"])
def test_truncated_files_are_refused_before_and_while_they_are_read(tmp_path, order):
    path = tmp_path / "x.npy"
    np.save(path, np.asarray(IMAGES, order=order))
    data = hr.from_arrays(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ChangedFileError, match=r"x\.npy' had 27128 bytes and now has 27127"):
        data[290:]
    with refused(FileFormatError, "truncated"):
        hr.from_arrays(path)


def test_every_cut_of_an_npz_file_is_an_error_of_headrace(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=ROWS, b=IMAGES[:3])
    content = path.read_bytes()
    for size in range(0, len(content), 37):
        path.write_bytes(content[:size])
        with pytest.raises(hr.HeadraceError, match=r"x\.npz"):
            hr.from_arrays(path / "b")


def test_damaged_npz_files_give_their_values_or_an_error_of_headrace(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=ROWS)
    content = path.read_bytes()
    raised = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        at = rng.choice([*range(140), *range(len(content) - 80, len(content))], 3)
        for place in at:
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            data = hr.from_arrays(path / "a")
            if len(data) <= 3000:
                data[:]
        except hr.HeadraceError:
            raised += 1
    assert 50 < raised < 300


def test_a_member_that_is_longer_than_its_place_is_refused(tmp_path):
    """Behind it lie the bytes of another one."""
    first, second = io.BytesIO(), io.BytesIO()
    np.save(first, ROWS)
    np.save(second, ROWS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", first.getvalue()[:-8])
        archive.writestr("b.npy", second.getvalue())
    with refused(FileFormatError, "truncated"):
        hr.from_arrays(tmp_path / "x.npz" / "a")


def test_an_object_whose_slices_are_not_what_it_says_is_an_error():
    class Short(Sliced):
        def __getitem__(self, index):
            return super().__getitem__(index)[: 10 if index.start else None]

    with pytest.raises(ReadError, match=r"Expected \[100:150\] of 'x' to be of shape \(50,"):
        hr.from_arrays(Short(IMAGES))[100:150]

    class Failing(Sliced):
        def __getitem__(self, index):
            if index.start:
                raise KeyError("the server is gone")
            return super().__getitem__(index)

    with pytest.raises(ReadError, match="KeyError: 'the server is gone'"):
        hr.from_arrays(Failing(IMAGES))[100:150]


def test_parts_and_positions_work_as_for_files(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    data = hr.from_arrays(tmp_path / "x.npy", ROWS)
    train, val = data.split(0.8, seed=0)
    assert sorted([*train[:][1], *val[:][1]]) == ROWS.tolist()
    loader = train.batch(16, shuffle=True, seed=1)
    seen = [y for _, (_, y) in zip(range(7), loader, strict=False)]
    saved = loader.state_dict()
    again = hr.from_arrays(tmp_path / "x.npy", ROWS).split(0.8, seed=0)[0]
    other = again.batch(16, shuffle=True, seed=1)
    other.load_state_dict(saved)
    rest = [y for _, y in other]
    assert sorted(np.concatenate([*seen, *rest]).tolist()) == sorted(train[:][1].tolist())
    joined = hr.concat(hr.from_arrays(IMAGES, ROWS), hr.from_arrays(IMAGES[:7], ROWS[:7]))
    assert len(joined) == 307


def test_places_that_would_have_one_name_keep_their_own_arrays():
    nest = {"a": {"b": np.zeros(3)}, "a.b": np.ones(3), 1: np.full((3, 2), 2), "1": np.full(3, 3)}
    (x,) = hr.from_arrays(nest)[:]
    assert x["a"]["b"].tolist() == [0, 0, 0]
    assert x["a.b"].tolist() == [1, 1, 1]
    assert x[1].shape == (3, 2)
    assert x["1"].tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    "series,words",
    [
        (pl.Series([1, 2]).cast(pl.Decimal(20, 2)), "pl.Float64"),
        (pl.Series([1, 2]).cast(pl.Int128), "i128"),
        (pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)), "series.to_numpy"),
        (pd.Series(pd.arrays.SparseArray([0, 1])), "sparse.to_dense"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "int64"),
    ],
)
def test_columns_that_hold_no_numbers_are_refused_with_the_way_out(series, words):
    with refused(TypeNotSupportedError, words):
        hr.from_arrays(series)


def test_sparse_matrices_in_other_byte_order_are_read():
    matrix = scipy.sparse.random_array((20, 5), density=0.5, rng=0).tocsr()
    swapped = matrix.copy()
    swapped.data = swapped.data.astype(">f8")
    (x,) = hr.from_arrays(swapped)[:]
    assert (x == matrix.toarray()).all()


def test_every_version_of_the_format_is_read(tmp_path):
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "x.npy").open("wb") as file:
            np.lib.format.write_array(file, ROWS, version=version)
        (x,) = hr.from_arrays(tmp_path / "x.npy")[:]
        assert (x == ROWS).all()


def test_a_list_of_files_is_told_to_be_several_inputs(tmp_path):
    files = []
    for number in range(30):
        files.append(str(tmp_path / f"{number}.npy"))
        np.save(files[-1], np.zeros(4))
    with pytest.raises(ShapeError, match=r"several inputs, here 30 .* from_sequence") as caught:
        hr.from_arrays(files, np.zeros(30))
    assert len(str(caught.value)) < 800


def test_a_part_that_is_left_out_beside_others_is_refused():
    with refused(OptionError, "sample_weight.1 is None", "np.ones"):
        hr.from_arrays(ROWS, (ROWS, ROWS), [np.ones(len(ROWS)), None])

    with refused(OptionError, "sample_weight has no entry for q"):
        hr.from_arrays(ROWS, {"p": ROWS, "q": ROWS}, {"p": np.ones(len(ROWS))})
