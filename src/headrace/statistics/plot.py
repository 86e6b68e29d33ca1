"""Draws statistics with matplotlib: one panel per field."""

import math
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import MissingDependencyError, OptionError, printable
from headrace.staging import Staging, check_target, write_errors
from headrace.statistics.json_document import histogram_of
from headrace.statistics.summary import FieldStats, Histogram

_ACROSS = 4
_WIDTH, _HEIGHT = 3.4, 2.5
_MOST_PANELS = 60
_MOST_CLASSES = 20
_LONGEST_LABEL, _LONGEST_NAME = 20, 32
_LEGEND = (
    "histograms: line at the mean, middle half shaded, red, green and blue of images as lines; "
    "classes: dashed where all would be equal"
)
_CLOSE = 1e-9
"""Relative difference below which values are drawn as one: an axis cannot show it."""

_FILL, _LINE, _INK, _FAINT = "#4c78a8", "#e45756", "#333333", "#8a8a8a"
_COLORS = ("#d62728", "#2ca02c", "#1f77b4")
"""Colours of the channels of images, which are usually red, green and blue."""


def check_path(path: str | PathLike[str], inputs: Iterable[str] = ()) -> Path:
    """Checks the path of a plot.

    Args:
        path: The file.
        inputs: Files that the data are in, which are never overwritten.

    Raises:
        OptionError: If the name is not that of a PNG file, or is that of an input.
        MissingFileError: If its folder is missing.
        NoPermissionError: If that cannot be written to.
    """
    target = Path(fspath(path))
    if target.suffix.lower() != ".png" or target.is_dir():
        raise OptionError(
            f"A plot is written to a file whose name ends in .png. Received: {target}"
        )
    check_target(target, overwrite=True, inputs=inputs)
    return target


