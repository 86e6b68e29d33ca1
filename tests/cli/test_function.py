"""Functions that the command line loads from a file."""

import os

from headrace.cli.function import load_function


def test_a_file_that_was_changed_at_once_is_read_anew(tmp_path, monkeypatch):
    """Also with the size and the time of the last change that it had; nothing is kept beside it."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    file = tmp_path / "own.py"
    for factor in (2, 3):
        file.write_text(f"def fn(x): return x * {factor}")
        os.utime(file, (0, 0))
        assert load_function(f"{file}:fn")(1) == factor
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]
