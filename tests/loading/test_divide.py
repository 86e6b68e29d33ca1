"""Rows divided by small numbers, whatever they are made of and however the numbers come."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr

selections = st.lists(st.lists(st.booleans(), min_size=1, max_size=120), min_size=1, max_size=4)


@given(masks=selections, count=st.sampled_from([1, 2, 8, 9, 30]), data=st.data())
def test_each_part_has_the_rows_of_its_number(masks, count, data):
    """In their order; rows of other numbers are left out."""
    sources = [
        hr.from_arrays(np.arange(len(mask)) + 1000 * i).filter(np.array(mask))
        for i, mask in enumerate(masks)
    ]
    joined = hr.concat(*sources)
    rows = joined[:][0] if len(joined) else np.empty(0, np.int64)
    codes = np.array(
        data.draw(st.lists(st.integers(-2, count + 2), min_size=len(rows), max_size=len(rows))),
        np.int16,
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)), max_size=5)))
    views = joined.pipeline.view.divide(np.split(codes, cuts), count)
    assert len(views) == count
    for code, view in enumerate(views):
        assert len(view) == np.sum(codes == code)
        found = view.read_any(np.arange(len(view)), view.names)[0]["x"]
        assert found.tolist() == rows[codes == code].tolist()
