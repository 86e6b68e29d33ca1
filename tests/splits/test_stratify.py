"""Splits by class: each part has its share of each, to less than a row."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import DataError, OptionError, ShapeError, TypeNotSupportedError
from tests.splits.tables import FORMS, N, columns, compressed, ids

labels = st.lists(st.integers(0, 6), min_size=1, max_size=300).map(np.array)
shares = st.one_of(
    st.lists(st.floats(0.01, 0.3), min_size=1, max_size=3).map(tuple),
    st.lists(st.integers(0, 60), min_size=1, max_size=3).map(tuple),
)
seeds = st.one_of(st.none(), st.integers(0, 5))


@given(label=labels, sizes=shares, seed=seeds)
def test_parts_are_disjoint_complete_and_in_order(label, sizes, seed):
    """Of the sizes that a split without classes has, and each with its share of each class."""
    n = len(label)
    if isinstance(sizes[0], int) and sum(sizes) > n:
        sizes = (n,)
    data = hr.from_arrays(np.arange(n), label)
    parts = data.split(*sizes, seed=seed, stratify="y")
    found = [ids(part) for part in parts]
    assert sorted(np.concatenate(found).tolist()) == list(range(n))
    assert all(np.all(np.diff(part) > 0) for part in found)
    assert [len(part) for part in parts] == [len(part) for part in data.split(*sizes)]
    classes = np.bincount(label)
    for part in found:
        exact = classes * len(part) / n
        assert np.all(abs(np.bincount(label[part], minlength=len(classes)) - exact) < 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("field", ["label", "one_hot", "part", "fold", "held_out", "age", "user"])
def test_any_field_of_classes_will_do_wherever_it_lies(tmp_path, form, field):
    """Numbers, booleans, text and one-hot rows; among the fields of the data set, or beside."""
    table = columns()
    data = form(tmp_path, table)
    classes = table[field].argmax(axis=1) if field == "one_hot" else table[field]
    expected = hr.from_arrays(table["id"]).split(0.6, 0.3, seed=3, stratify=classes)
    parts = data.split(0.6, 0.3, seed=3, stratify=field)
    for part, other in zip(parts, expected, strict=True):
        assert ids(part).tolist() == ids(other).tolist()


@pytest.mark.parametrize("form", FORMS)
def test_slices_splits_and_data_sets_in_a_row_are_split_as_well(tmp_path, form):
    """The classes are those of the rows that are there."""
    table = columns()
    data = form(tmp_path, table)
    some = hr.concat(data.split(0.5, seed=1)[1], data.take(70), data.split(333)[1])
    expected = hr.from_arrays(ids(some), some[:][1]).split(0.75, seed=0, stratify="y")
    for part, other in zip(some.split(0.75, seed=0, stratify="label"), expected, strict=True):
        assert ids(part).tolist() == ids(other).tolist()


def test_without_a_seed_the_first_rows_of_each_class_come_first():
    """As a split without classes takes the first rows."""
    label = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    first, last = hr.from_arrays(np.arange(8), label).split(0.5, stratify="y")
    assert ids(first).tolist() == [0, 1, 2, 3]
    assert ids(last).tolist() == [4, 5, 6, 7]


def test_rows_are_drawn_by_the_seed_and_spread(tmp_path):
    """The same for the same, others for others, from all over the class."""
    data = compressed(tmp_path, columns())
    one, same, other = (ids(data.split(0.5, seed=s, stratify="label")[0]) for s in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert 0.4 < np.mean(np.isin(one, other)) < 0.6
    assert 0.45 < np.mean(one < N // 2) < 0.55


def test_the_split_of_a_mapped_data_set_goes_by_the_file(tmp_path):
    """Before map()."""
    data = compressed(tmp_path, columns())
    mapped = data.map(lambda x, y: (x, y * 0))
    (one, _), (plain, _) = (d.split(0.5, seed=0, stratify="label") for d in (mapped, data))
    assert ids(one).tolist() == ids(plain).tolist()
    assert not one[:][1].any()


def test_rare_classes_go_where_they_are_missed_least():
    """A class of one row is in one part, and the sizes stay."""
    label = np.array([0] * 98 + [1, 2])
    train, val = hr.from_arrays(np.arange(100), label).split(0.9, seed=0, stratify="y")
    assert (len(train), len(val)) == (90, 10)
    assert np.bincount(train[:][1], minlength=3)[1:].tolist() == [1, 1]


def test_an_array_must_have_a_class_for_each_row(tmp_path):
    """Its length is named."""
    data = compressed(tmp_path, columns())
    with pytest.raises(OptionError, match=r"each of the 1003 rows.*shape \(1002,\)"):
        data.split(0.5, seed=0, stratify=np.zeros(N - 1))
    with pytest.raises(OptionError, match="name of a field"):
        data.split(0.5, stratify=7)
    with pytest.raises(TypeNotSupportedError, match="Python objects"):
        data.split(0.5, stratify=np.array([None] * N))


def test_an_unknown_field_is_named_with_near_ones(tmp_path):
    """In files, and among arrays."""
    with pytest.raises(KeyError, match=r"'lable' in .*Did you mean 'label'"):
        compressed(tmp_path, columns()).split(0.5, stratify="lable")
    with pytest.raises(KeyError, match=r"no field 'label' in the data set.*It holds: x, y"):
        hr.from_arrays(np.arange(4), np.arange(4)).split(0.5, stratify="label")


@pytest.mark.parametrize(
    "values, error, message",
    [
        (np.array([0, 1, np.nan, 1]), DataError, "NaN in row 2"),
        (np.array([[1, 0], [0, 1], [0.5, 0.5], [1, 0]]), ShapeError, "Row 2 .* one-hot"),
        (np.array([[1, 0], [0, 1], [1, 1], [1, 0]]), ShapeError, "Row 2 .* one-hot"),
        (np.zeros((4, 2, 2)), ShapeError, "one-hot"),
        (np.zeros(4, complex), TypeNotSupportedError, "complex128"),
        (np.array([0, 1, 2, 2**63], np.uint64), DataError, "below 2\\*\\*63"),
    ],
)
def test_what_is_no_class_is_refused(values, error, message):
    """And says where, and what is wrong."""
    with pytest.raises(error, match=message):
        hr.from_arrays(np.arange(4), values).split(0.5, seed=0, stratify="y")


def test_too_many_classes_are_refused():
    """A number that varies freely is no class."""
    n = (1 << 16) + 1
    data = hr.from_arrays(np.arange(n), np.random.default_rng(0).permutation(n))
    with pytest.raises(OptionError, match=r"more than 65,536 different values.*digitize"):
        data.split(0.5, seed=0, stratify="y")
    assert len(data.take(n - 1).split(0.5, seed=0, stratify="y")[0]) == (n - 1) // 2


def test_text_in_one_file_and_numbers_in_another_are_refused(tmp_path):
    """They cannot be the same classes."""
    for number, values in enumerate((np.arange(5), np.array([b"a"] * 5))):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"], file["kind"] = np.arange(5), values
    with pytest.raises(DataError, match="text in some files"):
        hr.from_hdf5(tmp_path / "*.h5", x="x").split(0.5, seed=0, stratify="kind")


def test_values_that_change_meanwhile_are_noticed():
    """The rows of a class would be others than those that were counted."""

    class Changing:
        shape, chunks = (10_000_000,), (1 << 17,)
        passes = 0

        def __getitem__(self, rows):
            self.passes += rows.start == 0
            values = np.arange(rows.start, rows.stop) % 3
            # Looked at for its type, counted, and read once more.
            return values + 3 * (self.passes == 3)

    data = hr.from_arrays(Changing())
    with pytest.raises(DataError, match="changed while"):
        data.split(0.5, seed=0, stratify="x")


def test_classes_and_keys_at_once_are_refused(tmp_path):
    """They decide on the same rows."""
    with pytest.raises(OptionError, match="not both"):
        compressed(tmp_path, columns()).split(0.5, stratify="label", by="user")


@pytest.mark.parametrize("form", FORMS)
def test_no_rows_have_no_classes_and_no_keys(tmp_path, form):
    """Parts without rows, as any split of nothing."""
    nothing = form(tmp_path, columns()).take(0)
    for options in ({"seed": 0, "stratify": "label"}, {"by": "user"}):
        assert [len(part) for part in nothing.split(0.5, **options)] == [0, 0]
    assert nothing.split(by="part") == {}
    assert len(nothing.filter(lambda label: label > 0)) == 0


def test_the_row_of_an_error_is_counted_from_the_first():
    """However far into the data it is."""
    values = np.zeros(300_000)
    values[250_000] = np.nan
    with pytest.raises(DataError, match="row 250000"):
        hr.from_arrays(np.arange(300_000), values).split(0.5, seed=0, stratify="y")
    with pytest.raises(DataError, match="row 250000"):
        hr.from_arrays(np.arange(300_000)).split(0.5, by=values)
