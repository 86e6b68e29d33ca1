"""Parquet files: the contract of a source, types, gaps, and files that are damaged."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.cli import main
from headrace.errors import (
    BadSampleError,
    DataError,
    FieldNotFoundError,
    FileFormatError,
    HeadraceError,
    OptionError,
    TypeNotSupportedError,
)
from headrace.sources.parquet import ParquetSource, ParquetTable
from headrace.sources.tables import MatrixEncoder
from headrace.testing import SourceTests

ROWS = 500


def values():
    rng = np.random.default_rng(0)
    return {
        "count": rng.integers(-(10**12), 10**12, ROWS),
        "value": rng.normal(size=ROWS).astype(np.float32),
        "city": np.array(["Aix", "Köln", ""])[rng.integers(0, 3, ROWS)],
        "day": np.datetime64("2013-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "h"),
        "late": rng.random(ROWS) < 0.5,
        "vector": rng.normal(size=(ROWS, 4)),
    }


def arrow_of(columns):
    made = {
        name: pa.FixedSizeListArray.from_arrays(array.ravel(), 4) if array.ndim == 2 else array
        for name, array in columns.items()
    }
    return pa.table(made)


@pytest.fixture(scope="class", params=["one file", "dictionary", "three files"])
def files(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parquet")
    table = arrow_of(values())
    if request.param == "dictionary":
        index = table.schema.get_field_index("city")
        table = table.set_column(index, "city", table["city"].dictionary_encode())
    step = 200 if request.param == "three files" else ROWS
    paths = []
    for start in range(0, ROWS, step):
        paths.append(str(folder / f"{start}.parquet"))
        pq.write_table(table.slice(start, step), paths[-1], row_group_size=70)
    return paths


class TestParquet(SourceTests):
    """Numbers, text, dates, booleans and vectors, in small row groups."""

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, files):
        table = ParquetTable(files)
        matrix = MatrixEncoder("x", ("value", "count"), np.dtype(np.float32))
        names = ("count", "city", "day", "late", "vector")
        return ParquetSource(table, [matrix, *map(table.encoder, names)])

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls):
        known = values()
        matrix = np.stack([known["value"], known["count"].astype(np.float32)], axis=1)
        names = ("count", "city", "day", "late", "vector")
        return {"x": matrix, **{name: known[name] for name in names}}


@pytest.fixture
def write(tmp_path):
    """Writes a table to a Parquet file; gives its path."""

    def made(columns, name="a.parquet", **options):
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, tmp_path / name, **options)
        return tmp_path / name

    return made


@pytest.mark.parametrize(
    "column, kind, wanted",
    [
        (pa.array([1, 2], pa.int8()), "int8", [1, 2]),
        (pa.array([1, 2**64 - 1], pa.uint64()), "uint64", [1, 2**64 - 1]),
        (pa.array([0.5, 2], pa.float32()), "float32", [0.5, 2]),
        (pa.array([Decimal("1.25"), Decimal("-3.5")]), "float64", [1.25, -3.5]),
        (pa.array([dt.date(2013, 1, 2)]), "datetime64[D]", [dt.date(2013, 1, 2)]),
        (pa.array([1, 2], pa.timestamp("ns")), "datetime64[ns]", [1, 2]),
        (pa.array(["a", "bcd"], pa.large_string()), "<U3", ["a", "bcd"]),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int16(), 2)), "int16", [[1, 2], [3, 4]]),
    ],
)
def test_types_stay_what_they_are(write, column, kind, wanted):
    found = hr.from_parquet(write({"a": column}), x="a")[:][0]
    assert found.dtype == kind
    assert (
        found.tolist() == (column.to_pylist() if wanted is None else wanted) or kind[-4:] == "[ns]"
    )


def test_members_of_structs_are_columns(write):
    column = pa.array([{"b": 1, "c": {"d": 2.5}}, {"b": 3, "c": {"d": 4.5}}])
    data = hr.from_parquet(write({"a": column, "z": [1, 2]}), x=["a.b", "a.c.d"], y="z")
    assert data[:][0].tolist() == [[1, 2.5], [3, 4.5]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1], [2, 3]]),
        pa.array([b"a", b"b"]),
        pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8())),
    ],
)
def test_other_types_are_refused_by_name(write, column):
    path = write({"a": column, "b": [1, 2]})
    with pytest.raises(TypeNotSupportedError, match=r"'a' in .*a\.parquet.* type"):
        hr.from_parquet(path, x="a")
    assert len(hr.from_parquet(path, x="b")) == 2


def test_gaps_are_filled_or_named(write):
    path = write({"a": [1.5, None, 3], "b": [1, 2, None], "c": ["x", None, "y"]}, row_group_size=2)
    data = hr.from_parquet(path, x=["a", "b"], fill=0)
    assert data[:][0].tolist() == [[1.5, 1], [0, 2], [3, 0]]
    with pytest.raises(BadSampleError, match=r"row 1 of row group 0.*'a' is missing.*fill="):
        hr.from_parquet(path, x="a")[:]
    assert hr.from_parquet(path, x="c")[:][0].tolist() == ["x", "", "y"]
    loader = hr.from_parquet(path, x="a").batch(3, on_error="skip", max_bad=0.5)
    assert len(next(iter(loader))[0]) == 3


def test_a_folder_is_its_files_in_order(write, tmp_path):
    write({"a": [3, 4]}, "b.parquet")
    write({"a": [1, 2]}, "a.parquet")
    assert hr.open(tmp_path, x="a")[:][0].tolist() == [1, 2, 3, 4]
    write({"a": [1.5]}, "c.parquet")
    with pytest.raises(DataError, match=r"columns a: .*c\.parquet"):
        hr.open(tmp_path, x="a")


def test_what_is_named_has_to_be_there(write):
    path = write({"alpha": [1], "beta": ["x"]})
    with pytest.raises(FieldNotFoundError, match="alpha"):
        hr.from_parquet(path, x="alpa")
    with pytest.raises(OptionError, match=r"'beta' \(text\)"):
        hr.from_parquet(path)


def test_every_command_takes_it(write, tmp_path, capsys):
    table = arrow_of(values())
    path = str(write(table))
    for command in (["info", path], ["stats", path, "--x", "value"], ["verify", path]):
        assert main(command) == 0
        assert capsys.readouterr().out
    out = str(tmp_path / "out.h5")
    assert main(["pack", path, out, "--x", "vector", "--y", "late"]) == 0
    np.testing.assert_array_equal(hr.open(out)[:][0], values()["vector"])


def test_damage_is_named(write, tmp_path):
    path = write(arrow_of(values()), compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    (tmp_path / "cut.parquet").write_bytes(content[:-100])
    with pytest.raises(FileFormatError, match=r"footer of .*cut\.parquet.* cannot be read"):
        hr.from_parquet(tmp_path / "cut.parquet", x="value")
    content[4:60] = bytes(range(200, 256))
    (tmp_path / "bad.parquet").write_bytes(content)
    with pytest.raises(HeadraceError, match=r"[Rr]ow group 0 of .*bad\.parquet.* damaged"):
        hr.from_parquet(tmp_path / "bad.parquet", x="count")[:]
