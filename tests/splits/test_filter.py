"""Filters: the rows that a function of small fields keeps."""

import os
import threading

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import DataError, FieldNotFoundError, OptionError
from tests.splits.tables import FORMS, N, columns, compressed, contiguous, ids


@given(mask=st.lists(st.booleans(), min_size=1, max_size=300).map(np.array))
def test_the_rows_that_are_kept_keep_their_order(mask):
    """Whether a function marks them or an array does."""
    data = hr.from_arrays(np.arange(len(mask)), mask)
    for kept in (data.filter(lambda y: y), data.filter(mask), data.filter(lambda m: m, mask)):
        assert ids(kept).tolist() == np.flatnonzero(mask).tolist()
        assert len(kept) == mask.sum()


@pytest.mark.parametrize("form", FORMS)
def test_fields_come_as_they_are_in_the_file_wherever_they_lie(tmp_path, form):
    """Several at a time, of any shape, among the fields of the data set or beside."""
    table = columns()
    data = form(tmp_path, table)
    kept = data.filter(lambda label, one_hot, part: (one_hot[:, label[0]] == 1) & (part != b"val"))
    assert 0 < len(kept) < N
    kept = data.filter(lambda age, y: (age > 3) & (y < 2), "age", "label")
    assert ids(kept).tolist() == np.flatnonzero((table["age"] > 3) & (table["label"] < 2)).tolist()


@pytest.mark.parametrize("form", FORMS)
def test_slices_splits_and_filtered_data_sets_are_filtered_as_well(tmp_path, form):
    """One after the other, and in a row with others."""
    table = columns()
    data = form(tmp_path, table)
    some = hr.concat(data.split(0.5, seed=1)[1].filter(lambda user: user < 70), data.take(70))
    kept = some.filter(lambda fold: fold == 1)
    assert ids(kept).tolist() == [i for i in ids(some).tolist() if table["fold"][i] == 1]


def test_rows_are_numbered_from_the_data_set_with_an_array_beside():
    """Its values are those of the same rows, however fields are read."""
    n = 400_000
    data = hr.from_arrays(np.arange(n), np.arange(n) % 7)
    beside = np.arange(n) % 3
    kept = data.filter(lambda y, three: (y == 2) & (three == 1), "y", beside)
    assert ids(kept).tolist() == [i for i in range(n) if i % 7 == 2 and i % 3 == 1]


def test_nothing_but_the_fields_that_are_named_is_read(tmp_path):
    """A field that cannot be read does not matter."""
    table = columns()
    data = compressed(tmp_path, table)
    with h5py.File(tmp_path / "gzip.h5") as file:
        chunks = [file["id"].id.get_chunk_info(i) for i in range(file["id"].id.get_num_chunks())]
    stat = (tmp_path / "gzip.h5").stat()
    with (tmp_path / "gzip.h5").open("r+b") as raw:
        for chunk in chunks:
            raw.seek(chunk.byte_offset)
            raw.write(bytes(chunk.size))
    # Other permissions explain a change of status: the file is not taken for a rewritten one.
    os.utime(tmp_path / "gzip.h5", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "gzip.h5").chmod(0o600)
    kept = data.filter(lambda label: label == 3)
    assert len(kept) == np.sum(table["label"] == 3)
    assert len(kept.only("label")[:][0]) == len(kept)
    with pytest.raises(OSError, match="id"):
        ids(kept)


def test_a_filter_may_keep_nothing_or_everything(tmp_path):
    """There is nothing to batch in nothing; it joins others without trace."""
    data = contiguous(tmp_path, columns())
    nothing = data.filter(lambda label: label > 9)
    assert len(nothing) == 0
    assert len(nothing[:][0]) == 0
    assert len(nothing.filter(lambda label: label > 9)) == 0
    assert ids(hr.concat(nothing, data)).tolist() == list(range(N))
    with pytest.raises(OptionError, match="no rows"):
        nothing.batch(4)
    assert ids(data.filter(lambda label: label < 9)).tolist() == list(range(N))


@pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")
@pytest.mark.parametrize("memory, mode", [(40_000, "windows"), ("10MB", "exact")])
def test_a_filtered_data_set_is_shuffled_as_any(make_images, memory, mode):
    """Every row once, whatever the memory."""
    images = make_images(1200)
    data = hr.from_hdf5(images.path, x="image", y="id").filter(lambda label: label != 0)
    loader = data.batch(16, shuffle=True, seed=0, memory=memory)
    assert loader.report().shuffle["mode"] == mode
    rows = np.concatenate([y for _, y in loader]).tolist()
    assert sorted(rows) == np.flatnonzero(images.label).tolist()
    assert rows != sorted(rows)


def test_the_filter_of_a_mapped_data_set_goes_by_the_file(tmp_path):
    """Before map(), which the rows kept keep."""
    data = contiguous(tmp_path, columns()).map(lambda x, y: (x, y + 100))
    assert set(data.filter(lambda label: label == 3)[:][1].tolist()) == {103}


def test_parameters_with_defaults_are_no_fields():
    """They may hold what the function needs."""
    data = hr.from_arrays(np.arange(10), np.arange(10))
    assert ids(data.filter(lambda y, least=7: y >= least)).tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    "keep, message",
    [
        (lambda y: y.sum() > 3, r"shape \(10,\), for rows 0 to 9.*shape \(\)"),
        (lambda y: y, "shape .* and int64"),
        (lambda y: (y > 3)[:5], r"shape \(5,\)"),
        (lambda y: [], "float64"),
        (lambda y: next(iter(())), "StopIteration"),
    ],
)
def test_what_is_no_mask_is_refused(keep, message):
    """And says what one looks like."""
    with pytest.raises(DataError, match=message):
        hr.from_arrays(np.arange(10), np.arange(10)).filter(keep)


def test_the_error_says_which_rows_there_were():
    """Counted from the first row of the data set."""
    data = hr.from_arrays(np.arange(300_000), np.arange(300_000))
    with pytest.raises(DataError, match="for rows 131072 to 262143"):
        data.filter(lambda y: y >= 0 if y[0] == 0 else y)


@pytest.mark.parametrize(
    "keep, fields, message",
    [
        (lambda *values: values[0] > 3, (), "names of fields"),
        (lambda: True, (), "names of fields"),
        (min, (), "names of fields"),
        ("y > 3", (), "function"),
        (np.zeros(9, bool), (), r"boolean array of shape \(10,\)"),
        (np.zeros(10), (), r"boolean array of shape \(10,\)"),
        (np.zeros(10, bool), ("y",), "alone"),
        (lambda y: y > 3, (np.zeros(9),), "each of the 10 rows"),
        (lambda y: y > 3, (7,), "each of the 10 rows"),
    ],
)
def test_a_filter_that_does_not_say_what_it_takes_is_refused(keep, fields, message):
    """Before anything is read."""
    with pytest.raises(OptionError, match=message):
        hr.from_arrays(np.arange(10), np.arange(10)).filter(keep, *fields)


def test_an_unknown_field_is_named(tmp_path):
    """With near ones."""
    with pytest.raises(FieldNotFoundError, match="Did you mean 'label'"):
        contiguous(tmp_path, columns()).filter(lambda lable: lable > 3)


def test_an_error_of_the_function_comes_through_and_ends_the_reading(tmp_path):
    """As it is; the threads are gone."""
    with pytest.raises(ZeroDivisionError):
        contiguous(tmp_path, columns()).filter(lambda label: 1 / 0)
    assert not [t for t in threading.enumerate() if t.name.startswith("headrace")]
