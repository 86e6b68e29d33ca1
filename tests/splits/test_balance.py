"""Balanced data sets: classes in given shares, whatever their rows."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import OptionError, ShapeError
from tests.splits.tables import FORMS, columns, compressed, contiguous

labels = st.lists(st.integers(0, 4), min_size=5, max_size=200).map(np.array)


def epoch(data, **options):
    """The ids and labels of one epoch."""
    found = [(x, y) for x, y in data.batch(32, seed=0, **options)]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


@given(label=labels, length=st.one_of(st.none(), st.integers(5, 1000)))
def test_an_epoch_has_each_class_equally_often(label, length):
    """To within one, and exactly as many samples as were asked for."""
    data = hr.from_arrays(np.arange(len(label)), label).balance("y", length=length)
    rows, found = epoch(data, shuffle=True)
    assert len(rows) == len(data) == (length or len(label))
    assert found.tolist() == label[rows].tolist()
    assert np.ptp(np.bincount(found)[np.unique(label)]) <= 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("field", ["label", "one_hot", "part", "held_out", "fold"])
def test_any_field_of_classes_will_do_wherever_it_lies(tmp_path, form, field):
    """Numbers, booleans, text and one-hot rows."""
    table = columns()
    classes = table[field].argmax(axis=1) if field == "one_hot" else table[field]
    expected = epoch(hr.from_arrays(table["id"], table["label"]).balance(classes), shuffle=True)
    rows, found = epoch(form(tmp_path, table).balance(field), shuffle=True)
    assert rows.tolist() == expected[0].tolist()
    assert found.tolist() == table["label"][rows].tolist()
    assert np.ptp(np.unique(classes[rows], return_counts=True)[1]) <= 1


def test_weights_are_shares_in_any_unit(tmp_path):
    """0 leaves a class out; text is str."""
    data = compressed(tmp_path, columns())
    weights = {"train": 3, "val": 1.0, "test": np.float32(0)}
    balanced = data.balance("part", weights=weights, length=400)
    table = columns()
    rows, _ = epoch(balanced, shuffle=True)
    assert np.unique(table["part"][rows], return_counts=True)[1].tolist() == [300, 100]
    assert b"test" not in table["part"][rows]


def test_over_epochs_all_rows_of_a_class_come_equally_often():
    """What one epoch leaves out comes in the next ones."""
    label = np.repeat([0, 1], [20, 980])
    loader = hr.from_arrays(np.arange(1000), label).balance("y", length=200).batch(50, shuffle=True)
    counts = np.zeros(1000, int)
    for number in range(1, 31):
        counts += np.bincount(np.concatenate([x for x, _ in loader]), minlength=1000)
        assert np.ptp(counts[:20]) <= 1
        assert np.ptp(counts[20:]) <= 1
        assert counts[:20].sum() == counts[20:].sum() == 100 * number


def test_the_part_to_train_on_is_balanced_by_itself(tmp_path):
    """Of a split of a filtered data set; the other part keeps its rows."""
    data = compressed(tmp_path, columns()).filter(lambda label: label < 4)
    train, val = data.split(0.8, seed=0, stratify="label")
    rows, found = epoch(train.balance("label"), shuffle=True)
    assert np.ptp(np.bincount(found)) <= 1
    assert np.isin(rows, train[:][0]).all()
    assert not np.isin(rows, val[:][0]).any()


def test_the_seed_decides_which_rows_an_epoch_has(tmp_path):
    """The seed of batch() decides on their order alone."""
    data = contiguous(tmp_path, columns())

    def rows(seed, order):
        loader = data.balance("label", seed=seed).batch(32, shuffle=True, seed=order)
        return np.concatenate([x for x, _ in loader])

    assert rows(0, 0).tolist() == rows(0, 0).tolist()
    assert rows(0, 0).tolist() != rows(0, 1).tolist()
    assert sorted(rows(0, 0)) == sorted(rows(0, 1))
    assert sorted(rows(0, 0)) != sorted(rows(1, 0))


def test_a_balanced_data_set_is_mapped_and_known_by_its_fields(tmp_path):
    """Before and after."""
    data = compressed(tmp_path, columns()).balance("part", length=77)
    assert len(data) == 77
    assert "77 samples" in repr(data)
    assert "balanced" in repr(data)
    mapped = data.map(lambda x, y: (x / 2, y))
    assert mapped.spec["x"].dtype == np.float64
    assert sum(len(y) for _, y in mapped.batch(10)) == 77
    assert sum(len(x) for (x,) in data.only("label").batch(10)) == 77


def test_a_balanced_data_set_survives_pickling(tmp_path):
    """And gives the same epochs."""
    data = compressed(tmp_path, columns()).balance("label")
    again = pickle.loads(pickle.dumps(data))
    assert epoch(again, shuffle=True)[0].tolist() == epoch(data, shuffle=True)[0].tolist()


@pytest.mark.parametrize(
    "use",
    [
        lambda data: data[0],
        lambda data: data[:5],
        lambda data: next(iter(data)),
        lambda data: data.split(0.5),
        lambda data: data.split(0.5, by="user"),
        lambda data: data.filter(lambda label: label > 2),
        lambda data: data.take(5),
        lambda data: data.balance("label"),
        lambda data: hr.concat(data, data),
    ],
)
def test_what_needs_each_row_once_comes_before(tmp_path, use):
    """Parts of a balanced data set would have rows in common."""
    data = contiguous(tmp_path, columns()).balance("label")
    with pytest.raises(OptionError, match=r"must come before balance\(\)"):
        use(data)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weights": {0: 1, 1: 1}}, r"share for each class.*0 \(\d+\), 1 .*, 4 \(\d+\)"),
        ({"weights": dict.fromkeys(range(6), 1)}, "share for each class"),
        ({"weights": [1] * 5}, "share for each class"),
        ({"weights": dict.fromkeys(range(5), 0)}, "above 0"),
        ({"weights": dict.fromkeys(range(5), 1) | {2: -1}}, "class 2 .* -1"),
        ({"weights": dict.fromkeys(range(5), 1) | {2: float("nan")}}, "class 2 .* nan"),
        ({"weights": dict.fromkeys(range(5), 1) | {2: "1"}}, "class 2 .* '1'"),
        ({"weights": dict.fromkeys(range(5), 1) | {2: True}}, "class 2 .* True"),
        ({"length": 4}, "none of class 4"),
        ({"length": 100, "weights": dict.fromkeys(range(5), 1000) | {3: 1}}, "none of class 3"),
        ({"length": 0}, "length"),
        ({"length": 1.5}, "length"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
    ],
)
def test_shares_that_cannot_be_kept_are_refused(tmp_path, options, message):
    """And say which class, and what there is."""
    with pytest.raises(OptionError, match=message):
        contiguous(tmp_path, columns()).balance("label", **options)


def test_nothing_cannot_be_balanced():
    """There is no class to draw from."""
    with pytest.raises(OptionError, match="no rows"):
        hr.from_arrays(np.arange(3), np.arange(3)).take(0).balance("y")


def test_soft_labels_are_refused():
    """They are of no class."""
    with pytest.raises(ShapeError, match="Row 0"):
        hr.from_arrays(np.arange(3), np.full((3, 2), 0.5)).balance("y")


def test_weights_may_be_of_any_size():
    """Their sum may be more than the largest float."""
    data = hr.from_arrays(np.arange(100), np.arange(100) % 3)
    _, label = epoch(data.balance("y", weights=dict.fromkeys(range(3), 1e308)))
    assert np.bincount(label).tolist() == [34, 33, 33]
