"""What a command writes is none of the files that it reads."""

import pytest


@pytest.fixture
def as_output(file, tmp_path):
    """Makes a name for a file that is read, which ends as that of an output has to."""

    def link(name, of=file):
        (tmp_path / name).symlink_to(of)
        return tmp_path / name

    return link


def test_a_plot_is_not_drawn_over_the_data(headrace, file, as_output):
    """A picture is drawn to where a link leads."""
    before = file.read_bytes()
    plot = as_output("plot.png")
    code, _, error = headrace("stats", file, "--x", "image", "--plot", plot)
    assert code == 2
    assert "is a file that is read" in error
    assert file.read_bytes() == before


@pytest.mark.parametrize("out", ["--model", "file", "--validation"])
def test_a_model_is_not_saved_over_what_is_read(headrace, file, as_output, tmp_path, out):
    """Samples to train and to validate on, and the program that makes the model."""
    program = tmp_path / "own.py"
    program.write_text("def build():\n    raise AssertionError\n")
    other = tmp_path / "other.h5"
    other.write_bytes(file.read_bytes())
    read = {"--model": program, "file": file, "--validation": other}[out]
    before = read.read_bytes()
    words = ("--x", "image", "--y", "label", "--model", f"{program}:build", "--validation", other)
    code, _, error = headrace("fit", file, *words, "--out", as_output("out.keras", read))
    assert code == 2
    assert f"{read} is a file that is read" in error
    assert read.read_bytes() == before


@pytest.mark.parametrize("name", ["corners.h5", "own.py"])
def test_nothing_is_packed_over_what_is_read(headrace, file, tmp_path, name):
    """Neither the samples, nor the program of a map function."""
    program = tmp_path / "own.py"
    program.write_text("def fn(x):\n    return x\n")
    before = (tmp_path / name).read_bytes()
    words = ("--x", "image", "--map", f"{program}:fn", "--overwrite")
    code, _, error = headrace("pack", file, tmp_path / name, *words)
    assert code == 2
    assert f"{tmp_path / name} is a file that is read" in error
    assert (tmp_path / name).read_bytes() == before
