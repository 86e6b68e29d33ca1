"""What a terminal and a notebook show of objects: short, and with nothing of a file acted upon."""

from html.parser import HTMLParser

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.html import MOST_ROWS, html_table

BAD = "<script>alert('a & b')</script>"


class Cells(HTMLParser):
    """The texts of the cells of HTML tables, and each tag that there is."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.tags, self.open = [], set(), []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th", "caption"):
            self.cells.append(data)


@pytest.fixture
def data(tmp_path):
    """A field whose name a browser would run, and labels."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["a"] = np.arange(600, dtype="uint8").reshape(200, 3)
        file["label"] = np.arange(200) % 2
    return hr.from_hdf5(tmp_path / "data.h5", x="a", y="label")


def test_reprs_are_one_short_line(data, tmp_path):
    """What matters, in the names of arguments; lists of fields end after a few."""
    loader = data.batch(32, shuffle=True, seed=3, memory="1MB", workers=2)
    stats = hr.stats(data)
    with hr.create(tmp_path / "new.h5", {"a": ((), "float32")}) as writer:
        writer.write(np.zeros(4, "float32"))
        written = repr(writer)
    expected = {
        repr(data): "<Dataset of 200 samples: a (3,) uint8, label () int64>",
        repr(data.map(lambda x, y: (x, y))): "<Dataset of 200 samples: a (3,) uint8, label () "
        "int64, mapped>",
        repr(data.spec): "<Spec of x: a (3,) uint8, y: label () int64>",
        repr(data.spec["a"]): "<Field a (3,) uint8>",
        repr(loader): "<Loader of 7 batches of 32: shuffle=True, seed=3, memory=1.0 MB, workers=2; "
        "a (3,) uint8, label () int64>",
        repr(data.batch(8, drop_remainder=True, memory="1MB", workers=1)): "<Loader of 25 batches "
        "of 8: shuffle=False, drop_remainder=True, memory=1.0 MB, workers=1; a (3,) uint8, label "
        "() int64>",
        repr(stats): "<Stats of 200 samples: a, label>",
        repr(stats["label"]): "<FieldStats of label () int64, 200 values: mean 0.5, std 0.5, "
        "0 to 1>",
        repr(stats["a"].channels[0].histogram): "<Histogram of 200 values in 200 bins>",
        repr(hr.verify(tmp_path / "data.h5")): f"<Verification of {tmp_path / 'data.h5'}: ok>",
        repr(hr.from_sequence([1, 2], workers=1)): "<ItemLoader of list: shuffle=False, "
        "workers=1 threads>",
        written: f"<Writer of {tmp_path / 'new.h5'}, 4 rows so far: a () float32>",
    }
    for found, wanted in expected.items():
        assert found == wanted


def test_a_report_is_one_line_too(data):
    """Print shows the rest."""
    loader = data.batch(32, memory="1MB", workers=2)
    for _ in loader:
        pass
    report = loader.report()
    assert repr(report).startswith("<Report of 200 samples in 7 batches: ")
    assert "\n" not in repr(report)
    assert "waited for data" in str(report)
    assert len(str(report).splitlines()) > 5


def test_many_fields_are_counted():
    """Four of them are shown."""
    data = hr.from_arrays({f"f{i}": np.zeros(3) for i in range(1000)})
    assert repr(data).count("float64") == repr(data.spec).count("float64") == 4
    assert "and 996 more" in repr(data)
    assert len(repr(hr.stats(data))) < 200
    assert len(Cells(data._repr_html_()).cells) < 5 * MOST_ROWS


def test_notebooks_get_tables(data, tmp_path):
    """With the fields, the numbers of statistics and reports, and what was verified."""
    loader = data.batch(32, memory="1MB")
    list(loader)
    size = "2.2 kB in memory"
    shown = [
        (data, [f"Dataset of 200 samples, {size}", "x", "a", "(3,)", "uint8"]),
        (data.map(lambda x, y: (x, y)), [f"Dataset of 200 samples, {size}, mapped, before map()"]),
        (data.spec, ["Samples of 11 bytes", "y", "label", "()", "int64"]),
        (hr.stats(data), ["Statistics of 200 samples", "uint8 (3,)", "mean", "  [2]", "0.5"]),
        (loader.report(), ["Report of a loader", "200 in 7 batches, 1 epochs", "shuffle"]),
        (hr.verify(tmp_path / "data.h5"), ["ok"]),
    ]
    for thing, cells in shown:
        found = Cells(thing._repr_html_())
        assert set(cells) <= set(found.cells)
        assert found.tags <= {"table", "caption", "thead", "tbody", "tr", "td", "th"}


def test_names_from_files_are_text(tmp_path):
    """Nothing in a name is a tag, an entity or a control character."""
    name = BAD.replace("/", "|") + "\x1b[31m"
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file[name] = np.arange(200) % 2
    data = hr.from_hdf5(tmp_path / "data.h5", x=name)
    loader = data.batch(32, memory="1MB")
    things = (data, data.spec, hr.stats(data), loader.report(), hr.verify(tmp_path / "data.h5"))
    for thing in things:
        html = thing._repr_html_()
        assert "<script" not in html
        assert "\x1b" not in html
        assert any("<script>alert('a & b')<|script>\\x1b[31m" in cell for cell in Cells(html).cells)
        assert repr(thing).isprintable()
    assert repr(loader).isprintable()
    assert repr(hr.stats(data)[name]).isprintable()


def test_a_long_table_ends():
    """The other rows are counted."""
    cells = Cells(html_table("", [(i, i) for i in range(1000)])).cells
    assert cells[-1] == "and 900 more"
    assert len(cells) == 2 * MOST_ROWS + 1
