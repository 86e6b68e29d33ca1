"""The lines that a person sees: they fit, line up, and hold nothing but characters."""

import os
import subprocess

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cli import main
from tests.cli.conftest import command
from tests.files import write


@pytest.fixture
def crowded(path):
    """Long and wide names, many axes, deep groups, and advice."""
    with h5py.File(path, "w") as file:
        file["a/" * 12 + "deep"] = np.arange(5)
        file["name-" * 30] = np.zeros((2,) * 20)
        file["日本語の名前" * 5] = np.arange(5)
        file["label"] = np.repeat(np.arange(5), 500)
        file["label"].attrs["class_names"] = ["long name of a class"] * 20
        file["gone"] = h5py.SoftLink("/somewhere/" + "else/" * 40)
    return path


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal(headrace, crowded, monkeypatch, width):
    """All but names in the first line, and commands, which are to be copied."""
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = headrace("info", crowded)
    assert code == 0
    for line in out.splitlines()[1:]:
        if "hr.from_hdf5" not in line:
            assert columns(line) <= width, line


def columns(line):
    return sum(2 if "\u2e80" < c < "\ua000" else 1 for c in line)


def test_columns_line_up(headrace, file):
    lines = headrace("info", file)[1].splitlines()
    rows = [line for line in lines if "(400" in line and "stored" not in line]
    assert len(rows) == 6
    [head] = [line for line in lines if line.endswith("in file")]
    for line in rows:
        assert line.index("(400") == head.index("shape")
        assert len(line.rstrip()) in (len(head), head.index("type") + len("text"))


def test_ascii_terminals_get_ascii(file, path):
    """Lines are drawn with plain characters, and names written with escapes."""
    write(path, größe=np.arange(5), plain=np.arange(5))
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([command(), "info", path], capture_output=True, env=env, check=True)
    text = done.stdout.decode("ascii")
    assert "|- gr\\xf6\\xdfe  " in text
    assert "`- plain  " in text


def test_nothing_but_lines_goes_into_a_pipe(process, file):
    """No colours, no bars."""
    done = process("info", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_a_reader_that_leaves_is_no_error(file):
    """As `headrace info cats.h5 | head -1`."""
    process = subprocess.Popen(
        [command(), "info", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (141, b"")


NAMES = st.text(min_size=1, max_size=30).filter(
    lambda name: not set(name) & {"/", "\0"} and name != "."
)


@settings(max_examples=40)
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_no_name_reaches_the_terminal_raw(tmp_path, capsys, names):
    """Whatever characters it has; the line to go on names the dataset all the same."""
    path = tmp_path / "names.h5"
    with h5py.File(path, "w") as file:
        for name in names:
            file[name.encode("utf-8", "surrogatepass")] = np.arange(40)
            file[name.encode("utf-8", "surrogatepass")].attrs["note"] = names[0].encode(
                "utf-8", "surrogatepass"
            )
    capsys.readouterr()
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))


def test_much_of_the_same_advice_is_cut_short(headrace, path):
    """All of it is in the document."""
    with h5py.File(path, "w") as file:
        for i in range(40):
            file.create_dataset(f"{i:02}" + "long" * 1000, (5,), "u1")
    code, text, _ = headrace("info", path)
    assert code == 0
    assert "and 20 more (--json has them)" in text
    assert len(text) < 30_000


def test_help_says_what_the_words_mean(process):
    done = process("info", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("direct rows", "direct chunks", "exit codes", "examples"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
