"""What is made of statistics: weights, documents, tables and pictures."""

import builtins
import io
import json

import h5py
import numpy as np
import pytest
from PIL import Image

import headrace as hr
from headrace.errors import (
    DataError,
    FieldNotFoundError,
    MissingDependencyError,
    MissingFileError,
    NoPermissionError,
    OptionError,
)


def stats_of(x=None, y=None, **options):
    return hr.stats(hr.from_arrays(np.arange(len(y)) if x is None else x, y), **options)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y,
        lambda y: y[:, None].astype(np.uint8),
        lambda y: y.astype(np.float32),
        lambda y: np.eye(8)[y],
    ],
)
def test_class_weights_are_balanced(form):
    """As scikit-learn gives them; whatever form labels have; classes that never come have none."""
    label = np.array([2] * 6 + [5] * 3 + [7])
    weights = stats_of(y=form(label)).class_weight()
    assert weights == {2: 10 / 18, 5: 10 / 9, 7: 10 / 3}
    assert all(type(key) is int for key in weights)
    assert sum(weights[k] for k in label.tolist()) == pytest.approx(len(label))


def test_class_weights_are_taken_by_batch():
    label = np.array([0, 0, 0, 1])
    data = hr.from_arrays(np.arange(4), label)
    (batch,) = data.batch(4, class_weight=hr.stats(data).class_weight())
    assert batch[2].tolist() == pytest.approx([2 / 3] * 3 + [2])


@pytest.mark.parametrize(
    "y, field, error, words",
    [
        (np.array([b"a", b"b"]), None, OptionError, "b'a'"),
        (np.array([0.5, 1]), None, OptionError, "0.5"),
        (np.array([np.nan, 1]), None, DataError, "1 missing label"),
        (np.zeros((2, 3)), None, OptionError, "no classes"),
        (np.arange(2000), None, OptionError, "more than 1,000"),
        (np.arange(2), "z", OptionError, "no field 'z'. There are: x, y"),
        ((np.arange(2), np.arange(2)), None, OptionError, "2 y fields. There are: x, y.0, y.1"),
    ],
)
def test_what_are_no_labels_is_refused(y, field, error, words):
    found = stats_of(x=np.arange(len(y)), y=y)
    with pytest.raises(error, match=words):
        found.class_weight(field)


def test_data_without_y_have_no_labels():
    with pytest.raises(OptionError, match="no y field"):
        hr.stats(hr.from_arrays(np.arange(3))).class_weight()


@pytest.fixture
def everything():
    """Statistics of fields of all kinds."""
    rng = np.random.default_rng(0)
    n = 600
    score = rng.normal(size=n)
    score[:3] = np.nan, np.inf, -np.inf
    arrays = {
        "image": rng.integers(0, 256, (n, 4, 4, 3)).astype(np.uint8),
        "vector": rng.normal(size=(n, 20)).astype(np.float32),
        "score": score,
        "empty": np.full(n, np.nan),
        "same": np.full(n, 7),
        "huge": np.full(n, 1e300) * rng.choice([-1, 1], n),
        "text": np.array([b"caf\xc3\xa9", b"\xff\x1b[31m", b"$x$"])[rng.integers(0, 3, n)],
        "name": np.array([f"n{i}" for i in range(n)], "S5"),
        "city": np.array([f"A long name of a city, {i % 30}" for i in range(n)], "S40"),
        "complex": np.zeros((n, 2), np.complex64),
    }
    data = hr.from_arrays(arrays, (rng.integers(0, 50, n), np.eye(3)[rng.integers(0, 3, n)]))
    return hr.stats(data, distinct=100)


def test_the_document_is_strict_json(everything):
    """Without NaN or infinities, and with text as text."""
    known = json.loads(everything.to_json(), parse_constant=pytest.fail)
    assert known == json.loads(json.dumps(everything.to_dict()))
    assert known["rows"] == 600
    assert known["y"] == ["y.0", "y.1"]
    fields = {field["name"].removeprefix("x."): field for field in known["fields"]}
    assert [one["value"] for one in fields["text"]["classes"]] == ["$x$", "café", "\\xff\x1b[31m"]
    assert (fields["score"]["missing"], fields["score"]["infinite"]) == (1, 2)
    assert fields["empty"]["histogram"] is None
    assert fields["name"]["more_than"] == 100
    assert len(fields["vector"]["channels"]) == 20


def test_histograms_hold_every_finite_value(everything):
    known = {field["name"]: field for field in everything.to_dict()["fields"]}
    for name, field in known.items():
        histogram = field["histogram"]
        if histogram is None:
            continue
        assert sum(histogram["counts"]) == everything[name].count - field["infinite"]
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
        assert (np.diff(histogram["edges"]) > 0).all() or field["min"] == field["max"]


def test_histograms_are_those_of_the_values():
    rng = np.random.default_rng(0)
    for values, off in (
        (rng.normal(size=20_000), 0.02),
        (rng.integers(0, 40, 5000), 0),
        (rng.integers(-128, 128, 5000).astype(np.int8), 0),
        (rng.integers(0, 10**7, 20_000), 0.02),
        (1e9 + rng.random(20_000), 0.05),
    ):
        histogram = hr.stats(hr.from_arrays(values)).to_dict()["fields"][0]["histogram"]
        counts, _ = np.histogram(values, histogram["edges"])
        wrong = np.abs(np.cumsum(counts - np.array(histogram["counts"]))).max()
        assert wrong <= off * len(values)


def test_the_table_has_a_line_for_each_field_and_channel(everything):
    lines = str(everything).splitlines()
    assert lines[0] == "600 samples, 12 fields"
    starts = [line.split()[0] for line in lines if line]
    for name in everything:
        assert name in starts
    assert [start for start in starts if start.startswith("[")][:4] == ["[0]", "[1]", "[2]", "[0]"]
    assert "  and 12 more" in lines
    head = next(line for line in lines if line.startswith("field"))
    assert head.split()[:6] == ["field", "type", "count", "missing", "infinite", "distinct"]


