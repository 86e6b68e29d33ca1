"""The contract of a source, held to CSV files."""

import numpy as np
import pytest

from headrace.sources import tables
from headrace.sources.csv import ranges
from headrace.sources.csv.dialect import Dialect
from headrace.sources.csv.table import CSVSource, CSVTable
from headrace.sources.tables import MatrixEncoder
from headrace.testing import SourceTests

ROWS = 700


def columns(rows=ROWS):
    rng = np.random.default_rng(0)
    cities = np.array(["Aix", "Köln", "a,b", 'say "hi"', "two\nlines"])
    start = np.datetime64("2013-01-01T00:00:00", "us")
    return {
        "count": rng.integers(-(10**12), 10**12, rows),
        "value": rng.normal(size=rows),
        "city": cities[rng.integers(0, 5, rows)],
        "day": start + np.arange(rows) * np.timedelta64(1, "h"),
        "late": rng.random(rows) < 0.5,
    }


def written(values, names=None, newline="\n", end=True):
    names = list(names or values)
    quoted = {name: [quote(str(one)) for one in values[name].tolist()] for name in names}
    lines = [",".join(names), *(",".join(row) for row in zip(*quoted.values(), strict=True))]
    return (newline.join(lines) + newline * end).encode()


def quote(text):
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\n') else text


def expected(values, names):
    matrix = np.stack([values[name].astype(np.float32) for name in ("value", "count")], axis=1)
    return {"x": matrix, **{name: values[name] for name in names}}


@pytest.fixture(scope="class", params=["one", "crlf", "many", "other order"])
def files(request, tmp_path_factory):
    """Files that hold the rows of `columns()`, in several forms."""
    folder = tmp_path_factory.mktemp("csv")
    values = columns()
    if request.param in ("one", "crlf"):
        paths = [folder / "data.csv"]
        paths[0].write_bytes(written(values, newline="\r\n" if request.param == "crlf" else "\n"))
        return [str(path) for path in paths]
    paths = []
    for number, start in enumerate(range(0, ROWS, 150)):
        part = {name: array[start : start + 150] for name, array in values.items()}
        names = list(part) if request.param == "many" or number % 2 else list(part)[::-1]
        paths.append(folder / f"{number}.csv")
        paths[-1].write_bytes(written(part, names, end=number % 2 == 0))
    return [str(path) for path in paths]


class TestCSV(SourceTests):
    """Numbers, text, dates and booleans; in small ranges, so that there are many."""

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, files):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranges, "RANGE_BYTES", 1000)
            patch.setattr(tables.source, "GROUP_BYTES", 5000)
            table = CSVTable(files, Dialect())
            matrix = MatrixEncoder("x", ("value", "count"), np.dtype(np.float32))
            names = ("count", "city", "day", "late")
            yield CSVSource(table, [matrix, *map(table.encoder, names)])

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls):
        values = columns()
        return expected(values, ("count", "city", "day", "late"))
