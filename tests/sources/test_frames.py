"""Tables in memory: the contract of a source, and frames of several libraries."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import headrace as hr
from headrace.errors import BadSampleError, OptionError
from headrace.sources.tables import MatrixEncoder, frame
from headrace.sources.tables.frame import FrameSource, FrameTable
from headrace.testing import SourceTests

ROWS = 300


def columns():
    rng = np.random.default_rng(0)
    return {
        "count": rng.integers(-(10**12), 10**12, ROWS),
        "value": rng.normal(size=ROWS),
        "city": np.array(["Aix", "K\u00f6ln", ""])[rng.integers(0, 3, ROWS)],
        "late": rng.random(ROWS) < 0.5,
    }


class TestFrame(SourceTests):
    """In small blocks, so that there are many."""

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frame, "BLOCK_ROWS", 64)
            table = FrameTable(pa.table(columns()))
            matrix = MatrixEncoder("x", ("value", "count"), np.dtype(np.float32))
            yield FrameSource(table, [matrix, *map(table.encoder, ("count", "city", "late"))])

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls):
        known = columns()
        matrix = np.stack([known[name].astype(np.float32) for name in ("value", "count")], axis=1)
        return {"x": matrix, **{name: known[name] for name in ("count", "city", "late")}}


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frames_of_all_libraries(library):
    known = columns()
    data = hr.from_table(library(known), x=["count", "value"], y="late")
    x, y = data[:]
    np.testing.assert_array_equal(x[:, 1], known["value"].astype(np.float32))
    np.testing.assert_array_equal(y, known["late"])
    parts = data.split(by="city")
    assert sum(map(len, parts.values())) == ROWS


def test_an_index_of_pandas_is_no_column_and_gaps_are_filled():
    table = pd.DataFrame({"a": [1.5, None, 3.0], "b": [1, 2, 3]}, index=[7, 8, 9])
    data = hr.from_table(table, y="b", fill=-1)
    assert data[:][0].tolist() == [[1.5], [-1], [3]]
    with pytest.raises(BadSampleError, match=r"row 1 of the DataFrame: .*'a' is missing"):
        hr.from_table(table, x="a")[:]
    with pytest.raises(OptionError, match=r"Expected a data frame.*list"):
        hr.from_table([1, 2], x="a")


def test_shuffles_are_exact(recwarn):
    table = pl.DataFrame({"a": np.arange(5000), "b": np.arange(5000) % 7})
    loader = hr.from_table(table, x="a", y="b").batch(50, shuffle=True, seed=0, memory="1MB")
    assert loader.report().shuffle["mode"] == "exact"
    rows = np.concatenate([x for x, _ in loader])
    assert sorted(rows.tolist()) == list(range(5000))
    assert not np.array_equal(rows, np.arange(5000))
