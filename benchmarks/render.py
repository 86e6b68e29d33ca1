"""Writes the page of results and the plot from the records."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.sections import SECTIONS
from benchmarks.tables import table
from benchmarks.targets import outcomes

Records = dict[str, dict[str, Any]]


def write(records: Records, folder: Path) -> Path:
    """Writes `RESULTS.md`, and `RESULTS.svg` if matplotlib is installed; returns the page."""
    if not records:
        raise SystemExit("There is no record yet. Run: python -m benchmarks run")
    folder.mkdir(parents=True, exist_ok=True)
    has_plot = "read" in records and find_spec("matplotlib") is not None
    if has_plot:
        from benchmarks.plot import draw

        draw(records["read"], folder / "RESULTS.svg")
    page = folder / "RESULTS.md"
    page.write_text("\n".join(_page(records, has_plot)) + "\n")
    return page


def _page(records: Records, has_plot: bool) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield "Made by `python -m benchmarks report`; README.md explains the measurements."
    if any(record["quick"] for record in records.values()):
        yield from ("", "**From a quick run on tiny data: the figures mean nothing.**")
    yield from _targets(records)
    for part, section in SECTIONS.items():
        if part in records:
            yield from section(records[part], has_plot)
            yield from _absent(records[part][part])
    yield from _machines(records)


def _targets(records: Records) -> Iterator[str]:
    rows = [
        (
            outcome.target.text,
            f"{'<=' if outcome.target.at_most else '>='} {outcome.target.bound:g}",
            f"{outcome.ratio:.3g}",
            f"{outcome.low:.3g} - {outcome.high:.3g}",
            "reached" if outcome.reached else "not reached",
        )
        for outcome in outcomes(records)
    ]
    yield from ("", "## Targets", "")
    if rows:
        yield from table(("ratio", "target", "median", "rounds", ""), rows)
    else:
        yield "No record holds what they compare."


def _absent(part: dict[str, Any]) -> Iterator[str]:
    notes = [f"- missing: {name} ({why})" for name, why in part.get("missing", {}).items()]
    notes += [f"- left out: {name} ({why})" for name, why in part.get("skipped", {}).items()]
    for failure in part.get("failed", []):
        where = ", ".join(value for key, value in failure.items() if key != "reason")
        notes.append(f"- FAILED: {where}: {failure['reason']}")
    if notes:
        yield from ("", *notes)


def _machines(records: Records) -> Iterator[str]:
    yield from ("", "## Machine and versions")
    shown: list[str] = []
    for part, record in records.items():
        machine = record["machine"]
        text = (
            f"{machine['processor']}, {machine['cores_used']} of {machine['cores']} cores, "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB; {machine['system']} {machine['kernel']}, "
            f"Python {machine['python']}"
        )
        versions = ", ".join(f"{name} {text}" for name, text in record["versions"].items())
        lines = ("", f"- {part}: {record['date']}, `{record['command']}`")
        yield from lines if not shown else lines[1:]
        shown.append(json.dumps([text, versions]))
    for number, entry in enumerate(dict.fromkeys(shown)):
        text, versions = json.loads(entry)
        yield from ("", text, "", versions) if number == 0 else ("", "also " + text, "", versions)
