"""Splits by key: all rows of a key on one side, whatever else there is."""

import re
import warnings

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import (
    ChangedFileError,
    DataError,
    OptionError,
    ShapeError,
    TypeNotSupportedError,
)
from tests.bad_input.refusal import refused
from tests.splits.tables import FORMS, columns, compressed, contiguous, ids, write

pytestmark = pytest.mark.filterwarnings("ignore:Splitting by")

keys = st.lists(st.integers(-50, 50), min_size=1, max_size=300).map(np.array)


@given(
    key=keys, cuts=st.lists(st.floats(0.05, 0.3), min_size=1, max_size=3), seed=st.integers(0, 9)
)
def test_no_key_is_on_two_sides(key, cuts, seed):
    """Parts are disjoint and complete, and rows keep their order."""
    data = hr.from_arrays(np.arange(len(key)), key)
    found = [ids(part) for part in data.split(*cuts, by="y", seed=seed)]
    assert len(found) == len(cuts) + 1
    assert sorted(np.concatenate(found).tolist()) == list(range(len(key)))
    assert all(np.all(np.diff(part) > 0) for part in found)
    sides = [set(key[part].tolist()) for part in found]
    assert sum(map(len, sides)) == len(set(key.tolist()))


@given(key=keys, data=st.data())
def test_a_key_keeps_its_side_when_rows_come_and_go(key, data):
    """Appended, left out, in another order, in another type."""
    more = np.concatenate([key, data.draw(keys)])
    more = more[data.draw(st.permutations(range(len(more))))]
    dtype = data.draw(st.sampled_from(["i1", ">i2", "i8", "f4", ">f8"]))

    def sides(values):
        parts = hr.from_arrays(np.arange(len(values)), values).split(0.5, 0.2, by="y")
        return {k: side for side, part in enumerate(parts) for k in part[:][1].tolist()}

    before, after = sides(key), sides(more.astype(dtype))
    assert all(after[k] == side for k, side in before.items())


def test_a_larger_share_keeps_the_keys_it_has():
    """Whoever trained at 0.7 trains at 0.8 too."""
    data = hr.from_arrays(np.arange(5000))
    small, large = (set(ids(data.split(s, by="x")[0]).tolist()) for s in (0.7, 0.8))
    assert small < large


@pytest.mark.parametrize(
    "key",
    [np.arange(20_000), np.arange(20_000) * 64, np.char.add("u", np.arange(20_000).astype(str))],
)
def test_parts_have_about_their_shares_of_the_keys(key):
    """Within five standard deviations."""
    parts = hr.from_arrays(np.arange(len(key))).split(0.7, 0.2, by=key)
    for part, share in zip(parts, (0.7, 0.2, 0.1), strict=True):
        assert abs(len(part) - share * 20_000) < 5 * np.sqrt(20_000 * share * (1 - share))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("field", ["user", "name", "age", "held_out", "fold"])
def test_any_field_of_keys_will_do_wherever_it_lies(tmp_path, form, field):
    """In files where types differ too; the side is that of the value."""
    table = columns()
    data = form(tmp_path, table)
    expected = hr.from_arrays(table["id"]).split(0.6, by=table[field], seed=4)
    for part, other in zip(data.split(0.6, by=field, seed=4), expected, strict=True):
        assert ids(part).tolist() == ids(other).tolist()


def test_the_seed_draws_other_sides():
    """Without one it is 0."""
    data = hr.from_arrays(np.arange(3000))
    none, zero, one = (ids(data.split(0.5, by="x", seed=s)[0]).tolist() for s in (None, 0, 1))
    assert none == zero != one


def test_few_keys_may_leave_a_part_empty():
    """Better than to put a key on two sides; it is said, and there is nothing to batch then."""
    with pytest.warns(UserWarning, match="0%.*has 1 value.*No seed") as caught:
        parts = hr.from_arrays(np.arange(50)).split(0.5, by=np.zeros(50))
    assert caught[0].filename == __file__
    assert sorted(len(part) for part in parts) == [0, 50]
    with pytest.raises(OptionError, match="no rows"):
        min(parts, key=len).batch(4)


