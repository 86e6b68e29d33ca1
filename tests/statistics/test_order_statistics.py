"""Values at given ranks, against a sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import headrace as hr
from headrace.errors import DataError, MemoryBudgetError
from headrace.statistics.order_statistics import values_at
from headrace.statistics.scan import Scan


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 60), st.integers(1, 3)),
        elements=st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1.0000001]),
    ),
    st.data(),
)
def test_values_are_those_of_the_sorted_array(array, data):
    """As float32, with infinities and zeros of both signs; in two passes and in three."""
    ranks = data.draw(st.lists(st.integers(0, array.size - 1), min_size=1, unique=True).map(sorted))
    with np.errstate(over="ignore"):
        wanted = np.sort(array.astype(np.float32), axis=None)[ranks]
    for room in (0, 1 << 30):
        found = values_at(Scan(hr.from_arrays(array)), "x", ranks, room)
        np.testing.assert_array_equal(found, wanted)


def test_values_of_many_pieces_are_the_same_for_any_workers(small_pieces):
    array = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    ranks = range(3, 50_000, 501)
    for workers, room in ((1, 0), (3, 0), (3, 1 << 30)):
        scan = Scan(hr.from_arrays(array), workers=workers)
        found = values_at(scan, "x", ranks, room)
        np.testing.assert_array_equal(found, np.sort(array)[list(ranks)])


def test_missing_values_have_no_rank():
    scan = Scan(hr.from_arrays(np.array([1.0, np.nan])))
    with pytest.raises(DataError, match="1 of them"):
        values_at(scan, "x", [0], 0)


def test_more_ranks_than_there_is_memory_for_are_refused(monkeypatch):
    monkeypatch.setattr("headrace.resources.memory_limit", lambda: 1 << 25)
    array = np.linspace(1, 2, 1 << 17).astype(np.float32)
    scan = Scan(hr.from_arrays(array), memory="32MB")
    with pytest.raises(MemoryBudgetError, match="epsilon="):
        values_at(scan, "x", range(0, 1 << 17, 2), 1 << 40)
