"""What a shell completes after `penstock completion`, asked of the shell itself."""

import shlex
import subprocess

import pytest

from penstock.cli import make_parser
from penstock.cli.parser import commands_of, options_of


@pytest.fixture
def script(penstock):
    """The script of a shell."""

    def made(shell):
        code, out, err = penstock("completion", shell)
        assert (code, err) == (0, "")
        return out

    return made


@pytest.mark.parametrize(
    "line, expected",
    [
        ("penstock fi", ["fit"]),
        ("penstock ", ["info", "fit", "pack", "stats", "verify", "completion", "--help"]),
        ("penstock fit --ep", ["--epochs"]),
        ("penstock fit cats.h5 --x image --shuf", ["--shuffle"]),
        ("penstock fit --shuffle ", ["yes", "exact", "batch", "no"]),
        ("penstock fit --shuffle e", ["exact"]),
        ("penstock pack --shuffle --c", ["--compression", "--chunk"]),
        ("penstock completion z", ["zsh"]),
        ("penstock fit ca", []),
        ("penstock fit --out ", []),
        ("penstock unknown --x", []),
    ],
)
def test_bash_completes(script, line, expected):
    """Commands, options of the command, and values; files are left to bash. No program runs."""
    words = line.split(" ")
    asked = (
        f"{script('bash')}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        '_penstock; printf "%s\\n" "${COMPREPLY[@]}"'
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
    assert len(done.stdout.split()) == len(expected) or line == "penstock "


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
