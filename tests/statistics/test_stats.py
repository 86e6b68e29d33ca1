"""Statistics of a data set, against NumPy on whole arrays."""

import math
import re
import warnings
from itertools import pairwise

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import headrace as hr
from headrace.errors import DataError, MemoryBudgetError, OptionError
from headrace.statistics import accumulate as field_module
from headrace.statistics.scan import Scan
from headrace.statistics.summary import QUANTILES

NUMBERS = ["uint8", "int8", "bool", "uint16", "int16", "float16", "float32", "float64"]
NUMBERS += ["int32", "uint32", "int64", "uint64", ">f4", ">i8", ">u2"]


def values_of(dtype, shape, seed=0):
    """Values of all sizes; some NaN and infinite ones where there may be."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.3
    if kind == "f":
        values = (rng.normal(size=shape) * np.exp(2 * rng.normal(size=shape))).astype(dtype)
        values[rng.random(shape) < 0.02] = np.nan
        values[rng.random(shape) < 0.01] = np.inf
        return values
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, np.dtype(dtype).newbyteorder("="), True).astype(
        dtype
    )


def check(summary, values, error=0.004):
    """Compares a summary with what NumPy says of the values."""
    values = np.asarray(values).reshape(-1)
    there = values[~np.isnan(values)]
    finite = np.sort(there[np.isfinite(there)])
    assert summary.count == len(there)
    assert summary.missing == len(values) - len(there)
    assert summary.infinite == len(there) - len(finite)
    if not len(finite):
        assert (summary.min, summary.max, summary.mean, summary.std) == (None, None, None, None)
        assert summary.quantiles == {}
        return
    assert (summary.min, summary.max) == (finite[0], finite[-1])
    wide = finite.astype(np.float64)
    mean = math.fsum(wide / len(wide))
    std = math.sqrt(math.fsum((wide - mean) ** 2 / len(wide)))
    # Squares of deviations below `tiny` are less than the smallest float.
    tiny = 1e-150
    assert summary.mean == pytest.approx(mean, rel=1e-13, abs=1e-14 * std + tiny)
    rounded = 1e-15 * float(np.abs(wide).max())
    assert summary.std == pytest.approx(std, rel=1e-12, abs=rounded + tiny)
    assert list(summary.quantiles) == list(QUANTILES)
    for share, value in summary.quantiles.items():
        rank = max(1, math.ceil(round(share * 100) * len(finite) / 100))
        wanted = float(finite[rank - 1])
        assert abs(value - wanted) <= error * abs(wanted)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 3, 3), (2, 300)])
def test_numbers_are_those_of_the_whole_array(small_pieces, dtype, shape):
    """Over all values, and for each index of the last axis; exact for small dtypes."""
    array = values_of(dtype, (70, *shape))
    found = hr.stats(hr.from_arrays(array))["x"]
    error = 0 if np.dtype(dtype).itemsize <= 2 or array.size == 70 else 0.004
    check(found, array, error)
    assert (found.shape, found.rows) == (shape, 70)
    assert len(found.channels) == (shape[-1] if shape else 0)
    for place, channel in enumerate(found.channels):
        if shape[-1] <= field_module.MOST_COUNTED_CHANNELS:
            check(channel, array[..., place], error)
        else:
            assert channel.quantiles == {}
            assert channel.mean == pytest.approx(np.nanmean(only_finite(array[..., place])))


def only_finite(values):
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)


def table(rows=4000):
    """Fields of all kinds."""
    rng = np.random.default_rng(1)
    return {
        "image": rng.integers(0, 256, (rows, 6, 5, 3)).astype(np.uint8),
        "vector": values_of("float32", (rows, 7)),
        "time": 1.7e9 + rng.random(rows) * 1e6,
        "number": rng.integers(-5, 2**40, rows),
        "label": rng.integers(0, 4, (rows, 1)),
        "hot": np.eye(5, dtype=np.float32)[rng.integers(0, 3, rows)],
        "name": np.array([b"ant", b"bee", b"cat"])[rng.integers(0, 3, rows)],
    }


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 1},
        {"workers": 5},
        {"memory": "3MB", "workers": 2},
        {"memory": "8MB", "workers": 4},
    ],
)
def test_results_are_the_same_bits_for_any_workers_and_memory(monkeypatch, options):
    monkeypatch.setattr("headrace.statistics.scan.PIECE_BYTES", 1 << 14)
    data = hr.from_arrays(table())
    assert hr.stats(data, **options) == hr.stats(data)


def test_results_are_the_same_bits_for_any_division_into_files(small_pieces, tmp_path):
    arrays = table(900)
    edges = [0, 100, 101, 640, 900]
    for number, (a, b) in enumerate(pairwise(edges)):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array[a:b], chunks=True, compression="gzip")
    names = {name: name for name in arrays}
    split = hr.stats(hr.from_hdf5(tmp_path / "*.h5", x=names), memory="3MB")
    whole = hr.stats(hr.from_arrays(arrays))
    assert list(split) == list(arrays)
    for name, found in split.items():
        other = whole[f"x.{name}"]
        assert {**vars(found), "name": "", "histogram": None} == {
            **vars(other),
            "name": "",
            "histogram": None,
        }


def test_only_the_rows_of_the_data_set_count(small_pieces):
    array = np.arange(1000.0)
    data = hr.from_arrays(array)
    train, val = data.split(0.7, seed=3)
    for part in (train, val, data.take(10), hr.concat(val, train)):
        check(hr.stats(part)["x"], part[:][0])


def test_mapped_fields_are_those_of_the_mapped_spec(small_pieces):
    arrays = table(500)
    data = hr.from_arrays(arrays["image"], arrays["label"])
    mapped = data.map(lambda x, y: ({"a": x / 255, "b": x[:, 0, 0]}, y * 2))
    found = hr.stats(mapped)
    assert list(found) == ["x.a", "x.b", "y"]
    check(found["x.a"], arrays["image"] / 255)
    check(found["x.b"], arrays["image"][:, 0, 0], 0)
    assert set(found["y"].classes) == {0, 2, 4, 6}


def test_map_functions_that_change_their_mind_are_refused(small_pieces):
    data = hr.from_arrays(np.arange(5000.0))
    odd = data.map(lambda x: x.astype(np.float32) if len(x) < 100 or x[0] > 0 else x)
    with pytest.raises(DataError, match="as for the first"):
        hr.stats(odd)


@given(
    hnp.arrays(
        st.sampled_from(["float64", "float32", "int64"]),
        st.integers(1, 200),
        elements={"min_value": -1000, "max_value": 1000},
    ),
    st.integers(1, 300),
)
def test_distinct_values_are_exact_up_to_the_limit(values, limit):
    found = hr.stats(hr.from_arrays(values), distinct=limit)["x"]
    unique, counts = np.unique(values, return_counts=True)
    if len(unique) > limit:
        assert (found.distinct, found.classes, found.more_than) == (None, None, limit)
    else:
        assert found.distinct == len(unique)
        assert found.more_than is None
        assert list(found.classes.items()) == list(
            zip(unique.tolist(), counts.tolist(), strict=True)
        )
        check(found, values, 0)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "S6", "U6"])
def test_the_limit_is_that_of_all_pieces_together(small_pieces, dtype):
    """Each piece has fewer distinct values than there are in all."""
    values = np.repeat(np.arange(100, 140), 2000).astype(dtype)
    for limit, known in ((39, None), (40, 40), (41, 40)):
        found = hr.stats(hr.from_arrays(values), distinct=limit)["x"]
        assert found.distinct == known
        if known:
            assert list(found.classes.values()) == [2000] * 40


def test_missing_values_are_no_class_and_zeros_are_one():
    values = np.array([0.0, -0.0, np.nan, 1.0, np.inf, np.nan])
    for dtype in ("float64", "float16"):
        found = hr.stats(hr.from_arrays(values.astype(dtype)))["x"]
        assert found.classes == {0.0: 2, 1.0: 1, np.inf: 1}
        assert (found.count, found.missing, found.infinite, found.distinct) == (4, 2, 1, 3)
        assert (str(found.min), found.max) == ("0.0", 1)
        assert found.mean == pytest.approx(1 / 3, rel=1e-15)


def test_text_is_counted_and_has_no_mean():
    found = hr.stats(hr.from_arrays(np.array([b"b", b"a", b"b", b""])))["x"]
    assert list(found.classes.items()) == [(b"", 1), (b"a", 1), (b"b", 2)]
    assert (found.count, found.mean, found.quantiles, found.channels) == (4, None, {}, ())


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64", "bool"])
def test_one_hot_rows_are_classes(small_pieces, dtype):
    """Also classes that never come."""
    label = np.random.default_rng(0).choice([0, 1, 4], 3000)
    found = hr.stats(hr.from_arrays(np.eye(6)[label].astype(dtype)))["x"]
    assert found.classes == {i: int((label == i).sum()) for i in range(6)}
    assert found.distinct == 3


@pytest.mark.parametrize(
    "row", [[0, 0, 0], [1, 1, 0], [2, 0, 0], [0.5, 0.5, 0], [np.nan, 1, 0], [-1, 1, 1]]
)
def test_a_single_row_that_is_not_one_hot_ends_the_classes(small_pieces, row):
    rows = np.eye(3)[np.random.default_rng(0).integers(0, 3, 2000)]
    rows[1717] = row
    found = hr.stats(hr.from_arrays(rows))["x"]
    assert (found.classes, found.distinct) == (None, None)


def test_quantiles_far_from_zero_tell_values_apart():
    """Times of a day, counted in seconds since 1970."""
    rng = np.random.default_rng(0)
    start = 1_700_000_000
    for values in (start + rng.random(30_000) * 86_400, start + rng.integers(0, 86_400, 30_000)):
        found = hr.stats(hr.from_arrays(values))["x"]
        ordered = np.sort(values)
        for share, value in found.quantiles.items():
            assert abs(value - ordered[math.ceil(share * 30_000) - 1]) < 0.004 * 86_400


def test_quantiles_keep_their_error_where_the_first_rows_mislead():
    """The first rows are alike, and far from all others."""
    values = np.concatenate([np.full(100, 1e6), np.random.default_rng(0).random((5000,))])
    check(hr.stats(hr.from_arrays(values))["x"], values)


def test_values_beyond_float32_are_counted():
    values = np.array([1e300, -1e300, 1e-300, 2e-310, 0.0, 1.0, 1e39, -1e-40] * 500)
    values = values * np.random.default_rng(0).uniform(1, 1.001, len(values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = hr.stats(hr.from_arrays(values))["x"]
    ordered = np.sort(values)
    for share, value in found.quantiles.items():
        wanted = ordered[math.ceil(share * len(values)) - 1]
        assert abs(value - wanted) <= 0.004 * abs(wanted) + 1e-309


def test_values_too_far_apart_for_a_difference_are_counted():
    """Also where the first rows, at one end, would make a center."""
    values = np.array([1.7e308] * 80 + [-1.7e308] * 80 + [0.0] * 80)
    found = hr.stats(hr.from_arrays(values), distinct=1)["x"]
    assert (found.count, found.min, found.max) == (240, -1.7e308, 1.7e308)
    assert found.quantiles[0.05] == pytest.approx(-1.7e308, rel=0.004)
    assert (found.quantiles[0.5], found.histogram.counts.sum()) == (0, 240)


def test_wider_floats_are_taken_as_float64():
    values = np.array([1, 2, np.nan, 4], np.longdouble)
    for distinct in (1, 10):
        found = hr.stats(hr.from_arrays(values), distinct=distinct)
        check(found["x"], values.astype(np.float64), 0.004)
        assert '"max": 4.0' in found.to_json()


def test_many_fields_are_read_in_larger_pieces():
    """Each field has its own cost for each piece, whatever there is of it."""
    few, many = (
        Scan(hr.from_arrays({str(i): np.zeros(200_000) for i in range(n)})) for n in (2, 64)
    )
    assert few._rows == (1 << 21) // 16
    assert many._rows == (1 << 22) // (64 * 8)


def test_a_progress_bar_is_shown_where_asked_for(capsys):
    """On stderr; in a pipe only where asked for."""
    data = hr.from_arrays(np.arange(1000))
    hr.stats(data)
    assert capsys.readouterr() == ("", "")
    hr.stats(data, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Statistics" in err


def test_fields_of_no_numbers_and_of_no_values_are_counted():
    data = hr.from_arrays(np.zeros((3, 2), np.complex64))
    found = hr.stats(data.map(lambda x: ((x, x[:, :0].real),)))
    assert (found["x.0"].count, found["x.0"].mean, found["x.0"].dtype) == (6, None, "complex64")
    assert (found["x.1"].count, found["x.1"].mean) == (0, None)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_more_channels_than_are_kept_apart_are_counted_together(dtype):
    array = values_of(dtype, (3, field_module.MOST_CHANNELS + 1))
    found = hr.stats(hr.from_arrays(array))["x"]
    check(found, array, 0 if dtype == "uint8" else 0.004)
    assert found.channels == ()
    with pytest.raises(OptionError, match=r"hr\.adapt"):
        hr.stats(hr.from_arrays(array)).normalization()


def test_what_the_threads_raise_arrives():
    def fail(x):
        if len(x) > 64:
            raise RuntimeError("out of luck")
        return x

    with pytest.raises(RuntimeError, match="out of luck"):
        hr.stats(hr.from_arrays(np.arange(1000.0)).map(fail))


@pytest.mark.parametrize(
    "data, options, error, words",
    [
        (np.arange(3), {}, OptionError, "from_arrays"),
        (hr.from_arrays(np.arange(3)).take(0), {}, OptionError, "no rows"),
        (hr.from_arrays(np.arange(3)), {"distinct": 0}, OptionError, "distinct"),
        (hr.from_arrays(np.arange(3)), {"workers": 0}, OptionError, "workers"),
        (hr.from_arrays(np.arange(3)), {"memory": "much"}, OptionError, "much"),
        (hr.from_arrays(np.zeros((9, 10**5))), {"memory": "1MB"}, MemoryBudgetError, "pieces of 2"),
    ],
)
def test_arguments_that_cannot_be_honoured_are_refused(data, options, error, words):
    with pytest.raises(error, match=words):
        hr.stats(data, **options)


def test_the_least_memory_that_is_named_works():
    data = hr.from_arrays(np.zeros((9, 10**5)))
    with pytest.raises(MemoryBudgetError) as caught:
        hr.stats(data, memory="1MB")
    least = int(re.search(r"memory=(\d+)\.$", str(caught.value))[1])
    assert hr.stats(data, memory=least) == hr.stats(data)
    with pytest.raises(MemoryBudgetError):
        hr.stats(data, memory=least - 1)


def test_memory_stays_within_the_budget(monkeypatch, tmp_path):
    """What the loader holds, and what threads may take beside it."""
    monkeypatch.setattr("headrace.statistics.scan.PIECE_BYTES", 1 << 16)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((20_000, 100), "f4"), chunks=(50, 100))
    data = hr.from_hdf5(tmp_path / "data.h5", x="x")
    scan = Scan(data, memory="2MB", workers=8)
    assert sum(len(array) for array in scan.run(lambda arrays: arrays["x"], "")) == 20_000
    report = scan._loader.report()
    assert report.peak_bytes <= report.budget
    piece = (1 << 16) // 400 * 400
    assert report.budget + 4 * report.workers * piece <= 2_000_000
