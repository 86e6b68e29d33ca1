"""Tables in Markdown, and cells with medians and ranges over rounds."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A padded Markdown table; the first column is left-aligned text, the others are figures."""
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]
    for number, row in enumerate([head, *rows]):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            yield f"| {' | '.join(rules)} |"


def section(
    title: str, text: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> Iterator[str]:
    yield from ("", f"## {title}", "", text, "")
    yield from table(head, rows)


def ways(runs: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of a table of cases and ways; ratios are relative to a case's first way."""
    rows = []
    for case in dict.fromkeys(run["case"] for run in runs):
        found: dict[str, dict[int, float]] = {}
        size = {}
        for run in runs:
            if run["case"] == case:
                found.setdefault(run["way"], {})[run["round"]] = run["samples_per_second"]
                size[run["way"]] = run["bytes_per_second"] / run["samples_per_second"]
        first = next(iter(found.values()))
        for way, one in found.items():
            rate = f"{median(one.values()) * size[way] / 1e9:.2f}"
            rows.append((f"{case}: {way}", *speed(one), rate, ratio(one, first)))
    return ("", "samples/s", "min - max", "GB/s", "/ the first"), rows


def speed(found: dict[int, float]) -> tuple[str, str]:
    if not found:
        return "-", "-"
    low, high = min(found.values()), max(found.values())
    return f"{median(found.values()):,.0f}", f"{low:,.0f} - {high:,.0f}"


def ratio(ours: dict[int, float], theirs: dict[int, float]) -> str:
    if not (ours and theirs):
        return "-"
    return f"{median(ours.values()) / median(theirs.values()):.2f}"
