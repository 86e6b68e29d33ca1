"""The table of formats, and what every format shares."""

import json

import numpy as np
import pytest

import headrace as hr
from headrace.cli import main
from headrace.errors import (
    DataError,
    FieldNotFoundError,
    FileFormatError,
    MissingFileError,
    OptionError,
    ShapeError,
    TypeNotSupportedError,
)
from headrace.formats import Column, format_of, open_location
from headrace.formats.fields import with_fields
from headrace.sources.arrays import array_source
from tests.bad_input.refusal import refused
from tests.files import write

ROWS = np.arange(100)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, image=ROWS[:, None] + np.arange(3), label=ROWS % 2, short=ROWS[:50])
    return path


def test_the_format_is_found_by_content_and_not_by_name(tmp_path):
    """An HDF5 file with any name, also behind a block of the user's, and NumPy's files."""
    write(tmp_path / "a.npy", x=ROWS)
    np.save(tmp_path / "b", ROWS)
    (tmp_path / "c.csv").write_bytes(bytes(512) + (tmp_path / "a.npy").read_bytes())
    assert format_of(tmp_path / "a.npy").name == "HDF5"
    assert format_of(tmp_path / "b.npy").name == "NumPy"
    assert format_of(tmp_path / "c.csv").name == "HDF5"


def test_what_cannot_be_recognised_is_said(tmp_path):
    """Nothing there, a folder, and an empty file."""
    with refused(MissingFileError, "no file at", "gone.h5"):
        hr.open(tmp_path / "gone.h5")
    with refused(FileFormatError, "is a folder of no format", "It holds: a.txt"):
        (tmp_path / "a.txt").write_text("")
        hr.open(tmp_path)
    with refused(FileFormatError, "looks like an empty file"):
        hr.open(tmp_path / "a.txt")


def test_several_files_of_numpy_are_one_data_set(tmp_path):
    """A list, in its order, and a pattern."""
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", ROWS + 100 * number)
    assert (hr.open(tmp_path / "*.npy")[:][0] == np.arange(300)).all()
    data = hr.open([tmp_path / "2.npy", tmp_path / "0.npy"], start=50, end=150)
    assert data[:][0].tolist() == [*range(250, 300), *range(50)]


def test_arrays_of_an_archive_keep_their_names(archive):
    data = hr.open(archive, x="image", y="label")
    assert (data.spec.x, data.spec.y) == ("image", "label")
    assert (data[5][0] == [5, 6, 7]).all()


def test_other_arrays_of_an_archive_decide_about_rows(archive):
    """An array that is neither x nor y, in a split and in a filter."""
    parts = hr.open(archive, x="image").split(by="label")
    assert (parts[1][:][0][:, 0] == ROWS[1::2]).all()
    with refused(FieldNotFoundError, "no field 'lable'", "label"):
        hr.open(archive, x="image").split(by="lable")
    with refused(ShapeError, "'short' has 50"):
        hr.open(archive, x="image").split(by="short")


def test_arrays_of_unequal_length_need_an_end(archive):
    with refused(ShapeError, "different numbers of rows", "'short' has 50", "end=50"):
        hr.open(archive, x="image", y="short")
    data = hr.open(archive, x="image", y="short", end=50)
    assert len(data) == 50
    assert [len(part) for part in data.split(by="label").values()] == [25, 25]
    whole = hr.open(archive, x="image", end=60)
    assert len(whole) == len(whole.filter(lambda label: label >= 0)) == 60
    with refused(OptionError, "end <= 100"):
        hr.open(archive, x="image", end=101)


def test_info_shows_arrays_of_numpy(archive, capsys):
    assert main(["info", str(archive), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["columns"], found["complete"]) == ("NumPy", 3, True)
    names = {item["name"]: item["shape"] for item in found["objects"][1:]}
    assert names == {"image": [100, 3], "label": [100], "short": [50]}
    data = eval(found["next"]["python"], {"hr": hr})
    assert (data.spec.x, data.spec.y) == ("image", "label")
    assert main(["info", str(archive), "--limit", "1"]) == 0
    assert "--limit" in capsys.readouterr().out


def test_info_shows_the_first_of_the_shards(tmp_path, capsys):
    data = hr.from_arrays(np.arange(1000.0), ROWS.repeat(10))
    hr.pack(data, tmp_path / "shards", shard_size=4000)
    assert main(["info", str(tmp_path / "shards")]) == 0
    text = capsys.readouterr().out
    assert "the first of 4 shards; 1,000 rows in all of them" in text


def test_a_name_with_a_comma_is_one_name(tmp_path, capsys):
    """Where a column has it; all other commas part names."""
    write(tmp_path / "a.h5", **{"a,b": ROWS, "a": ROWS * 2, "c": ROWS % 2})
    for given, expected in (("a,b", ["a,b"]), ("a,c", ["a", "c"])):
        assert main(["stats", str(tmp_path / "a.h5"), "--x", given, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [field["name"] for field in found["fields"]] == expected


def test_an_option_of_the_format_is_passed_on(tmp_path, capsys):
    """And refused where the format has none of that name, with code 2."""
    path = str(tmp_path / "a.h5")
    write(path, x=ROWS)
    assert main(["stats", path, "--option", "allow_external=true", "--quiet"]) == 0
    assert main(["stats", path, "--option", "allow=true"]) == 2
    assert "HDF5 files have no option 'allow'" in capsys.readouterr().err
    assert main(["stats", path, "--option", "allow_external=1"]) == 2
    assert main(["stats", path, "--option", "allow_external"]) == 2


@pytest.mark.parametrize(
    "column, error, words",
    [
        (Column("x", "text", (), None), TypeNotSupportedError, "values of the type text"),
        (Column("x", "number", (), np.dtype("f4"), missing=True), DataError, "may be missing"),
    ],
)
def test_columns_that_are_no_fields_are_refused(column, error, words, monkeypatch):
    """Rather than cast, dropped or filled without a word."""
    source = array_source("x", ROWS)
    assert with_fields(source, "'a'") is source
    monkeypatch.setattr(type(source), "columns", (column,))
    with refused(error, "'x' in 'a'", words):
        with_fields(source, "'a'")


def test_the_location_of_an_unknown_file_is_an_error(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" + bytes(100))
    with refused(FileFormatError, "looks like a ZIP archive"):
        open_location(tmp_path / "a.zip")


def test_verify_says_which_files_of_numpy_are_broken(archive, tmp_path):
    """One that was cut, and one that cannot be read row by row."""
    assert hr.verify(archive).ok
    cut = tmp_path / "cut.npz"
    cut.write_bytes(archive.read_bytes()[:-30])
    assert "damaged" in hr.verify(cut).problems[0]
    np.savez_compressed(cut, x=ROWS)
    assert "compressed" in hr.verify(cut).problems[0]
