"""Sets of row numbers are those of Python, and survive JSON."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.creating.rows import PAGE, RowSet

NEAR = st.integers(0, 3).map(lambda page: page * PAGE)
ROW = st.builds(lambda edge, by: max(0, edge + by), NEAR, st.integers(-9, 9))
SPANS = st.tuples(ROW, ROW).map(lambda ends: ("span", min(ends), max(ends)))
SOME = st.lists(ROW, max_size=6).map(lambda rows: ("rows", rows))


def both(steps):
    """The set and Python's, after the same steps."""
    ours, truth = RowSet(), set()
    for kind, *what in steps:
        if kind == "span":
            ours.add(*what)
            truth |= set(range(*what))
        else:
            ours.add_rows(np.array(what[0], np.int64))
            truth |= set(what[0])
    return ours, truth


def flat(gaps):
    return [row for gap in gaps for row in gap]


@given(st.lists(st.one_of(SPANS, SOME), max_size=5), ROW)
def test_a_set_holds_the_rows_that_were_added(steps, length):
    """Count, end, and the gaps below any length."""
    ours, truth = both(steps)
    assert ours.count() == len(truth)
    assert ours.stop == max(truth, default=-1) + 1
    gaps = list(ours.gaps(length))
    assert flat(gaps) == [row for row in range(length) if row not in truth]
    assert all(a.stop < b.start for a, b in pairwise(gaps))


@given(st.lists(st.one_of(SPANS, SOME), max_size=5))
def test_a_set_comes_back_from_json(steps):
    """With all its rows, and in few characters where they fill pages."""
    ours, truth = both(steps)
    text = json.dumps(ours.to_json())
    back = RowSet.from_json(json.loads(text))
    length = max(truth, default=0) + PAGE
    assert (back.count(), back.stop) == (len(truth), ours.stop)
    assert list(back.gaps(length)) == list(ours.gaps(length))


def test_a_copy_does_not_change():
    """A snapshot is one."""
    rows = RowSet()
    rows.add(0, 10)
    copy = rows.copy()
    rows.add(10, 20)
    assert (copy.stop, copy.count()) == (10, 10)


def test_a_thousand_million_rows_in_order_take_little():
    """Of memory, and in the note."""
    rows = RowSet()
    rows.add(0, 10**9 + 7)
    assert rows.count() == 10**9 + 7
    assert list(rows.gaps(10**9 + 8)) == [range(10**9 + 7, 10**9 + 8)]
    assert len(json.dumps(rows.to_json())) < 20_000


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_no_rows_are_none(dtype):
    """An empty array adds nothing."""
    rows = RowSet()
    rows.add_rows(np.empty(0, dtype))
    rows.add(5, 5)
    assert (rows.stop, rows.count(), list(rows.gaps(0))) == (0, 0, [])
