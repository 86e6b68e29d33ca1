"""Which files paths, lists and patterns name, and in which order."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import MissingFileError, OptionError
from headrace.sources.paths import find_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_a_path_is_itself(folder):
    """Whether there is something or not: who opens it says so better."""
    assert find_files("gone.h5") == ["gone.h5"]
    assert find_files(Path("gone.h5")) == [Path("gone.h5")]
    assert find_files("https://example.org/*.h5") == ["https://example.org/*.h5"]


def test_a_list_keeps_order_and_repetitions(folder):
    assert find_files(["b.h5", "a.h5", "b.h5"]) == ["b.h5", "a.h5", "b.h5"]
    assert find_files((Path("b.h5"), "a.h5")) == [Path("b.h5"), "a.h5"]


def test_a_pattern_gives_files_in_natural_order(folder):
    names = ["shard1.h5", "shard2.h5", "shard02.h5", "shard10.h5", "shard10a.h5", "shard100.h5"]
    touch(*random.Random(0).sample(names, len(names)))
    ordered = ["shard1.h5", "shard02.h5", *names[1:2], *names[3:]]
    assert find_files("shard*.h5") == ordered
    assert find_files("shard?.h5") == ["shard1.h5", "shard2.h5"]
    assert find_files("shard[12].h5") == ["shard1.h5", "shard2.h5"]
    assert find_files(os.fsencode("shard?.h5")) == ["shard1.h5", "shard2.h5"]
    assert find_files(Path("shard?.h5")) == ["shard1.h5", "shard2.h5"]


def test_order_goes_folder_by_folder(folder):
    touch("day10/1.h5", "day9/2.h5", "day9/10.h5", "day9.h5", "Day1/1.h5")
    assert find_files("*/*.h5") == ["Day1/1.h5", "day9/2.h5", "day9/10.h5", "day10/1.h5"]


def test_two_stars_reach_all_folders(folder):
    touch("a.h5", "b/c/d.h5", "b/e.h5", "b/.hidden.h5", "b/notes.txt")
    assert find_files("**/*.h5") == ["a.h5", "b/c/d.h5", "b/e.h5"]


def test_folders_are_not_files(folder):
    touch("a.h5/inside", "b.h5")
    assert find_files("*.h5") == ["b.h5"]


def test_patterns_that_overlap_give_each_file_once(folder):
    touch("a1.h5", "a2.h5", "b1.h5")
    Path("a3.h5").symlink_to("a1.h5")
    assert find_files(["a*.h5", "*1.h5"]) == ["a1.h5", "a2.h5", "b1.h5"]


def test_a_file_beside_a_pattern_is_given_again(folder):
    """Whoever writes a name out wants its rows that often."""
    touch("a.h5", "b.h5")
    assert find_files(["*.h5", "a.h5"]) == ["a.h5", "b.h5", "a.h5"]
    assert find_files(["a.h5", "*.h5"]) == ["a.h5", "a.h5", "b.h5"]


@pytest.mark.parametrize("name", ["what?.h5", "a*.h5", "run[1].h5", "**"])
def test_a_file_with_such_a_name_is_no_pattern(folder, name):
    touch(name, "whata.h5", "ab.h5", "run1.h5")
    assert find_files(name) == [name]


def test_no_match_says_what_is_there(folder):
    touch("shards/a.h5", "shards/b.h5", "shards/c2.h5", *(f"shards/c1{n}.h5" for n in range(3)))
    with pytest.raises(MissingFileError) as caught:
        find_files("shards/*.hdf5")
    assert str(caught.value) == (
        "No file matches 'shards/*.hdf5'. The folder 'shards' holds: a.h5, b.h5, c2.h5, c10.h5, "
        "c11.h5, and 1 more."
    )
    with pytest.raises(MissingFileError, match="There is no folder 'shard'"):
        find_files("shard/*.h5")
    Path("empty").mkdir()
    with pytest.raises(MissingFileError, match="'empty' holds: nothing"):
        find_files("empty/*")


def test_an_empty_list_is_refused():
    with pytest.raises(OptionError, match="at least one path"):
        find_files([])


@given(st.sets(st.text("aA1230-_.é²", min_size=1, max_size=6), min_size=1, max_size=8))
def test_order_does_not_depend_on_the_folder(tmp_path_factory, names):
    """The same names in another place, written in another order, come in the same order."""
    found = []
    for reverse in (False, True):
        folder = tmp_path_factory.mktemp("names")
        for name in sorted(names, reverse=reverse):
            (folder / f"{name}x").touch()
        visible = any(not name.startswith(".") for name in names)
        found.append(find_files(str(folder / "*"))) if visible else None
    if found:
        assert [Path(p).name for p in found[0]] == [Path(p).name for p in found[1]]
        assert len(found[0]) == sum(not name.startswith(".") for name in names)
