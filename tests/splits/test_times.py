"""Splits at points in time, and at values of other columns."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import DataError, OptionError
from tests.bad_input.refusal import refused

DAYS = np.datetime64("2013-01-01") + np.arange(365)


@pytest.fixture
def flights():
    order = np.random.default_rng(0).permutation(365)
    return hr.from_table(
        pd.DataFrame({"date": DAYS[order].astype("M8[us]"), "row": order}), x="row"
    )


@pytest.mark.parametrize(
    "at", ["2013-10-01", "2013-10-01T00:00", dt.date(2013, 10, 1), np.datetime64("2013-10")]
)
def test_the_past_is_before_the_date(flights, at):
    past, future = flights.split(at=at, on="date")
    assert max(past[:][0]) == 272
    assert min(future[:][0]) == 273
    assert len(past) + len(future) == 365


def test_several_dates_make_several_parts(flights):
    parts = flights.split(at=["2013-02-01", "2013-03-01"], on="date")
    assert [len(part) for part in parts] == [31, 28, 306]


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=50), st.sets(st.integers(-5, 5), min_size=1)
)
@pytest.mark.filterwarnings("ignore:Splitting:UserWarning")
def test_every_row_is_between_its_cuts(values, cuts):
    values, cuts = np.array(values), sorted(cuts)
    parts = hr.from_arrays(values).split(at=cuts, on=values)
    bounds = [-np.inf, *cuts, np.inf]
    for part, low, high in zip(parts, bounds[:-1], bounds[1:], strict=True):
        wanted = values[(values >= low) & (values < high)]
        assert (part[:][0].tolist() if len(part) else []) == wanted.tolist()


def test_text_compares_as_text():
    texts = np.array(["2013-01-05", "2012-12-31", "2013-06-01"])
    before, after = hr.from_arrays(np.arange(3)).split(at="2013-01-01", on=texts)
    assert before[:][0].tolist() == [1]
    assert after[:][0].tolist() == [0, 2]


def test_a_part_without_rows_is_a_warning(flights):
    with pytest.warns(UserWarning, match=r"'date' at '2020-01-01' leaves part 1 without rows"):
        past, future = flights.split(at="2020-01-01", on="date")
    assert (len(past), len(future)) == (365, 0)


@pytest.mark.parametrize(
    "options, error, reason",
    [
        ({"at": "2013-01-01"}, OptionError, "together"),
        ({"on": "date"}, OptionError, "together"),
        ({"at": "tomorrow", "on": "date"}, OptionError, "a date"),
        ({"at": "soon", "on": "row"}, OptionError, "a number"),
        ({"at": [3, 3], "on": "row"}, OptionError, "ascend"),
        ({"at": [], "on": "row"}, OptionError, "Received: none"),
        ({"at": 3, "on": "row", "seed": 1}, OptionError, "without sizes"),
        ({"at": 3.0, "on": np.array([1.0, np.nan] * 182 + [1.0])}, DataError, "in row 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(flights, options, error, reason):
    with refused(error, reason):
        flights.split(**options)
