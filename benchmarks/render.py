"""Records to a page: tables in Markdown that line up, and a plot."""

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.summary import Line, read_lines
from benchmarks.targets import outcomes

Records = dict[str, dict[str, Any]]

CACHES = {"warm": "file in the page cache", "cold": "page cache dropped before each run"}
TITLES = {
    "gzip": "gzip 4, chunks of 64 images",
    "chunked": "uncompressed, chunks of 64 images",
    "contiguous": "uncompressed, contiguous",
}


def write(records: Records, folder: Path) -> Path:
    """Writes `RESULTS.md`, and `RESULTS.svg` if matplotlib is there; gives the page's path."""
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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table with columns of equal width; the first is text, the others figures."""
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]
    for number, row in enumerate([head, *rows]):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            yield f"| {' | '.join(rules)} |"


def _page(records: Records, has_plot: bool) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield "Made by `python -m benchmarks report`; README.md says what is measured, and how."
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


def _read(record: dict[str, Any], has_plot: bool) -> Iterator[str]:
    settings = record["settings"]
    yield from ("", "## Reading", "")
    yield (
        f"{settings['rows']:,} images of 32x32x3 bytes with a label, batches of "
        f"{settings['batch']}, {record['machine']['cores_used']} cores, "
        f"{settings['repeat']} rounds; Penstock's budget is {settings['memory']}."
    )
    tables = {
        f"### {title}; {state}": lines
        for cache, state in CACHES.items()
        for layout, title in TITLES.items()
        if (lines := read_lines(record["read"], layout, cache))
    }
    worst = max((line.disturbance for lines in tables.values() for line in lines), default=0)
    yield f"Other processes kept at most {worst:.2f} cores busy during a run."
    if has_plot:
        yield from ("", "![Samples a second](RESULTS.svg)")
    for title, lines in tables.items():
        yield from ("", title, "")
        yield from table(_READ_HEAD, [_read_row(line) for line in lines])


_READ_HEAD = (
    "",
    "order",
    "samples/s",
    "min - max",
    "first batch, ms",
    "CPU s / 100,000",
    "peak memory, MB",
    "design effect",
    "same block",
    "label bits",
)


def _read_row(line: Line) -> tuple[str, ...]:
    quality = line.quality
    return (
        line.contestant,
        CONTESTANTS[line.contestant].shuffle,
        f"{line.speed:,.0f}",
        f"{line.low:,.0f} - {line.high:,.0f}",
        f"{1000 * line.first_batch:,.0f}",
        f"{line.cpu_per_sample * 1e5:.2f}",
        "-" if line.memory is None else f"{line.memory / 1e6:,.0f}",
        f"{quality['design_effect']:.2f}" if quality else "-",
        f"{quality['same_block']:.2f}" if quality else "-",
        f"{quality['label_entropy']:.2f} of {quality['label_entropy_exact']:.2f}"
        if quality
        else "-",
    )


def _fit(record: dict[str, Any], _: bool) -> Iterator[str]:
    settings = record["settings"]
    yield from ("", "## Training", "")
    yield (
        f"The baseline network on JAX, {settings['fit_rows']:,} images, batches of "
        f"{settings['batch']}; the first epoch, which compiles, is left out."
    )
    yield ""
    rows = []
    for way in dict.fromkeys(run["way"] for run in record["fit"]["runs"]):
        runs = [run for run in record["fit"]["runs"] if run["way"] == way]
        seconds = [second for run in runs for second in run["epoch_seconds"]]
        middle = median(seconds)
        wait = [run["report"]["wait_share"] for run in runs if run["report"]]
        rows.append(
            (
                way,
                f"{middle:.2f}",
                f"{min(seconds):.2f} - {max(seconds):.2f}",
                f"{settings['fit_rows'] / middle:,.0f}",
                f"{max(wait):.1%}" if wait else "-",
            )
        )
    head = ("", "s an epoch", "min - max", "samples/s", "waiting for data")
    yield from table(head, rows)


def _memory(record: dict[str, Any], _: bool) -> Iterator[str]:
    settings = record["settings"]
    yield from ("", "## Memory", "")
    yield (
        f"An epoch under a limit of {settings['limit_bytes'] / 1e6:.0f} MB on the process group, "
        f"with a budget of {settings['limit_memory']}; the control must be stopped by the limit."
    )
    yield ""
    rows = []
    for run in record["memory"]["runs"]:
        report = run.get("report") or {}
        rows.append(
            (
                run["way"],
                run["layout"],
                f"{run['decoded_bytes'] / 1e6:,.0f}",
                "finished" if run["finished"] else run.get("reason", "rows are missing"),
                f"{run['rows'] / run['seconds']:,.0f}" if "seconds" in run else "-",
                f"{run['peak_bytes'] / 1e6:.0f}" if run["peak_bytes"] else "-",
                f"{report['peak_bytes'] / 1e6:.1f}" if report else "-",
                "yes" if run["page_cache_counted"] else "no",
            )
        )
    head = ("", "file", "decoded, MB", "", "samples/s", "group's peak, MB")
    yield from table((*head, "loader's peak, MB", "page cache counted"), rows)


def _scaling(record: dict[str, Any], _: bool) -> Iterator[str]:
    yield from ("", "## Scaling", "")
    yield "Order and state, without data: medians of the rounds."
    yield ""
    runs = record["scaling"]["runs"]
    rows = []
    for length in sorted({run["rows"] for run in runs}):
        chosen = [run for run in runs if run["rows"] == length]
        middle = {key: median(run[key] for run in chosen) for key in _SCALING_HEAD}
        rows.append(
            (
                f"{length:,} rows",
                f"{middle['exact_ns']:.1f}",
                f"{middle['windows_ns']:.1f}",
                f"{middle['state_bytes']:,.0f}",
                f"{1e6 * middle['load_seconds']:,.0f}",
                f"{1000 * middle['resume_seconds']:.1f}",
            )
        )
    yield from table(("", *_SCALING_HEAD.values()), rows)


_SCALING_HEAD = {
    "exact_ns": "exact, ns a sample",
    "windows_ns": "windows, ns a sample",
    "state_bytes": "state, bytes",
    "load_seconds": "to load it, us",
    "resume_seconds": "to the next batch, ms",
}


SECTIONS = {"read": _read, "fit": _fit, "memory": _memory, "scaling": _scaling}


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
