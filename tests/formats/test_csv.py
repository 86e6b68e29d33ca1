"""CSV files in every command, as any other format."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import headrace as hr
from headrace.cli import main
from headrace.errors import FileFormatError, HeadraceError, OptionError, UnknownOptionError


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=900).round(5), "b": rng.integers(0, 50, 900)})
    frame["city"] = np.array(["Aix", "Bonn", "Como"])[rng.integers(0, 3, 900)]
    frame["y"] = (frame["a"] * 20 + frame["b"] > 25).astype(int)
    return frame


@pytest.fixture
def file(table, tmp_path):
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    return str(path)


def test_info_lists_the_columns(file, capsys):
    """With their types; how they are read is said once; 80 columns wide."""
    assert main(["info", file]) == 0
    out = capsys.readouterr().out
    assert "900 rows, 4 columns" in out
    assert "parsed blocks" in out
    assert out.count("├─") + out.count("└─") == 4
    assert max(len(line) for line in out.splitlines() if line[:1] in "├│└") <= 80
    assert main(["info", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    types = {item["name"]: item["type"] for item in found["objects"][1:]}
    assert types == {"a": "number", "b": "number", "city": "text", "y": "number"}


def test_info_shows_which_columns_have_gaps(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n,3\n4,5\n")
    assert main(["info", str(tmp_path / "a.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["int64, gaps" in line for line in lines if "int64" in line] == [True, False]
    assert hr.verify(tmp_path / "a.csv").ok


def test_columns_with_a_slash_are_no_groups(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("km/h,b\n1,2\n3,4\n")
    assert main(["info", str(tmp_path / "a.csv")]) == 0
    assert "km/h" in capsys.readouterr().out


def test_fit_learns(file, capsys):
    assert main(["fit", file, "--x", "a", "--y", "y", "--epochs", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["history"]["accuracy"][-1] > 0.7


def test_stats_are_those_of_pandas(file, table):
    found = hr.stats(hr.from_csv(file, x=["a", "b"], y="y"))
    assert found["y"].classes == table["y"].value_counts().to_dict()
    channels = found["x"].channels
    np.testing.assert_allclose([c.mean for c in channels], table[["a", "b"]].mean(), rtol=1e-6)
    np.testing.assert_allclose([c.max for c in channels], table[["a", "b"]].max(), rtol=1e-6)


def test_pack_writes_what_was_read(file, table, tmp_path):
    out = tmp_path / "out.h5"
    packed = hr.pack(hr.from_csv(file, x=["a", "b"], y="y"), out)
    with h5py.File(out) as opened:
        np.testing.assert_array_equal(opened["x"], table[["a", "b"]].to_numpy(np.float32))
    assert packed.spec.y == "y"
    assert hr.verify(out).ok


def test_verify_reads_everything(file, tmp_path):
    assert hr.verify(file).ok
    (tmp_path / "bad.csv").write_text("a,b\n" + "1,2\n" * 100 + "3\n")
    found = hr.verify(tmp_path / "bad.csv")
    assert not found.ok
    assert "line 102" in str(found)


def test_text_splits_and_balances(file, table):
    data = hr.from_csv(file, x=["a", "b"], y="y")
    parts = data.split(by="city")
    assert {name: len(part) for name, part in parts.items()} == dict(table["city"].value_counts())
    train, val = data.split(0.8, stratify="city", seed=0)
    assert (len(train), len(val)) == (720, 180)
    assert len(data.filter(lambda city: city == "Bonn")) == (table["city"] == "Bonn").sum()
    assert len(data.balance("city")) > 0


def test_any_order_of_batches_holds_every_row_once(file, table):
    data = hr.from_csv(file, x=["a", "b"], y="y")
    for shuffle in (False, True, "exact", "batch"):
        loader = data.batch(64, shuffle=shuffle, seed=0, memory="5MB", workers=2)
        rows = np.concatenate([x for x, _ in loader])
        order = np.lexsort(rows.T)
        wanted = table[["a", "b"]].to_numpy(np.float32)
        np.testing.assert_array_equal(rows[order], wanted[np.lexsort(wanted.T)])
        assert (shuffle is False) == np.array_equal(rows, wanted)


def test_options_reach_the_format(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1;2,5\n3;4,5\n")
    data = hr.open(path, x="v", y="n", delimiter=";", decimal=",", names="n,v")
    assert data[:][0].tolist() == [2.5, 4.5]
    with pytest.raises(UnknownOptionError, match="decimal"):
        hr.open(path, x="v", decimel=",")
    for wrong in ({"fill": "0"}, {"types": 3}, {"delimiter": "ab"}, {"encoding": "utf-99"}):
        with pytest.raises(OptionError, match="Expected"):
            hr.from_csv(path, x="v", **wrong)


def test_the_content_decides(table, tmp_path):
    """Whatever the name is; and text that is none is not taken for a table."""
    table.to_csv(tmp_path / "data", index=False)
    assert len(hr.open(tmp_path / "data", x="a")) == 900
    (tmp_path / "poem.txt").write_text("Roses are red\nViolets are blue\nSo are you\n")
    with pytest.raises(FileFormatError, match="no format"):
        hr.open(tmp_path / "poem.txt", x="a")


COMPRESSED = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_compressed_files_are_unpacked_once(table, tmp_path, monkeypatch, suffix):
    """To a copy that later programs use; one of a file that changed is made anew."""
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / f"a.csv.{suffix}"
    path.write_bytes(COMPRESSED[suffix](table.to_csv(index=False).encode()))
    with pytest.warns(UserWarning, match="a plain copy of .* was made"):
        data = hr.open(path, x="b")
    np.testing.assert_array_equal(data[:][0], table["b"])
    assert hr.from_csv(path, x="b")[:][0].tolist() == table["b"].tolist()
    path.write_bytes(COMPRESSED[suffix](table[:50].to_csv(index=False).encode()))
    with pytest.warns(UserWarning, match="a plain copy"):
        assert len(hr.from_csv(path, x="b")) == 50


def test_a_truncated_compressed_file_is_an_error_and_leaves_no_copy(table, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(table.to_csv(index=False).encode())[:-20])
    with pytest.raises(FileFormatError, match=r"a\.csv\.gz' is damaged, or truncated"):
        hr.from_csv(path, x="b")
    assert list((tmp_path / "cache" / "csv").iterdir()) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_encodings_are_read_from_a_copy(tmp_path, monkeypatch, encoding):
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.csv"
    path.write_bytes("nom,n\nCaf\u00e9,1\nNo\u00ebl,2\n".encode(encoding))
    with pytest.warns(UserWarning, match="a plain copy"):
        data = hr.from_csv(path, x="nom", y="n", encoding=encoding)
    assert data[:][0].tolist() == ["Caf\u00e9", "No\u00ebl"]


def test_a_file_that_changes_is_an_error(file):
    data = hr.from_csv(file, x="a")
    with Path(file).open("a") as more:
        more.write("1,2,Aix,0\n")
    with pytest.raises(HeadraceError, match="since it was opened"):
        data[:]
