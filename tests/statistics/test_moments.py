"""Means and deviations of columns, against exact fractions."""

import math
from fractions import Fraction
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.statistics.moments import Moments, moments_of
from headrace.statistics.summary import of_moments

TINY = 1e-150
"""Squares of smaller deviations are less than the smallest float."""

FLOATS = st.floats(-1e12, 1e12, allow_subnormal=False)
CUTS = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def exact(values):
    """Mean and standard deviation, rounded once at the end."""
    some = [Fraction(value) for value in values]
    mean = sum(some) / len(some)
    variance = sum((value - mean) ** 2 for value in some) / len(some)
    return float(mean), math.sqrt(variance)


def in_parts(columns, cuts):
    """The moments of parts of some columns, merged in order."""
    edges = [0, *np.minimum(np.cumsum(cuts), columns.shape[1]).tolist(), columns.shape[1]]
    parts = [moments_of(columns[:, a:b]) for a, b in pairwise(edges) if a < b]
    return reduce(Moments.merged, parts)


@given(hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(1, 60)), elements=FLOATS), CUTS)
def test_merged_moments_are_those_of_all_values(columns, cuts):
    """However the values are cut into parts."""
    found = in_parts(columns, cuts)
    for channel, values in enumerate(columns.tolist()):
        mean, std = exact(values)
        known = of_moments(found, channel)
        scale = max(map(abs, values))
        assert known["mean"] == pytest.approx(mean, rel=1e-13, abs=1e-15 * scale)
        assert known["std"] == pytest.approx(std, rel=1e-12, abs=1e-14 * scale + TINY)
        assert (known["min"], known["max"]) == (min(values), max(values))


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint32"])
@given(data=st.data())
def test_integers_of_any_size_keep_all_digits(dtype, data):
    """Also near the ends of their range, where float64 holds every thousandth of them."""
    info = np.iinfo(dtype)
    base = data.draw(st.sampled_from([info.min, info.max - 1000, 0 if info.min else 2**31]))
    apart = st.lists(st.integers(0, 1000), min_size=1, max_size=50)
    values = [base + step for step in data.draw(apart)]
    found = in_parts(np.array([values], dtype), data.draw(CUTS))
    mean, std = exact(values)
    known = of_moments(found, 0)
    assert known["mean"] == pytest.approx(mean, rel=4e-16)
    assert known["std"] == pytest.approx(std, rel=1e-12, abs=1e-12)
    assert (known["min"], known["max"]) == (min(values), max(values))
    assert isinstance(known["min"], int)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40), CUTS)
def test_integers_over_their_whole_range_do_not_wrap_around(values, cuts):
    found = of_moments(in_parts(np.array([values]), cuts), 0)
    mean, std = exact(values)
    assert found["mean"] == pytest.approx(mean, rel=1e-12, abs=2.0**13)
    assert found["std"] == pytest.approx(std, rel=1e-12, abs=2.0**13)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.just(3), st.integers(1, 40)),
        elements=st.sampled_from([0.0, 1.5, -2.0, 1e30, np.nan, np.inf, -np.inf]),
    ),
    CUTS,
)
def test_what_is_not_finite_is_counted_and_left_out(columns, cuts):
    found = in_parts(columns, cuts)
    for channel, values in enumerate(columns):
        finite = values[np.isfinite(values)]
        assert found.missing[channel] == np.isnan(values).sum()
        assert found.infinite[channel] == np.isinf(values).sum()
        assert found.count[channel] == len(finite)
        known = of_moments(found, channel)
        if len(finite):
            mean, std = exact(finite.tolist())
            scale = float(np.abs(finite).max())
            assert known["mean"] == pytest.approx(mean, rel=1e-13, abs=1e-15 * scale)
            assert known["std"] == pytest.approx(std, rel=1e-12, abs=1e-12 * scale)
        else:
            assert known == {}


def test_small_noise_on_a_large_offset_keeps_its_spread():
    """Where a sum of squares would cancel."""
    noise = np.random.default_rng(0).normal(0, 1e-3, (1, 100_000))
    values = 1e9 + noise
    found = of_moments(in_parts(values, [1000] * 90), 0)
    mean, std = exact(values[0].tolist())
    assert found["mean"] == pytest.approx(mean, rel=4e-16)
    assert found["std"] == pytest.approx(std, rel=1e-12)


def test_constant_columns_have_no_spread():
    columns = np.full((2, 1000), 0.1)
    found = in_parts(columns, [7, 300])
    assert of_moments(found, 1) == {"min": 0.1, "max": 0.1, "mean": 0.1, "std": 0.0}


def test_values_near_the_largest_float_have_a_mean():
    values = np.array([[1.7e308, 1.6e308, 1.5e308], [1.7e308, -1.7e308, 1e308]])
    found = moments_of(values)
    assert of_moments(found, 0)["mean"] == pytest.approx(1.6e308)
    assert of_moments(found, 1)["mean"] == pytest.approx(1e308 / 3)


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=FLOATS))
def test_all_columns_together_are_all_values(columns):
    found = of_moments(moments_of(columns).combined(), 0)
    mean, std = exact(columns.reshape(-1).tolist())
    scale = float(np.abs(columns).max())
    assert found["mean"] == pytest.approx(mean, rel=1e-13, abs=1e-15 * scale)
    assert found["std"] == pytest.approx(std, rel=1e-12, abs=1e-14 * scale + TINY)


def test_columns_of_large_integers_are_put_together_without_loss():
    columns = 2**62 + np.arange(12).reshape(3, 4) * 1000
    columns = np.concatenate([columns, np.full((1, 4), -(2**62))])
    found = of_moments(moments_of(columns[:3]).combined(), 0)
    mean, std = exact(columns[:3].reshape(-1).tolist())
    assert found["mean"] == pytest.approx(mean, rel=4e-16)
    assert found["std"] == pytest.approx(std, rel=1e-13)
    assert of_moments(moments_of(columns).combined(), 0)["min"] == -(2**62)
