"""Counts under keys, and the bins of floats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import headrace as hr
from headrace.statistics import key_counts
from headrace.statistics.key_counts import KeyCounts

COLUMNS = st.tuples(st.integers(1, 5), st.integers(1, 200))


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(1, 10**12)), max_size=200))
def test_key_counts_add_up_what_it_is_given(pairs):
    """In any order, a key also twice at a time; and gives it back in ascending order."""
    counts = KeyCounts(10_000)
    expected = {}
    for key, count in pairs:
        expected[key] = expected.get(key, 0) + count
    half = len(pairs) // 2
    for some in (pairs[:half], pairs[half:]):
        keys, numbers = np.array(some, np.int64).reshape(-1, 2).T
        counts.add(keys, numbers)
    keys, numbers = counts.between(0, 9984)
    assert dict(zip(keys.tolist(), numbers.tolist(), strict=True)) == {
        key: count for key, count in sorted(expected.items()) if key < 9984
    }
    assert (np.diff(keys) > 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float16", "bool"])
@given(data=st.data())
def test_small_values_are_counted_one_by_one(dtype, data):
    """Each bit pattern of each column; the array stays as it was."""
    columns = data.draw(hnp.arrays(dtype, COLUMNS))
    before = columns.copy()
    keys, counts = key_counts.count_small(columns)
    np.testing.assert_array_equal(columns, before)
    for number, values in enumerate(columns):
        here = keys // key_counts.SMALL_KEYS == number
        bits, expected = np.unique(values.view(f"u{values.itemsize}"), return_counts=True)
        assert (keys[here] % key_counts.SMALL_KEYS).tolist() == bits.tolist()
        assert counts[here].tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint64", "int32"])
@given(data=st.data())
def test_each_finite_value_is_in_a_bin_around_it(dtype, data):
    """Of any size: subnormal, larger than float32 holds, negative, 0."""
    columns = data.draw(hnp.arrays(dtype, COLUMNS))
    finite = np.isfinite(columns)
    keys, counts = key_counts.count_floats(columns, int((~finite).sum()))
    for number, values in enumerate(columns):
        here = keys // key_counts.FLOAT_KEYS == number
        assert counts[here].sum() == finite[number].sum()
        low, high = key_counts.bounds_of(keys[here] % key_counts.FLOAT_KEYS)
        found = np.sort(np.repeat(low / 2 + high / 2, counts[here]))
        wanted = np.sort(values[finite[number]].astype(np.float64))
        largest = np.abs(wanted) > 1e308  # the last bin ends beyond the largest float
        error = np.abs(found - wanted) <= 0.004 * np.abs(wanted) + 1e-309
        assert (error | largest).all()


@given(hnp.arrays(np.float64, st.integers(1, 100), elements=st.floats(allow_nan=False)))
def test_bins_are_half_a_percent_wide(values):
    values = values[np.isfinite(values)]
    low, high = key_counts.bounds_of(key_counts.bins_of(values))
    least = 1e-309  # what is less counts as 0
    assert ((low - least <= values) & (values <= high + least)).all()
    normal = (np.abs(values) > 1e-307) & (np.abs(values) < 1e308)
    assert ((high - low)[normal] <= np.abs(values)[normal] * 2**-7).all()
    assert (high - low)[values == 0].tolist() == [0.0] * int((values == 0).sum())


@pytest.mark.parametrize(
    "first, rest",
    [
        (np.int64(2**63 - 1), lambda rng: rng.integers(0, 10**6, 5000)),
        (np.uint64(2**64 - 1), lambda rng: rng.integers(0, 10**6, 5000)),
        (np.float32(9.969209968386869e36), lambda rng: rng.random(5000) * 300),
        (2.0**31 - 1, lambda rng: rng.random(5000) * 10),
        (100.0, lambda rng: rng.random(5000) * 1e-6),
        (1.0, lambda rng: np.sort(10 ** rng.uniform(-12, -8.5, 5000))[::-1]),
        (1_700_000_000, lambda rng: 1_700_000_000 + rng.integers(0, 3000, 5000)),
    ],
)
def test_quantiles_do_not_hang_on_the_first_rows(first, rest):
    """All alike there, such as a fill value, and of another size than those that follow."""
    values = rest(np.random.default_rng(0)).astype(np.asarray(first).dtype)
    for order in (np.r_[np.full(64, first), values], np.r_[values, np.full(64, first)]):
        found = hr.stats(hr.from_arrays(order))["x"].quantiles
        for share, value in found.items():
            right = np.quantile(order, share, method="inverted_cdf").item()
            assert abs(value - right) <= 0.004 * abs(right)
