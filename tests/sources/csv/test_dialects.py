"""CSV text in many forms, read as pandas reads it."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import (
    BadSampleError,
    DataError,
    FieldNotFoundError,
    FileFormatError,
    OptionError,
)


@pytest.fixture
def csv(tmp_path):
    """Writes text or bytes to a CSV file; gives its path."""

    def write(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def columns_of(path, *names, **options):
    """Whole columns by their names."""
    return {name: hr.from_csv(path, x=name, **options)[:][0] for name in names}


def same(path, *names, pandas=None, **options):
    """Compares columns with those that pandas reads."""
    frame = pd.read_csv(path, **(pandas or {}))
    for name, values in columns_of(path, *names, **options).items():
        wanted = frame[name].to_numpy()
        if values.dtype.kind == "U":
            wanted = frame[name].fillna("").to_numpy().astype(str)
        np.testing.assert_array_equal(values, wanted.astype(values.dtype), name)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("end", [True, False])
def test_lines_end_in_three_ways(csv, newline, end):
    text = newline.join(["a,b", "1,x", "2,y", "3,z"]) + newline * end
    same(csv(text), "a", "b")


def test_a_byte_order_mark_is_no_part_of_a_name(csv):
    same(csv(b"\xef\xbb\xbfa,b\n1,2\n"), "a", "b")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(csv, delimiter):
    text = "\n".join(delimiter.join(row) for row in (["a", "b"], ["1", "2.5"], ["3", "4.5"]))
    same(csv(text), "a", "b", pandas={"sep": delimiter})


def test_line_ends_and_delimiters_may_be_quoted(csv):
    text = 'a,b\n"one\ntwo",1\n"three, four",2\n"say ""five""",3\n'
    same(csv(text), "a", "b")


def test_quotes_within_a_value_are_characters(csv):
    """And none that would hide the line ends behind them."""
    same(csv('a,b\n5" pipe,1\n6" pipe,2\n'), "a", "b")
    values = columns_of(csv('a,b\n"x,1\ny",2\n'), "a", quote=None)["a"]
    assert values.tolist() == ['"x', 'y"']


def test_empty_lines_are_no_rows(csv):
    same(csv("\n\na,b\n\n1,2\n\r\n\n3,4\n\n"), "a", "b")


def test_comments_are_no_rows(csv):
    text = '# made, by "hand\na,b\n1,2\n#3,4\n5,6\n'
    same(csv(text), "a", "b", pandas={"comment": "#"}, comment="#")


def test_decimal_commas_and_thousands(csv):
    text = "a;b\n1.234,5;1.000\n-7,25;2.500.000\n"
    options = {"decimal": ",", "thousands": "."}
    same(csv(text), "a", "b", pandas={**options, "sep": ";"}, **options)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_encodings_are_given_by_name(csv, encoding):
    path = csv("nom,n\nCafé,1\nNoël,2\n".encode(encoding))
    same(path, "nom", "n", pandas={"encoding": encoding}, encoding=encoding)
    with pytest.raises(BadSampleError, match=r"line 2, column 'nom'.*no text in utf-8.*encoding="):
        hr.from_csv(path, x="nom")[:]


def test_blanks_around_numbers_and_missing_values(csv):
    path = csv("date, value\nD1, 1017.1\nD2, NA\nD3 ,3 \n")
    data = hr.from_csv(path, x="value", fill=-1)
    np.testing.assert_array_equal(data[:][0], [1017.1, -1, 3])


def test_names_may_hold_any_characters(csv):
    path = csv("subject#,Jitter(%),Jitter:RAP,a/b,a.b\n1,3.38e-005,2,3,4\n")
    same(path, "subject#", "Jitter(%)", "Jitter:RAP", "a/b", "a.b")


def test_a_file_without_a_header_gets_names(csv):
    path = csv("1,x\n2,y\n")
    found = columns_of(path, "n", "t", names=["n", "t"])
    assert found["n"].tolist() == [1, 2]
    assert found["t"].tolist() == ["x", "y"]


def test_rows_in_front_of_the_header_are_skipped(csv):
    path = csv("made by hand\non a Monday\na,b\n1,2\n")
    assert columns_of(path, "b", skip=2)["b"].tolist() == [2]


def test_whole_numbers_of_any_size_stay_what_they_are(csv):
    """Those that 64 bits cannot hold are text: a float would keep their first digits alone."""
    path = csv(f"a,b,c\n{2**31},{2**63 - 1},{10**25}\n-5,{-(2**63)},7\n")
    found = columns_of(path, "a", "b", "c")
    assert found["a"].tolist() == [2**31, -5]
    assert found["b"].tolist() == [2**63 - 1, -(2**63)]
    assert found["c"].tolist() == [str(10**25), "7"]


@pytest.mark.parametrize(
    "rows, kind",
    [
        (["1", "2.5"], "float64"),
        (["1", "x"], "<U1"),
        (["true", "False"], "bool"),
        (["2013-01-01", "2013-01-02T03:04:05.678"], "datetime64[us]"),
        (["1e3", "-.5"], "float64"),
        (["1_000", "2"], "<U5"),
        (["0x10", "2"], "<U4"),
        (["007", "08"], "int64"),
    ],
)
def test_types_are_inferred(csv, rows, kind):
    path = csv("a,b\n" + "".join(f"{row},0\n" for row in rows))
    assert str(columns_of(path, "a")["a"].dtype) == kind


