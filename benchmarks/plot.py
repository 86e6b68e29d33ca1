"""The plot of the read benchmark: bars of speed, coloured by shuffle quality."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.data import LAYOUTS
from benchmarks.quality import verdict
from benchmarks.summary import Line, read_lines

# Colours that colour-blind people can distinguish (Okabe and Ito).
COLOURS = {
    "exact": ("#0072b2", "as an exact shuffle (design effect up to 1.1)"),
    "close": ("#56b4e9", "close (up to 2)"),
    "weak": ("#e69f00", "weak (up to 20)"),
    "none": ("#999999", "hardly any (above 20)"),
}


def draw(record: dict[str, Any], path: Path) -> None:
    """Draws a panel for each layout and state of the page cache, in the format of the suffix."""
    panels = {
        (layout, cache): lines
        for cache in ("warm", "cold")
        for layout in LAYOUTS
        if (lines := read_lines(record["read"], layout, cache))
    }
    caches = list(dict.fromkeys(cache for _, cache in panels))
    # A fixed salt makes the SVG the same in every run; "none" stores text as text, not as paths.
    mpl.rcParams.update({"svg.hashsalt": "headrace", "svg.fonttype": "none"})
    figure = Figure(figsize=(16, 1.2 + 4.2 * len(caches)), layout="constrained")
    grid = figure.subplots(len(caches), len(LAYOUTS), squeeze=False, sharex=True)
    for number, cache in enumerate(caches):
        for axes, layout in zip(grid[number], LAYOUTS, strict=True):
            axes.set_title(f"{layout}, {cache} page cache")
            _draw_bars(axes, panels.get((layout, cache), []))
    handles = [Patch(color=colour, label=text) for colour, text in COLOURS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_bars(axes: Axes, lines: list[Line]) -> None:
    lines = sorted(lines, key=lambda line: line.speed)
    names = [line.contestant for line in lines]
    speeds = [line.speed for line in lines]
    spread = [
        [line.speed - line.low for line in lines],
        [line.high - line.speed for line in lines],
    ]
    colours = [COLOURS[verdict(line.quality) if line.quality else "none"][0] for line in lines]
    axes.barh(names, speeds, color=colours, xerr=spread, capsize=2, log=True)
    for place, line in enumerate(lines):
        axes.annotate(
            f"{line.speed:,.0f}",
            (line.high, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        axes.get_yticklabels()[place].set_fontweight(
            "bold" if line.contestant.startswith("Headrace") else "normal"
        )
    axes.set_xlabel("samples a second (logarithmic)")
    axes.margins(x=0.15)
    axes.set_xlim(left=100)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
