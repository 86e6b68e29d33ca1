"""Statistics as lines for a person."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.errors import printable

_SHOWN = ("0.05", "0.5", "0.95")
_HEAD = (
    *("field", "type", "count", "missing", "infinite", "distinct", "mean", "std", "min"),
    *(f"{float(share):.0%}" for share in _SHOWN),
    "max",
)
_MOST_CHANNELS = 8
"""Channels that are shown below their field; of fewer than twice as many, all are."""

_MOST_PIXELS = 4
"""A last axis longer than this is no axis of channels, if it is not the only one."""

_MOST_CLASSES = 10
_BAR = 24
_LONGEST = 32
_DIGITS, _WIDEST = 4, 15
_SHORT = f".{_DIGITS}g"


def to_text(known: Mapping[str, Any], bar: str = "█") -> str:
    """A table of all fields, and the balance of the classes of each.

    Args:
        known: What `describe` gives.
        bar: What bars are made of.
    """
    fields = known["fields"]
    rows = known["rows"]
    lines = [f"{rows:,} sample{'s' * (rows != 1)}, {len(fields)} field{'s' * (len(fields) != 1)}"]
    lines += ["", *_table(fields)]
    for field in fields:
        if field["classes"] and (_is_label(field) or field["name"] in _names(known["y"])):
            lines += ["", *_balance(field, bar)]
    return "\n".join(printable(line).rstrip() for line in lines)


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


def _table(fields: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The table, without columns that would be empty."""
    rows = [list(_HEAD)]
    for field in fields:
        rows.append(_row(field["name"], f"{field['dtype']} {tuple(field['shape'])}", field))
        rows += _channels(field)
    used = [any(row[i] for row in rows[1:]) for i in range(len(_HEAD))]
    shown = [[cell for cell, use in zip(row, used, strict=True) if use] for row in rows]
    sizes = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    for row in shown:
        cells = [cell.ljust(size) for cell, size in zip(row[:2], sizes[:2], strict=True)]
        cells += [cell.rjust(size) for cell, size in zip(row[2:], sizes[2:], strict=True)]
        yield "  ".join(cells)


def _row(name: str, kind: str, one: Mapping[str, Any]) -> list[str]:
    distinct = one.get("distinct")
    some = f"{distinct:,}" if distinct is not None else ""
    if one.get("more_than"):
        some = f"> {one['more_than']:,}"
    numbers = [one["min"], *(one["quantiles"].get(share) for share in _SHOWN), one["max"]]
    counts = [f"{one[key]:,}" if one[key] else "" for key in ("missing", "infinite")]
    start = [_cut(printable(name)), kind, f"{one['count']:,}", *counts, some]
    form = _form(one["min"], one["max"])
    start += [_number(one["mean"], form), _number(one["std"], _SHORT)]
    return start + [_number(number, form) for number in numbers]


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


def _channels(field: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row for each channel, or for the first ones."""
    channels = field["channels"]
    if len(channels) < 2 or (len(field["shape"]) > 1 and len(channels) > _MOST_PIXELS):
        return
    if field["classes"]:
        return
    many = len(channels) >= 2 * _MOST_CHANNELS
    for place, channel in enumerate(channels[:_MOST_CHANNELS] if many else channels):
        yield _row(f"  [{place}]", "", channel)
    if many:
        yield [f"  and {len(channels) - _MOST_CHANNELS:,} more", *[""] * (len(_HEAD) - 1)]


def _balance(field: Mapping[str, Any], bar: str) -> Iterator[str]:
    """How often each class comes, those that come most first where there are many."""
    classes = field["classes"]
    number = len(classes)
    total = sum(one["count"] for one in classes)
    yield f"{_cut(printable(field['name']))}: {number:,} class{'es' * (number != 1)}"
    shown = classes
    if number > 2 * _MOST_CLASSES:
        shown = sorted(classes, key=lambda one: -one["count"])[:_MOST_CLASSES]
    labels = [_cut(printable(_label(one["value"]))) for one in shown]
    counts = [f"{one['count']:,}" for one in shown]
    most = max(one["count"] for one in shown)
    for label, count, one in zip(labels, counts, shown, strict=True):
        share = f"{one['count'] / max(total, 1):.1%}"
        length = round(_BAR * one["count"] / max(most, 1))
        yield (
            f"  {label:<{max(map(len, labels))}}  {count:>{max(map(len, counts))}}  {share:>6}  "
            f"{bar * length}"
        )
    if number > len(shown):
        rest = total - sum(one["count"] for one in shown)
        least = min(classes, key=lambda one: one["count"])
        yield (
            f"  and {number - len(shown):,} more, with {rest / max(total, 1):.1%} of the samples; "
            f"fewest: {_cut(printable(_label(least['value'])))} with {least['count']:,}"
        )


def _label(value: Any) -> str:
    return "not finite" if value is None else str(value)


def _number(value: float | None, form: str) -> str:
    """A number in few characters: whole ones up to ten million as they are."""
    if value is None:
        return ""
    if isinstance(value, int) and abs(value) < 10**7:
        return str(value)
    return f"{value:{form}}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
