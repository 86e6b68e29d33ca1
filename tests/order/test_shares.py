"""Shares in whole numbers, and ranks within classes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.order import Ranks, largest_remainder, shares_of_classes

counts = st.lists(st.integers(0, 40), min_size=1, max_size=30).map(np.array)


@given(total=st.integers(0, 10_000), weights=st.lists(st.floats(0.01, 100), min_size=1))
def test_shares_add_up_and_are_rounded_by_less_than_one(total, weights):
    """Down or up."""
    found = largest_remainder(total, weights)
    assert found.sum() == total
    assert np.all(abs(found - total * np.array(weights) / sum(weights)) < 1 + 1e-6)


def test_the_largest_remainders_are_rounded_up():
    """And what has no weight gets nothing."""
    assert largest_remainder(10, [1, 1, 1]).tolist() == [4, 3, 3]
    assert largest_remainder(100, [0.126, 0.127, 0, 0.747]).tolist() == [12, 13, 0, 75]


@given(classes=counts, cuts=st.lists(st.floats(0, 1), max_size=5))
def test_each_part_has_its_share_of_each_class(classes, cuts):
    """Rows of classes and sizes of parts come out, and every number is rounded by less than one."""
    n = int(classes.sum())
    sizes = np.diff([0, *sorted(int(cut * n) for cut in cuts), n])
    found = shares_of_classes(classes, sizes)
    assert np.array_equal(found.sum(axis=0), sizes)
    assert np.array_equal(found.sum(axis=1), classes)
    assert np.all(abs(found - np.outer(classes, sizes) / max(n, 1)) < 1)


@given(classes=counts, share=st.floats(0, 1))
def test_of_two_parts_the_largest_remainders_are_rounded_up(classes, share):
    """No other choice would round less."""
    n = int(classes.sum())
    size = int(share * n)
    exact = classes * size / max(n, 1)
    lost = exact - np.floor(exact)
    up = shares_of_classes(classes, np.array([size, n - size]))[:, 0] > np.floor(exact + 1e-9)
    least_up = lost[up].min() if up.any() else 1
    assert np.all(lost[~up] <= least_up + 1e-9)


def test_many_classes_take_no_time():
    """As many as a split takes."""
    classes = np.random.default_rng(0).integers(1, 100, 1 << 16)
    n = int(classes.sum())
    sizes = np.array([n // 2, n // 3, n - n // 2 - n // 3])
    found = shares_of_classes(classes, sizes)
    assert np.all(abs(found - np.outer(classes, sizes) / n) < 1)


@given(
    codes=st.lists(st.integers(0, 5), max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4)
)
def test_ranks_count_the_rows_of_a_class_before(codes, cuts):
    """In whatever runs they come."""
    ranks = Ranks(6)
    runs = np.split(np.array(codes, np.uint8), sorted(min(cut, len(codes)) for cut in cuts))
    found = np.concatenate([ranks(run) for run in runs])
    assert found.tolist() == [codes[:i].count(code) for i, code in enumerate(codes)]