def test_a_given_type_wins(csv):
    path = csv("zip,n\n01234,1\n98765,2\n")
    found = columns_of(path, "zip", "n", types={"zip": "text", "n": "float"})
    assert found["zip"].tolist() == ["01234", "98765"]
    assert found["n"].dtype == np.float64


def test_columns_of_numbers_are_one_matrix(csv):
    data = hr.from_csv(csv("a,b,c,y\n1,2.5,,0\n3,4,5,1\n"), y="y", fill=0)
    x, y = data[:]
    np.testing.assert_array_equal(x, np.float32([[1, 2.5, 0], [3, 4, 5]]))
    assert x.dtype == np.float32
    assert y.tolist() == [0, 1]
    assert hr.from_csv(csv("a,b\n1,2\n"), x=("a", "b"))[:][0][1].tolist() == [2]


def test_files_may_order_their_columns_differently(csv):
    first, second = csv("a,b\n1,2\n3,4\n", "1.csv"), csv("b,a\n6,5", "2.csv")
    data = hr.from_csv([first, second, first], x="a", y="b")
    assert data[:][0].tolist() == [1, 3, 5, 1, 3]
    assert data[:][1].tolist() == [2, 4, 6, 2, 4]


def test_files_with_other_columns_are_refused(csv):
    first = csv("a,b\n1,2\n", "1.csv")
    for text, what in (("a\n1\n", "lacks b"), ("a,b,c\n1,2,3\n", "has c as well")):
        with pytest.raises(DataError, match=f"2.csv' {what}"):
            hr.from_csv([first, csv(text, "2.csv")], x="a")


# What cannot be read.


def test_a_missing_number_is_an_error_that_names_its_place(csv):
    data = hr.from_csv(csv("a,b\n1,2\n\n3,\n"), x="a", y="b")
    with pytest.raises(BadSampleError, match=r"data\.csv', line 4: .*'b' is missing.*fill="):
        data[:]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("1", "expected 2 values, received 1"),
        ("1,2,3", "expected 2 values, received 3"),
        ("x,2", "column 'a': expected a whole number, received 'x'"),
        ("1.5,2", "column 'a': expected a whole number, received '1.5'"),
    ],
)
def test_a_bad_row_is_an_error_or_skipped(csv, line, reason):
    rows = "".join(f"{i},{i}\n" for i in range(20_000))
    path = csv(f"a,b\n{rows}{line}\n{rows}")
    data = hr.from_csv(path, x="a", y="b", types={"a": "int"})
    assert len(data) == 40_001
    with pytest.raises(BadSampleError, match=f"data.csv', line 20002.*{reason}"):
        list(data.batch(64))
    loader = data.batch(64, on_error="skip")
    assert sum(len(x) for x, _ in loader) == 40_001
    bad = loader.report().bad
    assert bad["count"] == 1
    assert reason in str(bad)


def test_a_quote_that_does_not_end_is_an_error(csv):
    with pytest.raises(FileFormatError, match=r"line 3.*quote=None"):
        hr.from_csv(csv('a,b\n1,2\n"3,4\n5,6\n'), x="a")


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n"])
def test_files_without_rows(csv, content):
    with pytest.raises((FileFormatError, OptionError), match=r"no rows|rows"):
        hr.from_csv(csv(content), x="a")


def test_what_is_named_has_to_be_there(csv):
    path = csv("alpha,beta\n1,x\n")
    with pytest.raises(FieldNotFoundError, match="alpha"):
        hr.from_csv(path, x="alpa")
    with pytest.raises(FieldNotFoundError, match="types="):
        hr.from_csv(path, x="alpha", types={"gamma": "int"})
    with pytest.raises(OptionError, match="float"):
        hr.from_csv(path, x="alpha", types={"alpha": "floot"})
    with pytest.raises(OptionError, match=r"'beta' \(text\)"):
        hr.from_csv(path)


# Laws.

text = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)
cells = st.one_of(text, st.sampled_from(['"', '""', ",", "\n", 'a"b', " x ", "#"]))


@given(st.lists(st.tuples(cells, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30))
def test_any_text_comes_back(tmp_path, rows):
    """As Python's `csv` writes it; what counts as missing apart."""
    import csv as python_csv

    out = io.StringIO(newline="")
    writer = python_csv.writer(out, lineterminator="\n")
    writer.writerow(["t", "n"])
    writer.writerows((f"<{cell}", number) for cell, number in rows)
    path = tmp_path / "any.csv"
    path.write_bytes(out.getvalue().encode())
    data = hr.from_csv(path, x="t", y="n", types={"t": "text"}, delimiter=",")
    assert data[:][0].tolist() == [f"<{cell}".rstrip("\0") for cell, _ in rows]
    assert data[:][1].tolist() == [number for _, number in rows]


@given(st.lists(st.floats(width=64), min_size=1, max_size=40))
def test_any_number_comes_back(tmp_path, numbers):
    """To the last bit, as pandas and Python read it."""
    path = tmp_path / "any.csv"
    path.write_text("a,b\n" + "".join(f"{number!r},0\n" for number in numbers))
    got = hr.from_csv(path, x="a", types={"a": "float"}, fill=float("nan"))[:][0]
    np.testing.assert_array_equal(got, numbers)
