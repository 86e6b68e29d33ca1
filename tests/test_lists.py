"""Lists in place of arrays: none of their values becomes another one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import DataError
from headrace.lists import array_of
from tests.bad_input.refusal import refused

whole = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**53, 2**53 + 1, 2**63, 2**63 - 1, -(2**63)]),
    st.integers(0, 2**63 - 1).map(np.int64),
    st.integers(0, 2**64 - 1).map(np.uint64),
)


@given(st.lists(st.one_of(whole, st.floats(allow_nan=False)), min_size=1, max_size=5))
def test_numbers_stay_what_they_are_or_are_refused(numbers):
    """Whatever NumPy would make of integers of different types, and of integers beside floats."""
    try:
        array = array_of(numbers, "The list")
    except DataError:
        assert max(abs(int(n)) for n in numbers if not isinstance(n, float)) > 2**53
        return
    assert array.tolist() == [n if isinstance(n, float) else int(n) for n in numbers]


@pytest.mark.filterwarnings("ignore:Splitting by")
def test_hashes_are_keys_as_they_are():
    """Beyond int64, where NumPy's floats would make one of two."""
    hashes = [2**63 + 5, 2**63 + 900, 2**63 + 5, 3, 4, 7]
    data = hr.from_arrays(np.arange(6))
    for by in (hashes, [[value] for value in hashes]):
        found = [part[:][0].tolist() for part in data.split(0.67, by=by)]
        array = [part[:][0].tolist() for part in data.split(0.67, by=np.array(hashes, "u8"))]
        assert found == array
    with refused(DataError, "by= mixes text"):
        data.split(by=[1, "1", "a", 2, "b", 3])


def test_hashes_are_written_as_they_are(tmp_path):
    """Whole batches, and rows by themselves."""
    hashes = [14695981039346656037, 1099511628211, 2**64 - 1, 0]
    with hr.create(tmp_path / "a.h5", {"id": "uint64"}, length=6) as w:
        w.write({"id": hashes})
        w["id"][4:6] = [2**63 + 1, 1]
        with refused(DataError, "9007199254740993", "one dtype"):
            w["id"][0:2] = [2**53 + 1, 0.5]
        with refused(DataError, "one dtype"):
            w["id"][0:2] = [-1, 2**63]
    assert hr.open(tmp_path / "a.h5")[:][0].tolist() == [*hashes, 2**63 + 1, 1]


@pytest.mark.parametrize("fields", [{"x": "S4"}, {"x": "int32"}])
def test_text_is_not_made_of_numbers(tmp_path, fields):
    """`numpy.asarray([1, "a"])` would be text."""
    with (
        refused(DataError, "mixes text"),
        hr.create(tmp_path / "a.h5", fields) as w,
    ):
        w.write({"x": [1, "a"]})


def test_masks_are_not_dropped():
    """In keys, classes, filters, and in what a filter returns."""
    data = hr.from_arrays(np.arange(4))
    masked = np.ma.array([1, 2, 3, 1], mask=[0, 1, 0, 0])
    tries = [
        lambda: data.split(by=masked),
        lambda: data.split(0.5, stratify=masked),
        lambda: data.balance(masked),
        lambda: data.filter(masked > 0),
        lambda: data.filter(lambda x: masked[: len(x)] > 1, "x"),
        lambda: data.filter(lambda x, other: x > other, "x", masked),
    ]
    for one in tries:
        with refused(DataError, "masked array", "filled()"):
            one()
