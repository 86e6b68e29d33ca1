"""The keyed permutation."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.order import Permutation, Permutations, stream_key


@given(n=st.integers(0, 20_000), seed=st.integers(0, 2**63))
def test_every_integer_comes_exactly_once(n, seed):
    """A permutation of 0 .. n - 1, for every n and seed."""
    images = Permutation(n, stream_key(seed))(np.arange(n))
    assert sorted(images.tolist()) == list(range(n))


@given(n=st.integers(1, 10**12), seed=st.integers(0, 2**32), data=st.data())
def test_a_piece_is_a_piece_of_the_whole(n, seed, data):
    """Any position can be mapped alone, also among a trillion, and images are in range."""
    start = data.draw(st.integers(0, n - 1))
    positions = np.arange(start, min(start + 50, n))
    permutation = Permutation(n, stream_key(seed))
    together = permutation(positions)
    alone = [int(permutation(np.array([p]))[0]) for p in positions]
    assert together.tolist() == alone
    assert len(set(alone)) == len(alone)
    assert 0 <= min(alone) <= max(alone) < n


@pytest.mark.parametrize("n", [3, 4, 5])
def test_all_orders_of_a_few_are_equally_likely(n):
    """Chi-square over all n! orders: below the 99.99 % point of its distribution."""
    draws = 12_000
    counts = Counter(
        tuple(Permutation(n, stream_key(seed, "t"))(np.arange(n)).tolist()) for seed in range(draws)
    )
    expected = draws / math.factorial(n)
    chi = sum((c - expected) ** 2 / expected for c in counts.values())
    chi += expected * (math.factorial(n) - len(counts))
    freedom = math.factorial(n) - 1
    assert chi < freedom + 4 * math.sqrt(2 * freedom) + 6


@pytest.mark.parametrize("n", [1000, 4096, 100_000])
def test_places_are_spread_evenly(n):
    """Where the first hundred rows land, over many seeds: ten bins, chi-square."""
    seeds = 200
    landed = np.concatenate(
        [Permutation(n, stream_key(s, "rows"))(np.arange(100)) for s in range(seeds)]
    )
    counts = np.bincount(landed * 10 // n, minlength=10)
    expected = 100 * seeds / 10
    assert ((counts - expected) ** 2 / expected).sum() < 40


def test_neighbours_do_not_stay_neighbours():
    """Rows that lie side by side come as far apart as random ones: no lag correlation."""
    images = Permutation(50_000, stream_key(1))(np.arange(50_000)).astype(float)
    for lag in (1, 2, 64, 223, 224):
        assert abs(np.corrcoef(images[:-lag], images[lag:])[0, 1]) < 0.02


def test_keys_are_the_same_forever():
    """The order is part of saved positions: these numbers must never change."""
    assert Permutation(10, stream_key(0, 0, "rows"))(np.arange(10)).tolist() == GOLDEN_SMALL
    assert Permutation(10**9, stream_key(7, 3, "rows"))(np.arange(4)).tolist() == GOLDEN_LARGE


GOLDEN_SMALL = [0, 2, 6, 5, 3, 1, 4, 7, 8, 9]
GOLDEN_LARGE = [678866011, 640887683, 544032290, 530015303]


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=6), seed=st.integers(0, 5))
def test_each_domain_is_permuted_by_itself(sizes, seed):
    """Every place of every domain once, for members in any order."""
    permuted = Permutations(np.array(sizes), stream_key(seed))
    domains = np.repeat(np.arange(len(sizes)), sizes)
    positions = np.concatenate([np.arange(n) for n in sizes])
    shuffled = np.random.default_rng(seed).permutation(len(domains))
    images = np.empty(len(domains), np.int64)
    images[shuffled] = permuted(domains[shuffled], positions[shuffled])
    for domain, n in enumerate(sizes):
        assert sorted(images[domains == domain].tolist()) == list(range(n))


def test_domains_of_one_size_are_permuted_differently():
    """Small ones and large ones, which have different numbers of rounds."""
    for n in (100, 10_000):
        permuted = Permutations(np.array([n, n]), stream_key(0))
        one, other = (permuted(np.full(n, d), np.arange(n)) for d in (0, 1))
        assert np.mean(one == other) < 0.05
        assert abs(np.corrcoef(one, np.arange(n))[0, 1]) < 0.3
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.3


def test_places_in_domains_are_the_same_forever():
    """Splits and balanced epochs depend on them: these numbers must never change."""
    permuted = Permutations(np.array([50, 5000]), stream_key(7))
    assert permuted(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])).tolist() == DOMAINS


DOMAINS = [22, 3, 14, 3897, 1142, 1076]
