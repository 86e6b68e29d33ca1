"""The package: its extras, and its name."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMER = "pen" + "stock"


def tracked_files():
    """The files of the project; all that are there where git is not."""
    try:
        listed = ["git", "ls-files", "-z"]
        done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
        names = done.stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        folders = ("src", "tests", "docs", "tools", "examples", "benchmarks")
        names = [str(path) for folder in folders for path in (ROOT / folder).rglob("*.*")]
    return [path for name in names if name and (path := ROOT / name).is_file()]


def texts():
    for path in tracked_files():
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


def test_extras_that_are_named_exist():
    """In messages and in the documents: `headrace[plot]`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        (extra, path.name)
        for path, text in texts()
        for group in re.findall(r"headrace\[([a-z,]+)\]", text)
        for extra in group.split(",")
    }
    assert len(named) > 3
    there = project["optional-dependencies"]
    assert {(extra, file) for extra, file in named if extra not in there} == set()


def test_the_former_name_is_in_one_line_of_the_changelog():
    """It belongs to another project: nothing sends users there."""
    found = [
        (path.relative_to(ROOT).as_posix(), line)
        for path, text in texts()
        for line in text.splitlines()
        if FORMER in line.lower()
    ]
    assert [path for path, _ in found] == ["CHANGELOG.md"]


def test_no_file_has_the_former_name():
    assert [path for path in tracked_files() if FORMER in path.name.lower()] == []