def import_figure() -> Any:
    """The class of figures.

    Raises:
        MissingDependencyError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401, ICN001

        from headrace.statistics.figure import StatsFigure
    except ImportError as error:
        raise MissingDependencyError(
            "Plots are drawn by matplotlib, which is not installed. "
            'Run: pip install "headrace[plot]".'
        ) from error
    return StatsFigure


def draw(
    stats: Mapping[str, FieldStats], path: str | PathLike[str] | None, inputs: Iterable[str]
) -> Any:
    """Draws statistics, and saves them to a PNG file that is none of the inputs if asked to.

    Args:
        stats: The statistics of each field, at least one.
        path: The PNG file; None for none.
        inputs: Files that the data are in, which are never overwritten.

    Returns:
        The figure.
    """
    target = None if path is None else check_path(path, inputs)
    new_figure = import_figure()
    fields = list(stats.values())
    shown = fields[:_MOST_PANELS]
    across = min(_ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    figure = new_figure(
        (max(across, 2) * _WIDTH, down * _HEIGHT + 0.5), layout="constrained", dpi=120
    )
    more = (
        f" of {len(fields):,}, of which the first {len(shown)} are shown" if shown != fields else ""
    )
    title = f"{fields[0].rows:,} samples, {len(shown)} field{'s' * (len(shown) != 1)}{more}"
    figure.supxlabel(
        _LEGEND if across > 1 else _LEGEND.replace("; ", ";\n"), fontsize=7, color=_FAINT
    )
    figure.suptitle(title, fontsize=11, color=_INK)
    for axes, field in zip(figure.subplots(down, across, squeeze=False).flat, shown, strict=False):
        _panel(axes, field)
    for axes in figure.axes[len(shown) :]:
        axes.remove()
    if target is not None:
        with Staging(target, inputs=inputs) as staging:
            with write_errors(staging.target):
                figure.savefig(staging.path, dpi="figure", format="png")
            staging.publish()
    return figure


def _panel(axes: Any, field: FieldStats) -> None:
    """One field: its classes if it has few, else the histogram of its values."""
    _frame(axes, field)
    classes = field.classes
    if classes and (len(classes) <= _MOST_CLASSES or field.histogram is None):
        _classes(axes, classes)
    elif field.histogram is not None and len(field.histogram.counts):
        _histogram(axes, field, field.histogram)
    else:
        axes.set_axis_off()
        text = "no finite value" if field.histogram is not None else "no numbers"
        if field.more_than:
            text += f",\nmore than {field.more_than:,} values"
        axes.text(0.5, 0.5, text, ha="center", va="center", color=_FAINT, fontsize=9)


def _frame(axes: Any, field: FieldStats) -> None:
    name = _cut(printable(field.name), _LONGEST_NAME)
    axes.set_title(name, loc="left", fontsize=9, color=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)
    axes.tick_params(labelsize=7, colors=_INK, length=2)
    notes = [f"{count:,} {what}" for what, count in _left_out(field).items() if count]
    axes.set_title(", ".join(notes), loc="right", fontsize=7, color=_LINE)


def _cut(text: str, length: int) -> str:
    """The start of a text, in which no $ begins a formula."""
    short = text if len(text) <= length else text[: length - 2] + ".."
    return short.replace("$", r"\$")


def _left_out(field: FieldStats) -> dict[str, int]:
    return {"missing": field.missing, "infinite": field.infinite}


def _classes(axes: Any, classes: Mapping[Any, int]) -> None:
    """A bar for each class, or for the most frequent ones; the line is the mean count."""
    found = list(classes.items())
    if len(found) > _MOST_CLASSES:
        found = sorted(found, key=lambda item: -item[1])[:_MOST_CLASSES]
    labels = [_label(value) for value, _ in found]
    counts = [count for _, count in found]
    places = range(len(found))
    axes.bar(places, counts, width=0.8, color=_FILL)
    axes.axhline(sum(classes.values()) / len(classes), color=_LINE, linewidth=0.8, linestyle="--")
    # As many labels as can be read.
    step = math.ceil(sum(max(len(label), 2) for label in labels) / 36)
    turned = step > 1 and max(map(len, labels)) > 3
    step = math.ceil(len(labels) / 20) if turned else step
    axes.set_xticks(list(places)[::step], labels[::step], rotation=60 if turned else 0)
    if turned:
        for text in axes.get_xticklabels():
            text.set_ha("right")
            text.set_rotation_mode("anchor")
    _count_axis(axes)
    if len(classes) > len(found):
        axes.set_xlabel(
            f"the {len(found)} most frequent of {len(classes):,}", fontsize=7, color=_FAINT
        )


def _label(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return _cut(printable(text), _LONGEST_LABEL)


def _histogram(axes: Any, field: FieldStats, histogram: Histogram) -> None:
    """Bars over the values, with the mean and the quartiles."""
    found = histogram_of(histogram)
    assert found is not None
    edges, counts = np.array(found["edges"]), found["counts"]
    assert field.min is not None
    assert field.max is not None
    if field.max - field.min <= _CLOSE * max(abs(field.min), abs(field.max)):
        axes.bar([0], [sum(counts)], width=0.4, color=_FILL)
        axes.set_xlim(-1, 1)
        axes.set_xticks([0], [f"{field.min:g}"])
    else:
        axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=_FILL, linewidth=0)
        axes.set_xlim(edges[0], edges[-1])
        low, high = (field.quantiles[share] for share in (0.25, 0.75))
        axes.axvspan(low, high, color=_INK, alpha=0.08, linewidth=0)
        _channels(axes, field, edges)
        axes.axvline(field.mean, color=_INK, linewidth=0.9)
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.set_xlabel(f"mean {field.mean:.4g}, std {field.std:.4g}", fontsize=7, color=_FAINT)
    _count_axis(axes)


def _channels(axes: Any, field: FieldStats, edges: npt.NDArray[np.float64]) -> None:
    """A line for each of three channels of images, as high as the bars on average."""
    if len(field.shape) != 3 or len(field.channels) != len(_COLORS):
        return
    for color, channel in zip(_COLORS, field.channels, strict=True):
        if channel.histogram is not None:
            counts = len(_COLORS) * channel.histogram.in_bins(edges)
            axes.stairs(counts, edges, color=color, linewidth=0.9)


def _count_axis(axes: Any) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
