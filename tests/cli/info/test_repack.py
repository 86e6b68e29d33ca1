"""Which command is named to write a file anew, and how names get into it."""

from pathlib import Path

import h5py
import pytest

from penstock.cli.info.storing import MANY_CHUNKS
from tests.cli.info.helpers import assert_same_data, needs_h5repack, repeated, run_in_shell
from tests.files import images

TRAPS = {
    "a plugin's filter": lambda file: file.create_dataset("a", data=range(50), compression="lzf"),
    "virtual data": lambda file: file.create_virtual_dataset("a", virtual_of_nothing()),
    "more than was looked at": lambda file: [file.create_group(f"other {i}") for i in range(300)],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_h5repack_is_not_named_where_it_would_lose_data(advice, path, trap):
    """It says nothing, and ends with exit code 0, when it leaves out what it cannot decode."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
        TRAPS[trap](file)
    assert "h5repack" not in advice(path)["small-chunks"]["command"]


def virtual_of_nothing():
    layout = h5py.VirtualLayout((20,), "u1")
    layout[:] = h5py.VirtualSource("cats.h5", "gone", (20,))
    return layout


def test_newer_formats_are_not_left_to_h5repack(advice, path):
    with h5py.File(path, "w", libver="latest") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
    one = advice(path)["small-chunks"]
    assert "h5repack" not in one["command"]
    assert advice(run_in_shell(one["command"])) == {}


HOSTILE = 'it\'s $(touch pwned) "x"; `touch pwned`'


@pytest.mark.parametrize("name", [f"{HOSTILE}, and more", "new\nline \x1b[31m", "größe"])
def test_names_that_no_tool_takes_go_through_h5py(advice, path, name):
    """Commas, line breaks, escape sequences, and what is not ASCII."""
    with h5py.File(path, "w") as file:
        repeated(file, name, (MANY_CHUNKS, 64), (1, 64), data=images(1, (64,)))
    command = advice(path)["small-chunks"]["command"]
    assert all(line.isprintable() for line in command.split("\n"))
    assert_mended(advice, path, command)


@needs_h5repack
def test_names_are_quoted_for_the_shell(advice, path):
    """Spaces, quotes, dollars and backticks, in the file's name and inside it."""
    with h5py.File(path, "w") as file:
        repeated(file, HOSTILE, (MANY_CHUNKS, 64), (1, 64), data=images(1, (64,)))
    path = path.rename(f"-{HOSTILE}.h5")
    command = advice(f"./{path}")["small-chunks"]["command"]
    assert command.startswith("h5repack ")
    assert_mended(advice, path, command)


def assert_mended(advice, path, command):
    made = run_in_shell(command)
    assert_same_data(path, made)
    assert advice(f"./{made}") == {}
    assert not Path("pwned").exists()


def test_a_file_that_is_there_is_not_overwritten(advice, path):
    with h5py.File(path, "w") as file:
        repeated(file, "image", (MANY_CHUNKS, 64), (1, 64))
    Path("cats-repacked.h5").write_text("mine")
    command = advice(path)["small-chunks"]["command"]
    assert "cats-repacked2.h5" in command
    assert "cats-repacked.h5" not in command


def test_one_command_mends_all_that_one_rewrite_can(advice, penstock, path):
    """It is printed once."""
    with h5py.File(path, "w") as file:
        repeated(file, "a", (MANY_CHUNKS, 64), (1, 64))
        repeated(file, "b", (MANY_CHUNKS, 32), (1, 32))
    text = penstock("info", path)[1]
    assert text.count("h5repack") == 1
    assert "(for 1 to 2 together)" in text
