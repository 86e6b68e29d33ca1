"""What a shell completes after `headrace completion`, asked of the shell itself."""

import shlex
import subprocess

import pytest

from headrace.cli import make_parser
from headrace.cli.parser import commands_of, options_of


@pytest.fixture
def script(headrace):
    """The script of a shell."""

    def made(shell):
        code, out, err = headrace("completion", shell)
        assert (code, err) == (0, "")
        return out

    return made


@pytest.mark.parametrize(
    "line, expected",
    [
        ("headrace fi", ["fit"]),
        ("headrace ", ["info", "fit", "pack", "stats", "verify", "completion", "--help"]),
        ("headrace fit --ep", ["--epochs"]),
        ("headrace fit cats.h5 --x image --shuf", ["--shuffle"]),
        ("headrace fit --shuffle ", ["yes", "exact", "batch", "no"]),
        ("headrace fit --shuffle e", ["exact"]),
        ("headrace pack --shuffle --c", ["--compression", "--chunk"]),
        ("headrace completion z", ["zsh"]),
        ("headrace fit ca", []),
        ("headrace fit --out ", []),
        ("headrace unknown --x", []),
    ],
)
def test_bash_completes(script, line, expected):
    """Commands, options of the command, and values; files are left to bash. No program runs."""
    words = line.split(" ")
    asked = (
        f"{script('bash')}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        '_headrace; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["/bin/bash", "--norc", "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/nowhere"},
    )
    assert done.stderr == ""
    assert set(expected) <= set(done.stdout.split())
    assert len(done.stdout.split()) == len(expected) or line == "headrace "


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells_hold_every_command_and_option(script, shell):
    """With a help in few words, in which quotes end no string."""
    text = script(shell)
    for command, parser in commands_of(make_parser()).items():
        assert command in text
        for option in options_of(parser):
            assert (option if shell == "zsh" else f"-l {option[2:]} ") in text or option == "-h"
    words = [shlex.split(line.rstrip("\\")) for line in text.splitlines()]
    assert all(words)
