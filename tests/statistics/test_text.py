"""Statistics as tables in the width of a terminal."""

import numpy as np
import pytest

import headrace as hr
from headrace.statistics.text import to_text

LONG = "recordings/of/the/second/session/with_left_and_right_channel"


@pytest.fixture
def wide():
    """Fields with long names and long numbers, and one that lacks some values."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=(500, 4)).astype("float32")
    score[3, 1], score[5, 2] = np.nan, np.inf
    x = {
        LONG: rng.normal(size=500) * 1e5,
        "time": 1.7e9 + np.arange(500) / 1e6,
        "score": score,
        "n" * 300: rng.integers(0, 10**17, 500),
        "名前" * 20: np.arange(500),
        "text": np.array([b"ant", b"bee" * 40] * 250),
    }
    y = [rng.integers(0, 30, 500), np.array(["名前" * 30, "b"] * 250)]
    return hr.stats(hr.from_arrays(x, y)).to_dict()


def cells_in(line):
    """Columns that a line takes in a terminal."""
    from rich.cells import cell_len

    return cell_len(line)


@pytest.mark.parametrize("width", [40, 80, 81, 100, 200])
def test_no_line_is_wider_than_the_terminal(wide, width):
    """Tables that are wider are cut into several, each with the names."""
    lines = to_text(wide, width=width).splitlines()
    assert max(map(cells_in, lines)) <= width
    heads = [line.split() for line in lines if line.startswith("field ")]
    found = [word for head in heads for word in head[1:]]
    assert found[:5] == ["type", "count", "missing", "infinite", "distinct"]
    assert found[5:] == ["mean", "std", "min", "5%", "50%", "95%", "max"]


def test_text_is_as_wide_as_a_usual_terminal(wide):
    """`str` as well."""
    assert max(map(cells_in, to_text(wide).splitlines())) <= 80


def test_a_long_name_continues_in_the_next_line(wide):
    """Behind a slash or an underscore; nothing of it is left out."""
    text = to_text(wide, width=80)
    lines = [line.split(" ")[0] for line in text[text.index(LONG[:12]) :].splitlines()]
    assert all(line[-1] in "/_" for line in lines[:2])
    assert "".join(lines[:3]) == LONG


def test_channels_are_counted_where_some_values_lack(wide):
    """Others have as many values each."""
    contents, values = to_text(wide, width=200).split("\n\n")[1:3]
    assert contents.count("\n  [") == values.count("\n  [") == 4
    [row] = [line for line in contents.splitlines() if line.startswith("  [1]")]
    assert row.split() == ["[1]", "499", "1"]


def test_names_are_shown_as_they_are():
    """Nothing in them is taken for a style or an emoji, and no control character is shown."""
    fields = {"[bold]a[/bold]": np.arange(3), ":smile:": np.arange(3), "a\x1b[31m": np.arange(3)}
    text = to_text(hr.stats(hr.from_arrays(fields)).to_dict())
    for name in ("[bold]a[/bold]", ":smile:", "a\\x1b[31m"):
        assert text.count(f"\nx.{name} ") == 2
    assert "\x1b" not in text


def test_heads_are_bold_in_a_terminal_alone(wide, monkeypatch):
    """Not in a file or a pipe."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1m" in to_text(wide, terminal=True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in to_text(wide)
