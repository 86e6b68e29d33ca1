"""The sections of the page of results: tables for each part of a record."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks import arrays, cold, index
from benchmarks.contestants import CONTESTANTS
from benchmarks.data import LAYOUTS
from benchmarks.rounds import SHUFFLED, SLICES, TAKE
from benchmarks.sections_written import (
    pack_section,
    splits_section,
    stats_section,
    write_section,
)
from benchmarks.steps import steps_section
from benchmarks.summary import Line, ceiling_of, layouts_of, read_lines, speeds
from benchmarks.tables import ratio, section, speed, table, ways

Record = dict[str, Any]

CACHES = {"warm": "file in the page cache", "cold": "page cache dropped before each run"}


def _read(record: dict[str, Any], has_plot: bool) -> Iterator[str]:
    settings = record["settings"]
    yield from ("", "## Reading", "")
    yield (
        f"{settings['rows']:,} images of 32x32x3 bytes with a label, batches of "
        f"{settings['batch']}, {record['machine']['cores_used']} cores, "
        f"{settings['repeat']} rounds; Headrace's budget is {settings['memory']}."
    )
    tables = {
        f"### {stored.title}; {state}": lines
        for cache, state in CACHES.items()
        for layout, stored in LAYOUTS.items()
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
    text = (
        f"The baseline network on JAX, {settings['fit_rows']:,} images, batches of "
        f"{settings['batch']}; the first epoch, which compiles, is left out."
    )
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
    yield from section("Training", text, head, rows)


def _memory(record: dict[str, Any], _: bool) -> Iterator[str]:
    settings = record["settings"]
    text = (
        f"An epoch under a limit of {settings['limit_bytes'] / 1e6:.0f} MB on the process group, "
        f"with a budget of {settings['limit_memory']}; the kernel must kill the control."
    )
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
    yield from section("Memory", text, (*head, "loader's peak, MB", "page cache counted"), rows)


def _scaling(record: dict[str, Any], _: bool) -> Iterator[str]:
    text = "Order and state, without data: medians of the rounds."
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
    yield from section("Scaling", text, ("", *_SCALING_HEAD.values()), rows)


_SCALING_HEAD = {
    "exact_ns": "exact, ns a sample",
    "windows_ns": "windows, ns a sample",
    "state_bytes": "state, bytes",
    "load_seconds": "to load it, us",
    "resume_seconds": "to the next batch, ms",
}


def _filters(record: Record, _: bool) -> Iterator[str]:
    settings, part = record["settings"], record["filters"]
    text = (
        f"{settings['rows']:,} rows of 3,072 bytes in chunks of 64, batches of "
        f"{settings['batch']}, warm; samples a second, medians of {settings['repeat']} rounds. "
        "The ceiling reads and decodes every chunk once, with the same decoder."
    )
    rows = []
    for layout in layouts_of(part):
        case = part["cases"][layout]
        ours = speeds(part, SHUFFLED.name, layout)
        ceiling = speeds(part, ceiling_of(part, layout), layout)
        slices = speeds(part, SLICES.name, layout)
        rows.append(
            (
                case["title"],
                f"{case['rows'] * case['row_bytes'] / case['file_bytes']:.2f}",
                *speed(ours),
                *speed(ceiling),
                *speed(slices),
                ratio(ours, ceiling),
                ratio(ours, slices),
            )
        )
    head = ("", "fold", SHUFFLED.name, "min - max", "ceiling", "min - max", SLICES.name)
    yield from section("Filters", text, (*head, "min - max", "/ ceiling", "/ slices"), rows)


def _shapes(record: Record, _: bool) -> Iterator[str]:
    part = record["shapes"]
    text = (
        f"Warm; medians of {record['settings']['repeat']} rounds. The ceiling reads and decodes "
        "every chunk once; for contiguous and tiny rows it gathers random rows from RAM."
    )
    rows = []
    for layout in layouts_of(part):
        case = part["cases"][layout]
        ours = speeds(part, SHUFFLED.name, layout)
        ceiling = speeds(part, ceiling_of(part, layout), layout)
        reports = _reports(part, layout)
        rows.append(
            (
                case["title"],
                f"{case['rows']:,}",
                f"{case['batch']:,}",
                case["memory"],
                *speed(ours),
                *speed(ceiling),
                ratio(ours, ceiling),
                f"{1e6 * case['batch'] / median(ours.values()):,.1f}" if ours else "-",
                f"{max(report['peak_bytes'] for report in reports) / 1e6:,.1f}" if reports else "-",
                _mixing(reports),
            )
        )
    head = ("", "samples", "batch", "budget", "samples/s", "min - max", "ceiling", "min - max")
    tail = ("/ ceiling", "us a batch", "loader's peak, MB", "variance, at most")
    yield from section("Shapes", text, (*head, *tail), rows)


def _index(record: Record, _: bool) -> Iterator[str]:
    part = record["index"]
    text = (
        f"A file of {record['settings']['index_chunks']:,} chunks, opened in a new process: "
        f"medians of {record['settings']['repeat']} rounds, bytes for each chunk."
    )
    rows = []
    for layout in layouts_of(part):
        ours, theirs = (
            [run for run in part["runs"] if (run["layout"], run["way"]) == (layout, way)]
            for way in index.TIMED
        )
        (held,) = [run for run in part["inspections"] if run["layout"] == layout] or [{}]
        if not (ours and theirs and held):
            continue
        seconds = [run["seconds"] for run in ours]
        others = [run["seconds"] for run in theirs]
        chunks = held["chunks"]
        rows.append(
            (
                layout,
                f"{median(seconds):.2f}",
                f"{min(seconds):.2f} - {max(seconds):.2f}",
                f"{median(run['first_batch_seconds'] for run in ours):.2f}",
                f"{median(others):.2f}",
                f"{min(others):.2f} - {max(others):.2f}",
                f"{median(seconds) / median(others):.2f}",
                f"{held['resting_bytes'] / chunks:.1f}",
                f"{held['peak_bytes'] / chunks:.1f}",
                f"{median(run['private_bytes'] for run in ours) / chunks:.1f}",
            )
        )
    head = ("HDF5's own index", "ready, s", "min - max", "first batch, s", index.H5PY, "min - max")
    yield from section("Index", text, (*head, "/ h5py", "held", "peak", "process grew by"), rows)


def _unaligned(record: Record, _: bool) -> Iterator[str]:
    settings, part = record["settings"], record["unaligned"]
    text = (
        f"{settings['rows']:,} images with a mask of 32x32x1 and a label, gzip 4, batches of "
        f"{settings['aligned_batch']}, warm; Headrace's budget is {settings['memory']}."
    )
    rows = []
    for layout in layouts_of(part):
        ours = speeds(part, SHUFFLED.name, layout)
        reports = _reports(part, layout)
        again = [report["repeated"] / max(1, report["epochs"]) for report in reports]
        row = (part["cases"][layout]["title"], *speed(ours), f"{median(again):,.0f}")
        rows.append((*row, _mixing(reports)))
    head = ("", "samples/s", "min - max", "decoded again, blocks an epoch", "variance, at most")
    yield from section("Chunks that do not line up", text, head, rows)


def _cold(record: Record, _: bool) -> Iterator[str]:
    settings, part = record["settings"], record["cold"]
    text = (
        f"{settings['cold_rows']:,} images under a limit of "
        f"{settings['cold_limit_bytes'] / 1e6:.0f} MB on the process group, dropped from the page "
        f"cache before each run; batches of {settings['cold_batch']}, a budget of "
        f"{settings['cold_memory']}, medians of {settings['repeat']} rounds."
    )
    rows = []
    for layout in layouts_of(part):
        for way in cold.TASKS[layout]:
            runs = [r for r in part["runs"] if (r["layout"], r["contestant"]) == (layout, way)]
            if runs:
                found = speeds(part, way, layout, "cold")
                on_disk = runs[0]["file_bytes"] / runs[0]["file_rows"]
                rate = median(found.values()) * on_disk / 1e6
                reports = [run["report"] for run in runs if run.get("report")]
                rows.append((way, layout, *speed(found), f"{rate:,.0f}", _mixing(reports)))
    head = ("", "file", "samples/s", "min - max", "stored MB/s", "variance, at most")
    yield from section("Cold, larger than memory", text, head, rows)


def _arrays(record: Record, _: bool) -> Iterator[str]:
    settings, part = record["settings"], record["arrays"]
    text = (
        f"{settings['rows']:,} images of 32x32x3 bytes with a label in memory, or in `.npy` files "
        f"in the page cache, all shuffled, batches of {settings['batch']}; medians of "
        f"{settings['repeat']} rounds."
    )
    take = speeds(part, TAKE.name, arrays.LAYOUT)
    found = {name: speeds(part, name, arrays.LAYOUT) for name in arrays.NAMES}
    rows = [(name, *speed(one), ratio(one, take)) for name, one in found.items() if one]
    yield from section("Arrays", text, ("", "samples/s", "min - max", "/ take"), rows)


def _old(record: Record, _: bool) -> Iterator[str]:
    text = (
        "Loaders of Keras 2 tutorials, run by Keras and by Headrace, and replacements for them, on "
        f"the same files; medians of {record['settings']['repeat']} rounds."
    )
    yield from section("Old code", text, *ways(record["old"]["runs"]))


def _processes(record: Record, _: bool) -> Iterator[str]:
    text = (
        "Transfer of ready-made batches from 2 worker processes to the parent; "
        f"medians of {record['settings']['repeat']} rounds."
    )
    yield from section("Processes", text, *ways(record["processes"]["runs"]))


def _reports(part: dict[str, Any], layout: str) -> list[dict[str, Any]]:
    return [run["report"] for run in part["runs"] if run["layout"] == layout and run["report"]]


def _mixing(reports: list[dict[str, Any]]) -> str:
    """The bound on the variance of a batch statistic, relative to an exact shuffle."""
    bounds = [report["shuffle"]["variance_bound"] for report in reports]
    return f"{max(bounds):.2f}" if bounds else "-"


SECTIONS: dict[str, Callable[[Record, bool], Iterator[str]]] = {
    "read": _read,
    "fit": _fit,
    "memory": _memory,
    "scaling": _scaling,
    "filters": _filters,
    "shapes": _shapes,
    "index": _index,
    "unaligned": _unaligned,
    "cold": _cold,
    "arrays": _arrays,
    "old": _old,
    "processes": _processes,
    "pack": pack_section,
    "write": write_section,
    "stats": stats_section,
    "splits": splits_section,
    "steps": steps_section,
}
