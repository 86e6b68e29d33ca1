"""`headrace stats` from files to a table, a document and a picture."""

import json
import os

import h5py
import numpy as np
import pytest
from PIL import Image

import headrace as hr


@pytest.fixture
def numbers(file):
    """The file without the text that cannot be read."""
    with h5py.File(file, "a") as f:
        del f["text"]
        f["name"] = np.array([b"ant", b"bee"])[f["label"][:] % 2]
        score = np.linspace(0, 1, 400)
        score[7] = np.nan
        f["score"] = score
    return file


def test_all_fields_are_shown_by_default(headrace, numbers):
    code, out, err = headrace("stats", numbers)
    assert (code, err) == (0, "")
    assert out.startswith("400 samples, 7 fields\n\nfield ")
    with h5py.File(numbers) as f:
        for name in f:
            assert f"\n{name} " in out
    assert "\nlabel: 4 classes\n" in out
    assert "\nname: 2 classes\n" in out
    assert "█" in out


@pytest.mark.parametrize("command", ["stats", "pack"])
def test_what_cannot_be_a_field_is_named_with_the_way_out(headrace, tmp_path, command):
    """A version number beside the samples."""
    with h5py.File(tmp_path / "in.h5", "w") as f:
        f["image"] = f["label"] = np.arange(5)
        f["version"] = 3
    words = (command, tmp_path / "in.h5", *[tmp_path / "out.h5"] * (command == "pack"))
    code, out, err = headrace(*words)
    assert (code, out) == (2, "")
    assert "'version'" in err
    assert "Name the datasets to use, with --x" in err
    assert headrace(*words, "--x", "image", "--y", "label")[0] == 0


def test_fields_rows_and_limits_are_chosen(headrace, numbers):
    arguments = ("--x", "image,score", "--y", "label", "--start", "5", "--end", "105", "--json")
    code, out, _ = headrace("stats", numbers, *arguments, "--distinct", "50", "--workers", "2")
    assert code == 0
    known = json.loads(out)
    assert (known["rows"], known["x"], known["y"]) == (100, ["image", "score"], "label")
    image, score, label = known["fields"]
    with h5py.File(numbers) as f:
        assert image["mean"] == pytest.approx(f["image"][5:105].mean())
        assert score["max"] == f["score"][104]
        counts = np.bincount(f["label"][5:105]).tolist()
    assert (score["missing"], score["more_than"], score["distinct"]) == (1, 50, None)
    assert label["classes"] == [{"value": i, "count": n} for i, n in enumerate(counts)]


def test_the_document_is_that_of_python(headrace, numbers):
    _, out, _ = headrace("stats", numbers, "--x", "vector", "--json", "--memory", "4MB")
    assert out == hr.stats(hr.from_hdf5(numbers, x="vector")).to_json() + "\n"


def test_several_files_are_one_data_set(headrace, numbers, tmp_path):
    other = tmp_path / "more.h5"
    other.write_bytes(numbers.read_bytes())
    _, out, _ = headrace("stats", numbers, other, "--x", "label", "--json")
    assert json.loads(out)["rows"] == 800


def test_the_plot_is_written_beside_the_table(headrace, numbers, tmp_path):
    target = tmp_path / "all.png"
    code, out, _ = headrace("stats", numbers, "--plot", target)
    assert code == 0
    assert out.startswith("400 samples")
    with Image.open(target) as image:
        assert image.format == "PNG"


def test_quiet_prints_nothing(headrace, numbers, tmp_path):
    target = tmp_path / "all.png"
    assert headrace("stats", numbers, "--plot", target, "--quiet") == (0, "", "")
    assert target.exists()


def test_a_pipe_that_shows_no_bars_gets_others(process, numbers):
    done = process("stats", numbers, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "##########" in done.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["no.h5"], "no.h5"),
        (["{file}", "--x", "imag"], "Did you mean 'image'"),
        (["{file}", "--distinct", "0"], "1 or more"),
        (["{file}", "--memory", "much"], "'much'"),
        (["{file}", "--plot", "all.pdf"], ".png"),
        (["{file}", "--plot", "no/all.png"], "no folder no"),
        (["{file}", "--end", "9999"], "9999"),
        ([], "required: INPUT"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(headrace, numbers, arguments, words):
    code, out, err = headrace("stats", *[text.format(file=numbers) for text in arguments])
    assert (code, out) == (2, "")
    assert err.startswith("headrace: error: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_plot_that_cannot_be_written_is_found_before_anything_is_read(headrace):
    """The error is about the plot, although there is no such file."""
    _, _, err = headrace("stats", "no.h5", "--plot", "all.jpg")
    assert "all.jpg" in err


def test_the_keys_of_the_document_are_in_the_help(process, headrace, numbers):
    """`--help` names every key."""
    text = process("stats", "--help").stdout
    _, out, _ = headrace("stats", numbers, "--json")
    known = json.loads(out)
    for key in (*known, *known["fields"][0]):
        assert key in text


def test_keras_is_not_needed(process, numbers, tmp_path):
    """Neither it nor a backend is imported."""
    (tmp_path / "keras.py").write_text("raise SystemExit('Keras was imported')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = process("stats", numbers, "--x", "image", env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, "")
