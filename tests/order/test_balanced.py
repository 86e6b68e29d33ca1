"""Samples drawn for epochs: exact for every class, evenly over rows and epochs."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.order import (
    BalancedRowOrder,
    BalancedSampler,
    BalancedWindowOrder,
    EpochSamples,
    RowOrder,
    SamplesByRow,
    SequentialOrder,
    WindowOrder,
    batch_offsets,
)


@st.composite
def draws(draw):
    codes = np.array(draw(st.lists(st.integers(0, 3), min_size=1, max_size=200)), np.uint8)
    present = np.bincount(codes, minlength=4) > 0
    quotas = np.array(draw(st.lists(st.integers(0, 150), min_size=4, max_size=4))) * present
    if not quotas.sum():
        quotas[codes[0]] = 1
    return BalancedSampler(codes, quotas, draw(st.integers(0, 3)))


@st.composite
def blocks(draw, n):
    inner = draw(st.sets(st.integers(1, n), max_size=12))
    return np.array(sorted({0, n, *inner} - {n + 1}))


def counted(rows, n):
    return np.bincount(rows, minlength=n)


@given(draw=draws(), epoch=st.integers(0, 10**6))
def test_each_class_comes_exactly_as_often_as_it_should(draw, epoch):
    """And its rows differ by one at most."""
    n = len(draw.codes)
    times = EpochSamples(draw, epoch).times(0, n)
    assert np.bincount(draw.codes, times, 4).tolist() == draw.quotas.tolist()
    for code in np.unique(draw.codes):
        assert np.ptp(times[draw.codes == code]) <= 1


@given(draw=draws(), epochs=st.integers(1, 12), first=st.integers(0, 1000))
def test_rows_of_a_class_come_equally_often_over_epochs(draw, epochs, first):
    """To within one, from any epoch to any other."""
    n = len(draw.codes)
    times = sum(EpochSamples(draw, first + epoch).times(0, n) for epoch in range(epochs))
    for code in np.unique(draw.codes):
        assert np.ptp(times[draw.codes == code]) <= 1


@given(draw=draws(), epoch=st.integers(0, 100))
def test_samples_by_class_are_those_of_the_epoch(draw, epoch):
    """Each row as often as it comes."""
    drawn = EpochSamples(draw, epoch)
    rows = drawn.by_class(np.arange(draw.length))
    n = len(draw.codes)
    assert counted(rows, n).tolist() == drawn.times(0, n).tolist()


@given(draw=draws(), epoch=st.integers(0, 100), data=st.data())
def test_samples_are_counted_before_each_row(draw, epoch, data):
    """As cumulated times say."""
    n = len(draw.codes)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, n)))), np.int64)
    drawn = EpochSamples(draw, epoch)
    expected = np.append(0, np.cumsum(drawn.times(0, n)))[rows]
    assert drawn.before(rows).tolist() == expected.tolist()


@given(draw=draws(), epoch=st.integers(0, 100), in_turn=st.booleans(), data=st.data())
def test_any_cut_of_the_samples_gives_all_of_them(draw, epoch, in_turn, data):
    """Within blocks too; in row order, the pieces are those of the rows repeated."""
    n = len(draw.codes)
    drawn = EpochSamples(draw, epoch)
    samples = SamplesByRow(drawn, data.draw(blocks(n)), in_turn=in_turn)
    cuts = sorted(data.draw(st.sets(st.integers(1, draw.length), max_size=10)) | {draw.length})
    pieces = [samples.between(a, b) for a, b in zip([0, *cuts], cuts, strict=False)]
    for piece, size in zip(pieces, np.diff([0, *cuts]), strict=True):
        assert piece.times.sum() == size
        assert np.all(piece.times > 0)
        assert np.all(np.diff(piece.rows) > 0)
    whole = np.concatenate([piece.repeated() for piece in pieces])
    assert counted(whole, n).tolist() == drawn.times(0, n).tolist()
    if not in_turn:
        assert whole.tolist() == np.repeat(np.arange(n), drawn.times(0, n)).tolist()


def test_rows_of_a_block_take_turns():
    """Parts of a block that comes often hold all of its rows equally often."""
    draw = BalancedSampler(np.repeat([0, 1], [8, 92]).astype(np.uint8), np.array([800, 92]), 0)
    samples = SamplesByRow(EpochSamples(draw, 0), np.array([0, 8, 100]), in_turn=True)
    for start in range(0, 800, 20):
        piece = samples.between(start, start + 20)
        assert np.ptp(counted(piece.repeated(), 8)) <= 1


@given(draw=draws(), capacity=st.integers(30, 400), data=st.data())
def test_blocks_of_samples_are_cut_and_lose_nothing(draw, capacity, data):
    """Ascending from 0 to their number, none larger than what a window takes well."""
    offsets = data.draw(blocks(len(draw.codes)))
    largest = int(np.diff(offsets).max())
    capacity = max(capacity, largest)
    for in_turn in (True, False):
        samples = SamplesByRow(EpochSamples(draw, 0), offsets, in_turn=in_turn)
        found = samples.block_offsets(capacity)
        assert found[0] == 0
        assert found[-1] == draw.length
        sizes = np.diff(found)
        assert sizes.min() > 0
        assert sizes.max() <= (min(2 * largest, capacity) if in_turn else capacity)


def orders(draw, epoch, offsets, capacity):
    """Every kind of order of the samples."""
    drawn, n, length = EpochSamples(draw, epoch), len(draw.codes), draw.length
    key = (1, epoch)
    mixed = SamplesByRow(drawn, offsets, in_turn=True)
    ordered = SamplesByRow(drawn, offsets)
    yield "rows", BalancedRowOrder(RowOrder(length, key, step=64), drawn, n)
    yield "in order", BalancedRowOrder(RowOrder(length, None, step=64), drawn, n)
    yield "batches", BalancedRowOrder(RowOrder(length, key, 7, step=64), drawn, n)
    yield (
        "windows",
        BalancedWindowOrder(WindowOrder(mixed.block_offsets(capacity), key, capacity), mixed),
    )
    yield (
        "windows in order",
        BalancedWindowOrder(SequentialOrder(ordered.block_offsets(capacity), capacity), ordered),
    )
    cut = batch_offsets(ordered.block_offsets(capacity), 7, capacity)
    yield "windows of batches", BalancedWindowOrder(WindowOrder(cut, key, capacity, 7), ordered)


def all_rows(order):
    if isinstance(order, RowOrder):
        return order.rows()
    return np.concatenate(
        [(w := order.window(i)).positions()[_leaving(w)] for i in range(len(order))]
    )


def _leaving(window):
    return np.arange(window.size) if window.order is None else window.order


@given(draw=draws(), epoch=st.integers(0, 20), data=st.data())
def test_every_order_hands_out_the_samples_of_the_epoch(draw, epoch, data):
    """No more and no fewer; in windows each row is held once."""
    n = len(draw.codes)
    offsets = data.draw(blocks(n))
    capacity = max(40, int(np.diff(offsets).max()))
    times = EpochSamples(draw, epoch).times(0, n)
    for name, order in orders(draw, epoch, offsets, capacity):
        rows = all_rows(order)
        assert counted(rows, n).tolist() == times.tolist(), name
        if name.endswith("in order"):
            assert np.all(np.diff(rows) >= 0), name
        if name.endswith("batches"):
            in_order = np.repeat(np.arange(n), times)
            whole = [tuple(in_order[i : i + 7]) for i in range(0, len(rows) - 6, 7)]
            assert sorted(whole) == sorted(
                tuple(rows[i : i + 7]) for i in range(0, len(rows) - 6, 7)
            )
        if not isinstance(order, RowOrder):
            for index in range(len(order)):
                window = order.window(index)
                assert np.all(np.diff(window.positions()) > 0)
                assert window.size == order.starts[index + 1] - order.starts[index]
                assert len(window.positions()) <= window.size


def test_windows_mix_well_where_a_sorted_class_is_small():
    """One row in a hundred is of the class that gives half of the samples, all in a few blocks."""
    codes = np.repeat([0, 1], [128, 12_672]).astype(np.uint8)
    draw = BalancedSampler(codes, np.array([6400, 6400]), 0)
    samples = SamplesByRow(EpochSamples(draw, 0), np.arange(0, 12_801, 64), in_turn=True)
    order = BalancedWindowOrder(WindowOrder(samples.block_offsets(3000), (0, 0), 3000), samples)
    assert order.mixed(0) > 20
    shares = []
    for index in range(len(order)):
        window = order.window(index)
        shares.append(np.mean(codes[window.positions()[window.order]] == 0))
    assert max(abs(np.array(shares) - 0.5)) < 0.3


def test_epochs_differ_and_seeds_too():
    """In the rows of a class that is too large for one epoch."""
    codes = np.zeros(1000, np.uint8)

    def present(seed, epoch):
        draw = BalancedSampler(codes, np.array([100]), seed)
        return set(np.flatnonzero(EpochSamples(draw, epoch).times(0, 1000)).tolist())

    assert present(0, 0) == present(0, 0)
    assert present(0, 0).isdisjoint(present(0, 1))
    assert 0 < len(present(0, 0) & present(1, 0)) < 30
    assert set().union(*(present(0, epoch) for epoch in range(10))) == set(range(1000))


def test_a_draw_is_known_by_its_digest():
    """Codes, quotas and seed; a pickle keeps it, and leaves the tables behind."""
    codes = np.arange(1000).astype(np.uint8) % 3
    draw = BalancedSampler(codes, np.array([1, 2, 3]), 0)
    assert len(draw.rows) == len(draw.places) == 1000
    again = pickle.loads(pickle.dumps(draw))
    assert len(pickle.dumps(draw)) < 2000
    assert again.digest == draw.digest
    others = [
        BalancedSampler(codes, np.array([1, 2, 3]), 1),
        BalancedSampler(codes, np.array([1, 3, 2]), 0),
        BalancedSampler(codes[::-1].copy(), np.array([1, 2, 3]), 0),
    ]
    assert len({draw.digest, *(other.digest for other in others)}) == 4


@pytest.mark.parametrize("classes, nbytes", [(10, 1), (1000, 2)])
def test_a_draw_costs_what_it_says(classes, nbytes):
    """A byte or two for the class, and four in each table."""
    codes = (np.arange(5000) % classes).astype(np.uint8 if nbytes == 1 else np.uint16)
    draw = BalancedSampler(codes, np.full(classes, 7), 0)
    assert draw.codes.nbytes == nbytes * 5000
    assert draw.rows.nbytes == draw.places.nbytes == 4 * 5000


def test_samples_are_the_same_forever():
    """Saved positions depend on them: these numbers must never change without a new version."""
    draw = BalancedSampler(np.arange(40).astype(np.uint8) % 2, np.array([3, 30]), 7)
    assert EpochSamples(draw, 2).times(0, 40).tolist() == GOLDEN_TIMES
    assert EpochSamples(draw, 2).by_class(np.arange(6)).tolist() == GOLDEN_ROWS


GOLDEN_TIMES = [
    0,
    1,
    0,
    2,
    0,
    1,
    0,
    2,
    0,
    2,
    0,
    1,
    0,
    1,
    1,
    2,
    0,
    1,
    0,
    2,
    0,
    2,
    1,
    2,
    1,
    1,
    0,
    2,
    0,
    2,
    0,
    1,
    0,
    1,
    0,
    1,
    0,
    2,
    0,
    1,
]
GOLDEN_ROWS = [22, 24, 14, 23, 3, 9]
