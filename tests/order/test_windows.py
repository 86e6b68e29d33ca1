"""Orders: permutations of every row, functions of seed and epoch, within the capacity."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.order import RowOrder, SequentialOrder, WindowOrder, batch_offsets


@st.composite
def block_edges(draw):
    """Edges of blocks of equal or of mixed sizes."""
    if draw(st.booleans()):
        size, n = draw(st.integers(1, 40)), draw(st.integers(1, 600))
        return np.append(np.arange(0, n, size), n)
    sizes = draw(st.lists(st.integers(1, 50), min_size=1, max_size=40))
    return np.cumsum([0, *sizes])


def largest(offsets):
    return int(np.diff(offsets).max())


@given(offsets=block_edges(), seed=st.integers(0, 99), extra=st.integers(0, 300))
def test_windows_hand_out_every_row_once(offsets, seed, extra):
    """A permutation, in windows that stay within the capacity."""
    capacity = largest(offsets) + extra
    order = WindowOrder(offsets, (seed, 0), capacity)
    assert sorted(order.rows().tolist()) == list(range(offsets[-1]))
    for index in range(len(order)):
        window = order.window(index)
        assert window.size <= capacity
        assert window.start == order.starts[index]
        assert window.size == order.starts[index + 1] - order.starts[index]


@given(offsets=block_edges(), extra=st.integers(0, 300))
def test_sequential_order_keeps_row_order(offsets, extra):
    """Windows of whole blocks, one after the other."""
    order = SequentialOrder(offsets, largest(offsets) + extra)
    assert order.rows().tolist() == list(range(offsets[-1]))


@given(
    offsets=block_edges(),
    batch_size=st.integers(1, 60),
    seed=st.integers(0, 99),
    extra=st.integers(0, 500),
)
def test_batch_order_keeps_neighbours_together(offsets, batch_size, seed, extra):
    """Each batch is a run of rows that starts at a multiple of its size; a smaller one is last."""
    capacity = max(2 * largest(offsets), 2 * batch_size) + extra
    n = int(offsets[-1])
    offsets = batch_offsets(offsets, batch_size, capacity)
    rows = WindowOrder(offsets, (seed, 0), capacity, batch_size).rows()
    assert sorted(rows.tolist()) == list(range(n))
    for start in range(0, n, batch_size):
        batch = rows[start : start + batch_size]
        assert batch[0] % batch_size == 0
        assert batch.tolist() == list(range(batch[0], batch[0] + len(batch)))


@given(n=st.integers(1, 3000), batch_size=st.integers(1, 70), step=st.integers(20, 500))
def test_row_order_of_batches_does_not_depend_on_the_step(n, batch_size, step):
    """The same order in whatever pieces it is worked out."""
    whole = RowOrder(n, (0, 0), batch_size, step=10**6).rows()
    order = RowOrder(n, (0, 0), batch_size, step=step)
    pieces = [order.places(a, b) for a, b in zip(order.starts, order.starts[1:], strict=False)]
    assert np.concatenate(pieces).tolist() == whole.tolist()
    assert sorted(whole.tolist()) == list(range(n))


def orders(seed, epoch):
    offsets = np.append(np.arange(0, 1000, 16), 1000)
    return {
        "rows": RowOrder(1000, (seed, epoch)),
        "batches": RowOrder(1000, (seed, epoch), 10),
        "windows": WindowOrder(offsets, (seed, epoch), 200),
    }


@pytest.mark.parametrize("kind", ["rows", "batches", "windows"])
def test_order_is_a_function_of_seed_and_epoch(kind):
    """The same for the same, another for another seed and another epoch."""
    first = orders(0, 0)[kind].rows()
    assert np.array_equal(first, orders(0, 0)[kind].rows())
    assert not np.array_equal(first, orders(1, 0)[kind].rows())
    assert not np.array_equal(first, orders(0, 1)[kind].rows())


def test_find_gives_the_window_of_a_place():
    """For every place of the epoch."""
    order = orders(3, 4)["windows"]
    for place in range(1000):
        index = order.find(place)
        assert order.starts[index] <= place < order.starts[index + 1]


def test_blocks_meet_others_in_the_next_epoch():
    """Which blocks share a window changes with the epoch: no fixed neighbourhoods."""
    first, second = (
        {frozenset(orders(0, e)["windows"].blocks(i)) for i in range(6)} for e in (0, 1)
    )
    assert first.isdisjoint(second)


def test_windows_mix_about_as_well_as_their_blocks_allow():
    """Class share per batch on class-sorted rows: variance within 1 + (m - 1) / B of exact."""
    n, block, m = 64_000, 64, 32
    offsets = np.arange(0, n + 1, block)
    order = WindowOrder(offsets, (0, 0), 128 * block)
    blocks = len(order.blocks(0))
    first_half = (order.rows() < n // 2).reshape(-1, m).mean(axis=1)
    exact = 0.25 / m
    assert first_half.var() <= exact * (1 + (m - 1) / blocks) * 1.15


def test_a_billion_rows_take_no_table():
    """Any place of an exact order is worked out directly."""
    order = RowOrder(10**9, (0, 0))
    places = order.places(999_999_000, 10**9)
    assert len(np.unique(places)) == 1000
    assert places.max() < 10**9
    assert len(order.starts) == 10**9 // (1 << 14) + 2
    began = time.process_time()
    RowOrder(10**9, (0, 1)).places(0, 256)
    assert time.process_time() - began < 30


def test_windows_are_the_same_forever():
    """Saved positions depend on them: these numbers must never change without a new version."""
    offsets = np.append(np.arange(0, 100, 8), 100)
    assert WindowOrder(offsets, (7, 3), 40).rows()[:12].tolist() == GOLDEN_WINDOWS
    assert RowOrder(100, (7, 3), 10).rows()[::10].tolist() == GOLDEN_BATCHES


GOLDEN_WINDOWS = [90, 36, 34, 80, 32, 14, 13, 88, 81, 33, 89, 39]
GOLDEN_BATCHES = [0, 50, 40, 60, 20, 30, 90, 80, 70, 10]