def test_text_is_the_same_in_code_points_bytes_and_padded():
    """Spaces fill what Fortran wrote, and NULs what C did."""
    text = [f"Ärger {i}" for i in range(100)]
    forms = [
        np.array(text),
        np.array([t.encode() for t in text]),
        np.array([t.encode().ljust(20) for t in text]),
        np.array([t.encode() for t in text], "S40"),
    ]
    data = hr.from_arrays(np.arange(100))
    first, *others = (ids(data.split(0.5, by=form)[0]).tolist() for form in forms)
    assert 20 < len(first) < 80
    assert all(other == first for other in others)


@pytest.mark.parametrize("sizes", [(100,), (100, 200), (0, 1), (0.5, 10)])
def test_numbers_of_rows_are_refused(tmp_path, sizes):
    """A key decides by itself, so that no number of rows can be kept."""
    with pytest.raises(OptionError, match=r"hash decides.*returns a dict"):
        contiguous(tmp_path, columns()).split(*sizes, by="fold")


@pytest.mark.parametrize("sizes", [(1.5,), (0.8, 0.4), ("a", 0.5), (None,)])
def test_what_is_no_share_is_refused(tmp_path, sizes):
    """As without keys."""
    with pytest.raises(OptionError, match=r"[Ss]hares"):
        contiguous(tmp_path, columns()).split(*sizes, by="user")


@pytest.mark.parametrize(
    "values, error, message",
    [
        (np.array([0.5, np.nan]), DataError, "NaN in row 1.*filter"),
        (np.zeros((2, 3)), ShapeError, "one value"),
        (np.zeros(2, "m8[s]"), TypeNotSupportedError, "timedelta64"),
    ],
)
def test_what_is_no_key_is_refused(values, error, message):
    """And says what is wrong."""
    with pytest.raises(error, match=message):
        hr.from_arrays(np.arange(2)).split(0.5, by=values)


# Parts that a field names.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("field", ["part", "fold", "held_out"])
def test_a_field_names_the_parts(tmp_path, form, field):
    """A dict of them, sorted by name: text as str, numbers as they are."""
    table = columns()
    parts = form(tmp_path, table).split(by=field)
    names = [n.decode() if isinstance(n, bytes) else n for n in np.unique(table[field]).tolist()]
    assert list(parts) == names
    for name, part in parts.items():
        value = name.encode() if isinstance(name, str) else name
        assert ids(part).tolist() == np.flatnonzero(table[field] == value).tolist()


def test_named_parts_come_in_the_order_that_is_asked_for(tmp_path):
    """Or as a list of names."""
    data, table = compressed(tmp_path, columns()), columns()
    for names in (("val", "test", "train"), (["val", "test", "train"],)):
        for name, part in zip(("val", "test", "train"), data.split(*names, by="part"), strict=True):
            assert ids(part).tolist() == np.flatnonzero(table["part"] == name.encode()).tolist()


@pytest.mark.parametrize(
    "names", [("train", "val"), ("train", "val", "test", "dev"), ("train", "train", "val", "test")]
)
def test_other_names_than_there_are_is_an_error(tmp_path, names):
    """It lists them, with their rows."""
    with pytest.raises(
        OptionError, match=r"'test' \(\d+\), 'train' \(\d+\), 'val'.*returns a dict"
    ):
        compressed(tmp_path, columns()).split(*names, by="part")


def test_parts_by_name_need_no_seed_and_few_names(tmp_path):
    """A seed would have no effect; a thousand names are keys, and floats no names."""
    data = compressed(tmp_path, columns())
    for names in ((), ("train", "val", "test")):
        with pytest.raises(OptionError, match="seed= has no effect"):
            data.split(*names, by="part", seed=1)
    with pytest.raises(OptionError, match=r"more than 1,000 different values.*give shares"):
        data.split(by="id")
    assert len(data.take(1000).split(by="id")) == 1000
    with pytest.raises(OptionError, match="holds floats"):
        data.split(by="age")


def test_a_thousand_parts_cost_four_bytes_a_row():
    """A bitmap for each would cost 250."""
    n = 200_000
    parts = hr.from_arrays(np.zeros(n, np.uint8)).split(by=np.arange(n) % 1000)
    selections = [part.pipeline.view.parts[0].selection for part in parts.values()]
    assert sum(selection._numbers.nbytes for selection in selections) == 4 * n


