"""Arguments that cannot be honoured: each has its own error, which says what can be."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import MemoryBudgetError, OptionError
from tests.bad_input.refusal import IMAGES, refused
from tests.files import images, write


@pytest.mark.parametrize(
    "start, end", [(-1, None), (0, 51), (50, None), (51, None), (10, 10), (10, 5), (0, 0), (0, -1)]
)
def test_rows_out_of_range_are_refused(cats, start, end):
    with refused(OptionError, "start < end <= 50", f"start={start}, end={end}"):
        hr.from_hdf5(cats, x="image", start=start, end=end)


@pytest.mark.parametrize("value", [1.5, "10", True, np.array([1, 2]), 3.0])
def test_rows_that_are_no_numbers_are_refused(cats, value):
    with refused(OptionError, "Expected start to be an integer"):
        hr.from_hdf5(cats, x="image", start=value)
    with refused(OptionError, "Expected end to be an integer"):
        hr.from_hdf5(cats, x="image", end=value)


def test_numpys_integers_are_rows_too(cats):
    assert len(hr.from_hdf5(cats, x="image", start=np.int64(10), end=np.int32(20))) == 10


def test_weights_without_targets_are_refused(cats):
    with refused(OptionError, "sample_weight= needs y="):
        hr.from_hdf5(cats, x="image", sample_weight="label")


@pytest.mark.parametrize("size", [0, -1, 1.5, 32.0, "32", None, True])
def test_a_batch_size_that_is_none_is_refused(cats, size):
    with refused(OptionError, "Expected batch_size to be an integer >= 1", repr(size)):
        hr.from_hdf5(cats, x="image").batch(size)


@pytest.mark.parametrize(
    "option, value, part",
    [
        ("shuffle", "yes", "True, False, 'exact' or 'batch'"),
        ("shuffle", None, "True, False, 'exact' or 'batch'"),
        ("shuffle", 1, "True, False, 'exact' or 'batch'"),
        ("seed", -1, "integer >= 0 or None"),
        ("seed", 1.5, "integer >= 0 or None"),
        ("seed", "a", "integer >= 0 or None"),
        ("workers", 0, "integer >= 1 or None"),
        ("workers", 1.5, "integer >= 1 or None"),
        ("memory", "lots", "such as '256MB' or '1GiB'"),
        ("memory", "", "such as '256MB' or '1GiB'"),
        ("memory", 0, "such as '256MB' or '1GiB'"),
        ("memory", -5, "such as '256MB' or '1GiB'"),
        ("memory", "0MB", "such as '256MB' or '1GiB'"),
        ("memory", "-1GB", "such as '256MB' or '1GiB'"),
        ("memory", 1.5, "such as '256MB' or '1GiB'"),
        ("memory", "5 parsecs", "such as '256MB' or '1GiB'"),
    ],
)
def test_other_options_are_checked(cats, option, value, part):
    with refused(OptionError, part):
        hr.from_hdf5(cats, x="image").batch(8, **{option: value})


def test_unknown_keywords_are_refused(cats):
    with pytest.raises(TypeError, match="fields"):
        hr.from_hdf5(cats, fields="image")
    with pytest.raises(TypeError, match="fields"):
        hr.open(cats, fields="image")
    with pytest.raises(TypeError, match="shufle"):
        hr.from_hdf5(cats, x="image").batch(8, shufle=True)


@pytest.mark.parametrize(
    "sizes, part",
    [
        ((), "Expected split() with"),
        ((0.5, 10), "not both"),
        ((1.5,), "between 0 and 1"),
        ((-0.1,), "between 0 and 1"),
        ((0.0,), "between 0 and 1"),
        ((0.6, 0.6), "more than 1"),
        ((51,), "at most 50"),
        ((-1,), "at most 50"),
        ((True,), "Expected split() with"),
        (("half",), "Expected"),
        ((None,), "Expected"),
        ((float("nan"),), "between 0 and 1"),
    ],
)
def test_splits_that_do_not_add_up_are_refused(cats, sizes, part):
    with refused(OptionError, part):
        hr.from_hdf5(cats, x="image").split(*sizes)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True])
def test_a_split_needs_a_seed_of_its_kind(cats, seed):
    with refused(OptionError, "seed", repr(seed)):
        hr.from_hdf5(cats, x="image").split(0.5, seed=seed)


@pytest.mark.parametrize("n", [-1, 1.5, "3", None, True])
def test_take_needs_a_number_of_rows(cats, n):
    with refused(OptionError, "take", repr(n)):
        hr.from_hdf5(cats, x="image").take(n)


@pytest.mark.parametrize("index", [50, -51, [0, 50], 1.5, "image", [1.5], [[1]], (0, 1), None])
def test_what_is_no_row_is_an_index_error(cats, index):
    with pytest.raises(IndexError, match=r"out of range for 50 rows|Expected|Received"):
        hr.from_hdf5(cats, x="image")[index]


def test_a_data_set_without_rows_cannot_be_batched(cats):
    with refused(OptionError, "no rows"):
        hr.from_hdf5(cats, x="image").take(0).batch(8)


def test_dropping_the_only_batch_is_refused(cats):
    with refused(OptionError, "drop_remainder=True", "50 rows", "64"):
        hr.from_hdf5(cats, x="image").batch(64, drop_remainder=True)


@pytest.mark.parametrize("other", [{"x": "label"}, {"x": "image", "y": "label"}])
def test_joining_different_data_says_in_what(cats, other):
    with refused(OptionError, "equal fields", "label"):
        hr.concat(hr.from_hdf5(cats, x="image"), hr.from_hdf5(cats, **other))


@pytest.mark.parametrize("what", [(), (5,), ([1, 2],)])
def test_joining_what_is_no_data_is_refused(what):
    with refused(OptionError, "data set"):
        hr.concat(*what)


# Too little memory.

SMALL = {
    "contiguous": {},
    "raw": {"chunks": (16, 6, 5)},
    "gzip": {"chunks": (16, 6, 5), "compression": "gzip", "shuffle": True},
    "gzip cuts samples": {"chunks": (40, 4, 5), "compression": "gzip"},
    "lzf": {"chunks": (25, 6, 5), "compression": "lzf"},
}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """300 samples of 60 bytes in each layout, and labels in small chunks."""
    folder = tmp_path_factory.mktemp("layouts")
    for name, storage in SMALL.items():
        write(
            folder / f"{name}.h5",
            x={"data": images(300, (6, 5), "u2"), **storage},
            y={"data": np.arange(300), "chunks": (7,), "compression": "gzip"},
        )
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    layout=st.sampled_from(sorted(SMALL)),
    batch=st.integers(1, 400),
    shuffle=st.sampled_from([True, False, "exact", "batch"]),
    y=st.sampled_from([None, "y"]),
    workers=st.integers(1, 4),
)
@pytest.mark.filterwarnings("ignore:shuffle=True mixes", "ignore:shuffle='exact'")
def test_the_least_memory_that_is_named_works(layouts, layout, batch, shuffle, y, workers):
    """One byte less does not, and the epoch stays within it."""
    data = hr.from_hdf5(layouts / f"{layout}.h5", x="x", y=y)
    options = {"batch_size": batch, "shuffle": shuffle, "workers": workers, "seed": 0}
    with pytest.raises(MemoryBudgetError) as caught:
        data.batch(memory=1, **options)
    message = str(caught.value)
    assert "1 B of memory is too little" in message
    assert f"batch of {batch} row" in message
    least = int(re.search(r"The least that works here is memory=(\d+)\.", message)[1])
    with pytest.raises(MemoryBudgetError, match=f"memory={least}"):
        data.batch(memory=least - 1, **options)
    loader = data.batch(memory=least, **options)
    rows = [b[0] for b in loader]
    assert sum(map(len, rows)) == 300
    assert loader.report().peak_bytes <= least


def test_memory_below_one_chunk_names_the_chunk(path):
    write(path, image={"data": IMAGES, "chunks": (50, 4, 4, 3), "compression": "gzip"})
    with refused(MemoryBudgetError, "the largest block holds 50 rows", "memory="):
        hr.from_hdf5(path, x="image").batch(2, shuffle=True, memory=500)
