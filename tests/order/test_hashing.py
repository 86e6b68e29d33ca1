"""Hashes of keys: of the value alone, and evenly spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.order import stream_key, unit_hashes

KEY = stream_key(0, "test")
WHOLE = ["i1", "i2", ">i4", "i8", "u1", ">u2", "u4", "u8", "f2", "f4", ">f8", "f8"]


@pytest.mark.parametrize("dtype", WHOLE)
def test_whole_numbers_hash_alike_in_every_type(dtype):
    """Whatever the width, the sign and the byte order; floats too."""
    values = np.arange(100)
    assert np.array_equal(unit_hashes(values.astype(dtype), KEY), unit_hashes(values, KEY))


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_hash_alike_alone_and_among_others(values):
    """A value's hash does not depend on its neighbours, or on their order."""
    hashes = unit_hashes(np.array(values), KEY)
    assert [unit_hashes(np.array([v]), KEY)[0] for v in values] == hashes.tolist()
    assert unit_hashes(np.array(values[::-1]), KEY)[::-1].tolist() == hashes.tolist()
    assert np.all((hashes >= 0) & (hashes < 1))


@given(values=st.lists(st.integers(-(2**24), 2**24), min_size=1))
def test_negative_floats_hash_as_integers(values):
    """As long as they are whole."""
    whole = np.array(values)
    assert np.array_equal(unit_hashes(whole.astype("f4"), KEY), unit_hashes(whole, KEY))


@given(
    texts=st.lists(st.binary(max_size=40).map(lambda b: b.rstrip(b"\0")), min_size=1),
    more=st.integers(0, 30),
)
def test_text_hashes_alike_in_every_width(texts, more):
    """A field may be as wide as it likes."""
    width = max(1, *map(len, texts))
    narrow, wide = np.array(texts, f"S{width}"), np.array(texts, f"S{width + more}")
    assert np.array_equal(unit_hashes(narrow, KEY), unit_hashes(wide, KEY))


def test_different_values_have_different_hashes():
    """Of a million of them, of each kind: 53 bits leave about one pair in 10,000 such tests."""
    n = 1_000_000
    halves = np.arange(n) + 0.5
    text = np.arange(n).astype("S8")
    everything = [unit_hashes(values, KEY) for values in (np.arange(-n, n), halves, text)]
    assert len(np.unique(np.concatenate(everything))) == 4 * n


def test_what_has_the_same_bits_is_not_the_same():
    """-1 and 2**64 - 1, a float and the integer of its bits, bytes and their number."""
    values = [
        np.array([-1]),
        np.array([2**64 - 1], np.uint64),
        np.array([1.5]),
        np.array([1.5]).view(np.int64),
        np.array([b"1"]),
        np.array([0x31]),
    ]
    assert len({unit_hashes(value, KEY)[0] for value in values}) == len(values)


def test_floats_beyond_integers_have_hashes_of_their_own():
    """Too large for 64 bits, either way, and infinite."""
    values = np.array([1e300, -1e300, 2.0**64, -(2.0**64), np.inf, -np.inf, 2.0**63, -(2.0**63)])
    assert len(np.unique(unit_hashes(values, KEY))) == len(values)
    assert unit_hashes(values[-1:], KEY) == unit_hashes(np.array([-(2**63)]), KEY)


def test_true_is_one():
    """As in Python."""
    assert np.array_equal(unit_hashes(np.array([False, True]), KEY), unit_hashes(np.arange(2), KEY))


@pytest.mark.parametrize(
    "values", [np.arange(100_000), np.arange(100_000) * 4096, np.arange(100_000).astype("S20")]
)
def test_hashes_are_evenly_spread(values):
    """In a hundred bins, within five standard deviations: also for keys in a row."""
    counts = np.bincount((unit_hashes(values, KEY) * 100).astype(int), minlength=100)
    assert np.all(abs(counts - 1000) < 5 * np.sqrt(1000))


def test_another_key_gives_other_hashes():
    """Without correlation."""
    one, other = (unit_hashes(np.arange(100_000), stream_key(seed)) for seed in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02


def test_hashes_are_the_same_forever():
    """Sides of keys depend on them: these numbers must never change."""
    assert unit_hashes(np.array([0, 1, -7]), KEY).tolist() == GOLDEN_NUMBERS
    assert unit_hashes(np.array([b"", b"user-1", b"a longer key"]), KEY).tolist() == GOLDEN_TEXT


GOLDEN_NUMBERS = [0.4241594220959236, 0.7736894120043791, 0.09961469074148332]
GOLDEN_TEXT = [0.3141778274615621, 0.7159152307277541, 0.3657985700581653]
