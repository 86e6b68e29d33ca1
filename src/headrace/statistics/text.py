"""Statistics as tables for a person, in the width of a terminal."""

import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.errors import printable
from headrace.html import html_table

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 80
"""Columns of a terminal, where it does not say how many it has."""

_SHOWN = ("0.05", "0.5", "0.95")
_MOST_CHANNELS = 8
"""Channels that are shown below their field; of fewer than twice as many, all are."""

_MOST_PIXELS = 4
"""A last axis longer than this is no axis of channels, if it is not the only one."""

_MOST_CLASSES = 10
_BAR = 24
_NAME, _NARROW = 28, 16
"""Columns of a name before it continues in the next line: usually, and where more would not fit."""

_LONGEST = 3 * _NAME
_GAP = 2
_DIGITS, _WIDEST = 4, 15
_SHORT = f".{_DIGITS}g"


class _TableColumn(NamedTuple):
    """A column of a table.

    Attributes:
        head: What stands above it.
        cells: One for each row.
        right: Whether cells end at the same place, as numbers do.
    """

    head: str
    cells: Sequence[str]
    right: bool = True

    @property
    def width(self) -> int:
        """Of the longest cell; text continues in the next line."""
        longest = max(map(len, (self.head, *self.cells)))
        return longest if self.right else min(longest, _NAME)


def to_text(
    known: Mapping[str, Any], bar: str = "█", width: int = WIDTH, terminal: bool = False
) -> str:
    """Tables of what fields hold and of their values, and the balance of classes.

    Args:
        known: What `describe` gives.
        bar: What bars are made of.
        width: Columns that a line may have.
        terminal: Whether heads may be bold.
    """
    fields = known["fields"]
    rows = known["rows"]
    parts = [f"{rows:,} sample{'s' * (rows != 1)}, {len(fields)} field{'s' * (len(fields) != 1)}"]
    tables = [*_tables(_contents(fields), width), *_tables(_values(fields), width)]
    parts += [_drawn(table, width, terminal) for table in tables]
    for field in fields:
        if field["classes"] and (_is_label(field) or field["name"] in _names(known["y"])):
            parts.append(_balance(field, bar, width))
    return "\n\n".join(parts)


def to_html(known: Mapping[str, Any]) -> str:
    """The same tables for a notebook, as wide as they are."""
    caption = f"Statistics of {known['rows']:,} samples"
    made = []
    for columns in (_contents(known["fields"]), _values(known["fields"])):
        if len(columns) > 1:
            numbers = sum(not column.right for column in columns)
            rows = zip(*[column.cells for column in columns], strict=True)
            made.append(html_table(caption, rows, [column.head for column in columns], numbers))
            caption = ""
    return "\n".join(made)


def _contents(fields: Sequence[Mapping[str, Any]]) -> list[_TableColumn]:
    """What there is: a row for each field, and for channels that lack something."""
    rows = []
    for field in fields:
        kind = f"{field['dtype']} {tuple(field['shape'])}"
        rows.append([_name(field), kind, *_counts(field), _distinct(field)])
        lacking = [one for one in _shown_channels(field) if one["missing"] or one["infinite"]]
        for place, channel in enumerate(_shown_channels(field)) if lacking else ():
            rows.append([f"  [{place}]", "", *_counts(channel), ""])
    heads = ("field", "type", "count", "missing", "infinite", "distinct")
    return _columns(heads, rows, left=2)


def _values(fields: Sequence[Mapping[str, Any]]) -> list[_TableColumn]:
    """What the values are: a row for each field of numbers, and for each of its channels."""
    rows = []
    for field in fields:
        if field["mean"] is None and field["histogram"] is None:
            continue
        rows.append([_name(field), *_numbers(field)])
        channels = _shown_channels(field)
        rows += [[f"  [{i}]", *_numbers(channel)] for i, channel in enumerate(channels)]
        if channels and (more := len(field["channels"]) - len(channels)):
            rows.append([f"  and {more:,} more", *[""] * (4 + len(_SHOWN))])
    shares = (f"{float(share):.0%}" for share in _SHOWN)
    return _columns(("field", "mean", "std", "min", *shares, "max"), rows, left=1)


