"""Batches that are dealt out to several processes."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.order.sharing import batches_of


@given(batches=st.integers(0, 200), world=st.integers(1, 12))
def test_parts_are_disjoint_equally_long_and_nearly_all(batches, world):
    parts = [batches_of(rank, world, batches) for rank in range(world)]
    taken = sorted(batch for part in parts for batch in part)
    assert taken == list(range(batches - batches % world))
    assert len({len(part) for part in parts}) == 1


@given(batches=st.integers(0, 200))
def test_one_process_takes_all(batches):
    assert list(batches_of(0, 1, batches)) == list(range(batches))