def test_a_file_that_was_written_to_is_refused(tmp_path):
    """Its rows may be others now."""
    table = columns()
    data = contiguous(tmp_path, table)
    write(tmp_path / "flat.h5", {name: values[::-1] for name, values in table.items()})
    with h5py.File(tmp_path / "flat.h5", "a") as file:
        file["more"] = np.arange(10)
    with pytest.raises(ChangedFileError, match="written to"):
        data.split(0.5, by="user")


def test_a_field_of_another_length_is_refused(tmp_path):
    """Its rows are not those of the data."""
    table = columns()
    data = contiguous(tmp_path, table | {"short": np.arange(10)})
    with pytest.raises(ShapeError, match="'short' has 10, those of the data set 1003"):
        data.split(0.5, by="short")


def test_names_that_look_alike_are_not_one():
    """Bytes that are no UTF-8 stay bytes, and no row is lost."""
    names = np.array([b"\xff", b"\xfe", b"\xff", b"\\xff", b"a"])
    parts = hr.from_arrays(np.arange(5)).split(by=names)
    found = {name: part[:][0].tolist() for name, part in parts.items()}
    assert found == {b"\xff": [0, 2], b"\xfe": [1], "\\xff": [3], "a": [4]}


def test_a_key_is_not_text_here_and_a_number_there(tmp_path):
    """5 and "5" have different hashes: rows of one user would lie on both sides."""
    for name, key in (("a.h5", np.array([b"5", b"6"])), ("b.h5", np.array([5, 6]))):
        with h5py.File(tmp_path / name, "w") as file:
            file["x"], file["key"] = np.arange(2), key
    data = hr.from_hdf5([tmp_path / "a.h5", tmp_path / "b.h5"], x="x")
    with pytest.raises(DataError, match="'key' holds text in some files, and numbers in others"):
        data.split(0.5, by="key")


@pytest.mark.parametrize("x", [["a"], ["a", "b"]])
def test_fields_that_are_cut_at_the_end_of_the_data_decide(tmp_path, x):
    """Whether those of the data set are all as long or not."""
    user = np.arange(500) // 7
    path = write(tmp_path / "in.h5", {"a": np.arange(100), "b": np.arange(90), "user": user})
    data = hr.from_hdf5(path, x, end=70)
    for part in data.split(0.5, by="user"):
        rows = np.ravel(part[:][0][0] if len(x) > 1 else part[:][0])
        other = np.setdiff1d(np.arange(70), rows)
        assert len(rows)
        assert not set(user[rows]) & set(user[other])
    with refused(ShapeError, "'b'", "90"):
        hr.from_hdf5(path, "a", end=95).split(0.5, by="b")


@pytest.mark.parametrize(
    "keys, sizes, words",
    [
        # Few keys.
        (np.arange(1000) % 5, (0.7,), "'k' has 5 values, one of them with 20% of the rows"),
        # One with most rows.
        (np.maximum(np.arange(1000) - 700, 0), (0.5,), "has 300 values, one of them with 70%"),
        (np.arange(1000) % 7, (0.4, 0.3), "where 40%, 30% and 30% were asked for"),
        (np.array([b"ant", b"bee", b"cat", b"dog"])[np.arange(1000) % 4], (0.6,), "4 values"),
    ],
)
def test_parts_far_from_their_shares_are_said(path, keys, sizes, words):
    """With what was asked for, what came and why; the seed that is named does what it says."""
    write(path, {"x": np.arange(1000), "k": keys})
    data = hr.from_hdf5(path, x="x")
    with pytest.warns(UserWarning, match="Splitting by 'k' made parts of") as caught:
        parts = data.split(*sizes, by="k")
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert words in text
    came = [f"{len(part) / 1000:.0%}" for part in parts]
    assert f"parts of {', '.join(came[:-1])} and {came[-1]} of the rows" in text
    seed, *better = re.search(r"seed=(\d+) gives (.*?%) and (.*?%)\.", text).groups()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = data.split(*sizes, by="k", seed=int(seed))
    assert [f"{len(part) / 1000:.0%}" for part in again] == ", ".join(better).split(", ")
    assert all(map(len, again))


def test_parts_near_their_shares_are_not_said():
    """Within five percent of the rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = hr.from_arrays(np.arange(5000)).split(0.8, by="x")
    assert abs(len(first) / 5000 - 0.8) < 0.05
    assert len(first) + len(second) == 5000
