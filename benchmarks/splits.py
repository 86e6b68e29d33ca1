"""The splits benchmark: time and memory to split, filter and balance many rows."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.process import run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

WAYS: dict[str, Callable[[Any], Any]] = {
    "random": lambda data: data.split(0.8, seed=0),
    "by class": lambda data: data.split(0.8, seed=0, stratify="x"),
    "by key": lambda data: data.split(0.8, by="x"),
    "by name": lambda data: data.split(by="x"),
    "filter": lambda data: data.filter(lambda x: x != 3),
    "balance, to the first batch": lambda data: _first_batch(data.balance("x")),
}
CLASSES = 10
Say = Callable[[str], None]


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:  # noqa: ARG001
    """Measures each way in turn, for `settings.repeat` rounds."""
    runs = []
    for number in range(settings.repeat):
        for way in WAYS:
            outcome = run_job("splits", {"way": way, "rows": settings.split_rows})
            runs.append({"way": way, "round": number, "rows": settings.split_rows, **outcome})
            say(f"{way}, {settings.split_rows:,} rows: {outcome}")
    return {"runs": runs}


def table(part: dict[str, Any]) -> list[tuple[str, ...]]:
    """For each way, medians of seconds, nanoseconds a row, and bytes a row at the end and peak."""
    rows = []
    for way in dict.fromkeys(run["way"] for run in part["runs"]):
        chosen = [run for run in part["runs"] if run["way"] == way]
        count = chosen[0]["rows"]
        seconds = median(run["seconds"] for run in chosen)
        held, peak = (median(run[key] for run in chosen) for key in ("held_bytes", "peak_bytes"))
        costs = f"{1e9 * seconds / count:,.0f}", f"{held / count:.2f}", f"{peak / count:.2f}"
        rows.append((way, f"{seconds:.1f}", *costs))
    return rows


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Splits rows of one byte in memory; runs in a separate process.

    Memory is measured with tracemalloc during the timed call. That hardly affects the time, since
    the arrays are few and large.
    """
    import headrace as hr

    rows, way = job["rows"], WAYS[job["way"]]
    values = np.empty(rows, np.uint8)
    rng = np.random.default_rng(0)
    for start in range(0, rows, 1 << 20):
        values[start : start + (1 << 20)] = rng.integers(0, CLASSES, min(1 << 20, rows - start))
    data = hr.from_arrays(values)
    way(data.take(1000))
    signal("ready")
    tracemalloc.start()
    began = perf_counter()
    made = way(data)
    seconds = perf_counter() - began
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del made
    return {"seconds": seconds, "held_bytes": held, "peak_bytes": peak}


def _first_batch(data: Any) -> Any:
    next(iter(data.batch(256, shuffle=True, seed=0, memory="32MB")))
    return data
