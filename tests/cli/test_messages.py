"""Messages of the library in the words of the command line."""

import pytest

from headrace.cli import make_parser
from headrace.cli.messages import as_typed
from headrace.cli.parser import commands_of


@pytest.mark.parametrize(
    "command, text, expected",
    [
        ("fit", "The least is memory=1674378.", "The least is --memory 1674378."),
        ("fit", "Say it with x=. It holds: a", "Say it with --x. It holds: a"),
        ("fit", "more memory=, or (batch_size=32)", "more --memory, or (--batch-size 32)"),
        ("fit", "shuffle='exact' is slow; shuffle=True", "--shuffle exact is slow; --shuffle yes"),
        ("fit", "say by= or shuffle=False", "say --split-by or --shuffle no"),
        ("fit", "sample_weight= needs y=: so", "--sample-weight needs --y: so"),
        ("fit", "Received: start=0, end=None", "Received: --start 0, no --end"),
        ("pack", "seed= is about shuffle=True.", "--seed is about --shuffle."),
        ("pack", "Say overwrite=True to replace it", "Say --overwrite to replace it"),
        ("pack", "shuffle=False", "no --shuffle"),
        ("pack", "dtype='S10', chunk=2.5MiB.", "--dtype S10, --chunk 2.5MiB."),
        ("pack", "Use map() for it; map() gave", "Use --map for it; --map gave"),
    ],
)
def test_arguments_become_options(command, text, expected):
    """As they are typed after this command."""
    assert as_typed(text, commands_of(make_parser())[command]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the file /data/memory=3/x.h5",
        "the file 'seed=1 and x=2.h5'",
        "run pack(data, 'a.h5', shuffle=True, seed=0)",
        "run hr.pack(data, shuffle=True)",
        "names= has no option here",
        "a --memory=3 and lr=0.1",
        "x == y, x<=3 and index=3",
    ],
)
def test_all_else_stays_as_it_is(text):
    """Paths, whole calls in Python, options, and arguments of something else."""
    assert as_typed(text, commands_of(make_parser())["fit"]) == text