def test_the_table_lines_up_and_shows_no_control_characters(everything):
    text = str(everything)
    assert "\x1b" not in text
    head, *rows = text.split("\n\n")[1].splitlines()
    end = head.index("count") + len("count")
    for row in rows:
        if "more" not in row:
            assert row[end - 1].isdigit()
            assert row[end : end + 1] in ("", " ")


def test_balance_shows_shares_and_those_that_come_most():
    label = np.repeat(np.arange(30), np.arange(1, 31))
    text = str(stats_of(y=label))
    lines = text.splitlines()
    assert "y: 30 classes" in lines
    at = lines.index("y: 30 classes")
    assert lines[at + 1].split()[:3] == ["29", "30", "6.5%"]
    assert lines[-1] == "  and 20 more, with 45.2% of the samples; fewest: 0 with 1"


def test_numbers_far_from_zero_are_shown_with_all_their_digits():
    text = str(hr.stats(hr.from_arrays(1.7e9 + np.arange(2000.0))))
    assert "1700001999" in text
    assert "1700000099" in text
    assert "577.4" in text


def test_columns_without_entries_are_left_out():
    head = str(hr.stats(hr.from_arrays(np.zeros((3, 4))))).splitlines()[2]
    assert "missing" not in head
    assert "distinct" not in head


def test_the_plot_is_a_picture_with_a_panel_for_each_field(everything, tmp_path):
    everything.plot(tmp_path / "all.png")
    hr.stats(hr.from_arrays(np.arange(5))).plot(str(tmp_path / "one.PNG"))
    sizes = []
    for name in ("all.png", "one.PNG"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            sizes.append(image.size)
            pixels = np.asarray(image.convert("RGB"))
            assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    assert sizes[0] > sizes[1]


def test_plots_do_not_touch_the_plots_of_the_user(everything, tmp_path):
    """No figure of pyplot's is made, and no backend chosen."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    before = mpl.get_backend()
    mine = plt.figure()
    everything.plot(tmp_path / "all.png")
    everything.plot()
    assert plt.get_fignums() == [mine.number]
    assert plt.gcf() is mine
    plt.close(mine)
    assert mpl.get_backend() == before


def test_the_plot_is_a_figure_that_notebooks_show(everything, tmp_path):
    """As the same picture; nothing is written without a path, and the user may change it."""
    from matplotlib.figure import Figure

    figure = everything.plot()
    assert isinstance(figure, Figure)
    assert len(figure.axes) == len(everything)
    assert list(tmp_path.glob("*.png")) == []
    shown = figure._repr_png_()
    assert shown.startswith(b"\x89PNG")
    written = everything.plot(tmp_path / "all.png")
    with Image.open(tmp_path / "all.png") as file, Image.open(io.BytesIO(shown)) as inline:
        assert file.size == inline.size
    assert len(written.axes) == len(figure.axes)


def test_plots_go_to_png_files_in_folders_that_are_there(everything, tmp_path):
    with pytest.raises(OptionError, match=r"ends in \.png"):
        everything.plot(tmp_path / "all.jpg")
    with pytest.raises(MissingFileError, match="no folder"):
        everything.plot(tmp_path / "no" / "all.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OptionError, match="folder"):
        everything.plot(tmp_path / "folder.png")


def test_a_folder_that_cannot_be_written_to_is_named(everything, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(NoPermissionError, match="cannot be written"):
        everything.plot(tmp_path / "all.png")


def test_without_matplotlib_the_error_says_what_to_install(everything, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"headrace\[plot\]"):
        everything.plot(tmp_path / "all.png")


def test_stats_are_a_mapping_of_fields(make_images):
    images = make_images(100)
    found = hr.stats(hr.from_hdf5(images.path, x="image", y="label"))
    assert dict(found) == {"image": found["image"], "label": found["label"]}
    assert repr(found) == "<Stats of 100 samples: image, label>"
    assert (found.rows, found.spec.y) == (100, "label")
    with pytest.raises(KeyError):
        found["none"]


def test_a_field_used_twice_is_looked_at_once(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.arange(10)
    found = hr.stats(hr.from_hdf5(tmp_path / "data.h5", x="x", y="x"))
    assert list(found) == ["x"]
    assert found.class_weight() == dict.fromkeys(range(10), 1.0)


def test_labels_without_end_have_no_weight():
    with pytest.raises(OptionError, match="'y' holds inf"):
        stats_of(y=np.array([0.0, 1.0, np.inf])).class_weight()


def test_values_further_apart_than_floats_reach_have_a_table():
    """Without a warning, like the document and the picture."""
    found = stats_of(y=np.array([1.7e308, -1.7e308] * 50))
    assert "-1.7e+308" in str(found)
    assert json.loads(found.to_json())["fields"][1]["max"] == 1.7e308


def test_a_field_that_is_not_there_is_named():
    found = stats_of(y=np.arange(3))
    with pytest.raises(FieldNotFoundError, match=r"no field 'z' .* x, y"):
        found["z"]
    assert found.get("z") is None


def test_a_plot_does_not_take_the_place_of_the_data(tmp_path):
    """An HDF5 file may have any name."""
    with h5py.File(tmp_path / "data.png", "w") as file:
        file["x"] = np.arange(10.0)
    stats = hr.stats(hr.from_hdf5(tmp_path / "data.png", x="x"))
    with pytest.raises(OptionError, match=r"data.png is a file that is read"):
        stats.plot(tmp_path / "data.png")
    assert hr.verify(tmp_path / "data.png").ok
