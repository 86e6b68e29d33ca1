"""Spans and subsets of rows, against plain NumPy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.order import Listed, Marks, Span, Subset

some = st.lists(st.booleans(), min_size=1, max_size=400).map(np.array)
few = st.integers(100, 2000).flatmap(
    lambda n: st.sets(st.integers(0, n - 1), max_size=n // 16).map(
        lambda rows: np.isin(np.arange(n), list(rows))
    )
)
masks = st.one_of(some, few)


def subset_of(mask):
    return Span(0, len(mask)).where(lambda positions: mask[positions])


@given(mask=masks)
def test_a_subset_holds_the_rows_that_were_kept(mask):
    """Positions are the kept rows in ascending order, one by one and in runs."""
    subset = subset_of(mask)
    rows = np.flatnonzero(mask)
    assert len(subset) == len(rows)
    assert np.array_equal(subset.rows(np.arange(len(rows))), rows)
    assert np.array_equal(subset.rows(np.arange(len(rows))[::-1]), rows[::-1])
    assert np.array_equal(subset.ascending(np.arange(len(rows))), rows)
    assert np.array_equal(subset.ascending(np.arange(len(rows))[::3]), rows[::3])
    for start in range(0, len(rows), 37):
        assert np.array_equal(subset.run(start, len(rows)), rows[start:])


@given(mask=masks)
def test_rank_counts_the_kept_rows_below(mask):
    """Also at the end and beyond it."""
    subset = subset_of(mask)
    rows = np.arange(len(mask) + 70)
    below = [int(mask[:r].sum()) for r in rows]
    assert subset.rank(rows).tolist() == below


@given(mask=masks, data=st.data())
def test_a_part_of_a_subset_is_a_slice_of_its_rows(mask, data):
    """Parts of parts stay right."""
    rows = np.flatnonzero(mask)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    part = subset_of(mask).part(start, stop)
    assert np.array_equal(part.run(0, len(part)), rows[start:stop])


@given(start=st.integers(0, 1000), length=st.integers(0, 1000))
def test_a_span_is_its_range(start, length):
    """Rows, ranks and parts of a span."""
    span = Span(start, start + length)
    assert len(span) == length
    assert span.run(0, length).tolist() == list(range(start, start + length))
    ranks = span.rank(np.array([0, start, start + length, start + length + 5]))
    assert ranks.tolist() == [0, 0, length, length]
    assert span.part(0, length) == span


def test_a_subset_costs_two_bits_a_row():
    """A million rows, half of them kept: a quarter of a megabyte."""
    subset = Span(0, 1_000_000).where(lambda positions: positions % 2 == 0)
    assert isinstance(subset, Subset)
    assert subset._words.nbytes + subset._before.nbytes <= 1_000_000 * 2 / 8 + 64


@given(mask=masks, cuts=st.lists(st.floats(0, 1), max_size=5))
def test_rows_may_be_marked_in_any_runs(mask, cuts):
    """What comes of it depends neither on them, nor on when the form changes."""
    rows = np.flatnonzero(mask)
    marks = Marks(len(mask))
    for run in np.split(rows, sorted(int(cut * len(rows)) for cut in cuts)):
        marks.add(run)
    found = marks.selection()
    assert np.array_equal(found.run(0, len(found)), rows)
    assert type(found) is type(subset_of(mask))


@given(mask=masks)
def test_the_smaller_form_is_taken(mask):
    """Four bytes for each row that is selected, or a quarter byte for each that there is."""
    size, count = len(mask), int(mask.sum())
    assert isinstance(subset_of(mask), Listed if 4 * count <= size // 4 else Subset)


def test_few_rows_cost_four_bytes_each():
    """And nothing for the rows that are left out."""
    few = Span(0, 1_000_000).where(lambda positions: positions % 100 == 0)
    assert isinstance(few, Listed)
    assert few._numbers.nbytes == 4 * 10_000


def test_rows_beyond_four_billion_are_held():
    """In eight bytes each."""
    rows = np.array([5, 2**32 + 1, 2**33 - 1])
    marks = Marks(2**33)
    marks.add(rows)
    found = marks.selection()
    assert np.array_equal(found.run(0, 3), rows)
    assert found.rank(rows + 1).tolist() == [1, 2, 3]


def test_rank_of_rows_beyond_all_numbers_is_the_length():
    """Also of such as four bytes do not hold."""
    listed = subset_of(np.arange(1000) % 100 == 0)
    assert isinstance(listed, Listed)
    assert listed.rank(np.array([900, 901, 2**32, 2**32 + 5, 2**40])).tolist() == [9, *[10] * 4]


@given(mask=few)
def test_the_digest_does_not_depend_on_the_form(mask):
    """Positions that were saved under one are good under the other."""
    listed = subset_of(mask)
    assert isinstance(listed, Listed)
    bits = np.zeros(-(-len(mask) // 64) * 64, np.bool_)
    bits[: len(mask)] = mask
    bitmap = Subset(np.packbits(bits, bitorder="little").view(np.uint64))
    assert listed.digest() == bitmap.digest()


def test_equal_selections_have_equal_digests():
    """And others have others."""
    one, same = (Span(0, 100).where(lambda p: p % 3 == 0) for _ in range(2))
    other = Span(0, 100).where(lambda p: p % 3 == 1)
    assert one.digest() == same.digest() != other.digest()
