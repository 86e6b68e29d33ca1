"""Indices name the rows that they name in NumPy; in an array that grows, also those beyond it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.order.indexing import rows_of

N = 10
NUMBER = st.integers(-N, N - 1)
ANY = st.integers(-15, 15)
SLICE = st.builds(
    slice, st.none() | ANY, st.none() | ANY, st.none() | st.integers(-4, 4).filter(bool)
)
INDEX = st.one_of(
    NUMBER,
    NUMBER.map(np.int8),
    SLICE,
    st.lists(NUMBER),
    st.lists(NUMBER).map(lambda rows: np.array(rows, np.int8)),
    st.lists(st.integers(0, N - 1)).map(lambda rows: np.array(rows, np.uint64)),
    st.lists(st.booleans(), min_size=N, max_size=N),
    st.just(...),
    st.tuples(SLICE, st.just(...)),
)


def listed(rows):
    """The row numbers; once by blocks and once by runs, which must agree."""
    found = [row for block in rows.blocks() for row in block.tolist()]
    by_runs = {}
    for place, row, count in rows.runs(0, len(rows)) if len(rows) else ():
        by_runs |= {place + i: row + i for i in range(count)}
    assert [by_runs[i] for i in range(len(rows))] == found
    return found


@given(INDEX)
def test_an_index_names_the_rows_that_it_does_in_numpy(index):
    """In the same order, duplicates included."""
    expected = np.arange(N)[index]
    rows = rows_of(index, N)
    assert listed(rows) == np.atleast_1d(expected).tolist()
    assert rows.single == (expected.ndim == 0)
    assert rows.stop == (expected.max() + 1 if expected.size else 0)


@given(SLICE)
def test_slices_reach_beyond_an_array_that_grows(index):
    """As if it were as long as they want it; but not if they count from its end."""
    ends = [end for end in (index.start, index.stop) if end is not None]
    backwards = (index.step or 1) < 0
    reach = index.start if backwards else index.stop
    grows = reach is not None and min(ends) >= 0
    length = max(N, reach + backwards) if grows else N
    assert listed(rows_of(index, N, most=1000)) == np.arange(length)[index].tolist()


@pytest.mark.parametrize("index", [14, [3, 14], np.array([14], np.uint8), slice(12, 15)])
def test_rows_beyond_the_end_can_be_named_where_it_grows(index):
    """By integers, lists and slices."""
    expected = np.atleast_1d(np.arange(100)[index])
    assert listed(rows_of(index, N, most=1000)) == expected.tolist()


@pytest.mark.parametrize(
    "index", [N, -N - 1, [0, N], [-N - 1], np.array([2**63], np.uint64), np.array([-128], np.int8)]
)
def test_rows_out_of_range_are_refused(index):
    """In an array whose length is fixed."""
    with pytest.raises(IndexError, match="out of range for 10 rows"):
        rows_of(index, N)


@pytest.mark.parametrize("index", [1000, [1000], slice(0, 1001), slice(1000, None, -1), 10**30])
def test_no_array_grows_beyond_what_can_be_read(index):
    """Not by a slip of the keyboard."""
    with pytest.raises(IndexError, match=r"out of range|beyond the 1000 rows"):
        rows_of(index, N, most=1000)


@pytest.mark.parametrize("index", [1.5, "x", None, True, [[1]], [1.5], {1}])
def test_other_indices_are_refused(index):
    """With what was expected."""
    with pytest.raises(IndexError, match="Expected an integer, a slice"):
        rows_of(index, N)


@pytest.mark.parametrize("index", [(1, 2), (slice(3), 0), (..., 0), (1, slice(2))])
def test_parts_of_samples_are_refused(index):
    """Rows are written whole."""
    with pytest.raises(IndexError, match="Only whole samples"):
        rows_of(index, N)


def test_masks_of_another_length_are_refused():
    """Whether the array grows or not."""
    for most in (None, 1000):
        with pytest.raises(IndexError, match="The mask has 3 values for 10 rows"):
            rows_of([True, False, True], N, most=most)


def test_many_rows_come_in_blocks():
    """No array of all numbers is made of a range."""
    rows = rows_of(slice(None, None, 2), 10**6)
    blocks = list(rows.blocks())
    assert max(map(len, blocks)) <= 1 << 16
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(0, 10**6, 2))