def _columns(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[_TableColumn]:
    """Columns of rows, without those that would be empty; the first `left` are no numbers."""
    cells = [list(column) for column in zip(*rows, strict=True)]
    made = [
        _TableColumn(h, c, i >= left) for i, (h, c) in enumerate(zip(heads, cells, strict=False))
    ]
    return [column for column in made if any(column.cells)]


def _tables(columns: list[_TableColumn], width: int) -> "Iterator[Table]":
    """Tables below each other, with as many columns as fit; each begins with the first one."""
    if len(columns) < 2:
        return
    first, left = columns[0], columns[1:]
    others = sum(_GAP + column.width for column in left)
    room = min(first.width, width - _GAP - max(column.width for column in left))
    if others + min(room, _NARROW) <= width:
        room = min(room, width - others)
    while left:
        count, used = 1, room + _GAP + left[0].width
        while count < len(left) and used + _GAP + left[count].width <= width:
            used += _GAP + left[count].width
            count += 1
        yield _table(first, room, left[:count])
        left = left[count:]


def _table(first: _TableColumn, room: int, others: Sequence[_TableColumn]) -> "Table":
    """A table of names in `room` columns, and what is known of them."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    table.add_column(first.head, width=room, overflow="fold")
    for column in others:
        justify: Any = "right" if column.right else "left"
        table.add_column(column.head, justify=justify, width=column.width, overflow="fold")
    rows = zip(*[column.cells for column in others], strict=True)
    for name, cells in zip(first.cells, rows, strict=True):
        if any(cells) or name.startswith("  and"):
            # No markup: names come from files.
            table.add_row(Text(_folded(name, room)), *map(Text, cells))
    return table


def _folded(name: str, room: int) -> str:
    """A name in lines of at most `room` characters, which end behind / and _ where they can."""
    lines = []
    while len(name) > room:
        cut = max(name.rfind(char, room // 2, room) for char in "/_. ") + 1 or room
        lines.append(name[:cut])
        name = name[cut:]
    return "\n".join([*lines, name])


def _drawn(table: "Table", width: int, terminal: bool) -> str:
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=width, force_terminal=terminal, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _names(structure: Any) -> list[str]:
    if isinstance(structure, Mapping):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [name for part in structure for name in _names(part)]
    return [] if structure is None else [structure]


def _is_label(field: Mapping[str, Any]) -> bool:
    """Whether values look like classes: few, and no measurements."""
    distinct: int = field["distinct"]
    return 2 <= distinct <= 2 * _MOST_CLASSES and field["dtype"][:5] != "float"


def _name(field: Mapping[str, Any]) -> str:
    return _cut(printable(field["name"]), _LONGEST)


def _counts(one: Mapping[str, Any]) -> list[str]:
    """How many values are there, are missing, and are infinite."""
    return [f"{one['count']:,}", *[f"{one[key]:,}" * (one[key] > 0) for key in _LACKING]]


_LACKING = ("missing", "infinite")


def _distinct(field: Mapping[str, Any]) -> str:
    if field["more_than"]:
        return f"> {field['more_than']:,}"
    return "" if field["distinct"] is None else f"{field['distinct']:,}"


def _numbers(one: Mapping[str, Any]) -> list[str]:
    """Mean, standard deviation, least value, quantiles and largest value."""
    form = _form(one["min"], one["max"])
    ordered = [one["min"], *(one["quantiles"].get(share) for share in _SHOWN), one["max"]]
    return [
        _number(one["mean"], form),
        _number(one["std"], _SHORT),
        *[_number(number, form) for number in ordered],
    ]


def _form(low: float | None, high: float | None) -> str:
    """A format that shows how values differ, which may be large beside their spread."""
    if low is None or high is None or low == high:
        return _SHORT
    size = max(abs(low), abs(high))
    if math.isinf(high - low):
        return _SHORT
    more = int(math.log10(size / (high - low)))
    before = math.floor(math.log10(size)) + 1
    if more < 2 or not 0 < before <= _WIDEST:
        return _SHORT
    return f".{max(0, min(_DIGITS + more, _WIDEST) - before)}f"


def _shown_channels(field: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The channels that have a row: all, the first ones, or none."""
    channels: Sequence[Mapping[str, Any]] = field["channels"]
    if len(channels) < 2 or (len(field["shape"]) > 1 and len(channels) > _MOST_PIXELS):
        return ()
    if field["classes"]:
        return ()
    return channels if len(channels) < 2 * _MOST_CHANNELS else channels[:_MOST_CHANNELS]


def _balance(field: Mapping[str, Any], bar: str, width: int) -> str:
    """How often each class comes, those that come most first where there are many."""
    from rich.table import Table
    from rich.text import Text

    classes = field["classes"]
    number = len(classes)
    total = sum(one["count"] for one in classes)
    title = f": {number:,} class{'es' * (number != 1)}"
    lines = [_cut(printable(field["name"]), width - len(title)) + title]
    shown = classes
    if number > 2 * _MOST_CLASSES:
        shown = sorted(classes, key=lambda one: -one["count"])[:_MOST_CLASSES]
    longest = min(_NAME, width // 3)
    labels = [_cut(printable(_label(one["value"])), longest) for one in shown]
    most = max(one["count"] for one in shown)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
    table.add_column(overflow="fold", max_width=longest + _GAP)
    for justify in ("right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    room = min(_BAR, max(0, width - longest - _GAP - len(f"{most:,}") - 3 * _GAP - len("100.0%")))
    for label, one in zip(labels, shown, strict=True):
        share = f"{one['count'] / max(total, 1):.1%}"
        blocks = bar * round(room * one["count"] / max(most, 1))
        table.add_row(Text(f"  {label}"), f"{one['count']:,}", share, blocks)
    lines.append(_drawn(table, width, False))
    if number > len(shown):
        rest = total - sum(one["count"] for one in shown)
        least = min(classes, key=lambda one: one["count"])
        text = (
            f"  and {number - len(shown):,} more, with {rest / max(total, 1):.1%} of the samples; "
            f"fewest: {_cut(printable(_label(least['value'])), longest)} with {least['count']:,}"
        )
        lines += textwrap.wrap(text, width, subsequent_indent="  ")
    return "\n".join(lines)


def _label(value: Any) -> str:
    return "not finite" if value is None else str(value)


def _number(value: float | None, form: str) -> str:
    """A number in few characters: whole ones up to ten million as they are."""
    if value is None:
        return ""
    if isinstance(value, int) and abs(value) < 10**7:
        return str(value)
    return f"{value:{form}}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
