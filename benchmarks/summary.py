"""Summaries of runs of the read benchmark, and speeds by round."""

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.rounds import DECODE, TAKE


@dataclass(frozen=True)
class Line:
    """Medians over the rounds of a contestant, for one layout and state of the page cache.

    Attributes:
        speed: Samples a second.
        low: Samples a second in the slowest round.
        high: Samples a second in the fastest round.
        first_batch: Seconds from opening the data to the first batch.
        cpu_per_sample: CPU seconds of the process tree for one sample.
        disturbance: Average number of cores that other processes used, in the worst round.
        memory: Peak of the process tree's private memory above that after imports, in bytes.
        quality: The result of `shuffle_quality` on the class-sorted file.
    """

    contestant: str
    speed: float
    low: float
    high: float
    first_batch: float
    cpu_per_sample: float
    disturbance: float
    memory: int | None
    quality: dict[str, Any]


def read_lines(part: dict[str, Any], layout: str, cache: str) -> list[Line]:
    """The lines of one table, in the contestants' order."""
    lines = []
    for name, contestant in CONTESTANTS.items():
        # Contestants with data in RAM have one layout, and are shown in every warm table.
        where = contestant.layouts[0] if contestant.in_ram and contestant.layouts else layout
        key = (name, where, cache)
        runs = [r for r in part["runs"] if (r["contestant"], r["layout"], r["cache"]) == key]
        seen = [i for i in part["inspections"] if (i["contestant"], i["layout"]) == key[:2]]
        if runs:
            lines.append(_line(name, runs, seen[0] if seen else {}))
    return lines


def speeds(
    part: dict[str, Any], contestant: str, layout: str, cache: str = "warm"
) -> dict[int, float]:
    """Samples a second by round."""
    key = (contestant, layout, cache)
    return {
        run["round"]: run["samples_per_second"]
        for run in part["runs"]
        if (run["contestant"], run["layout"], run["cache"]) == key
    }


def layouts_of(part: dict[str, Any]) -> list[str]:
    """The layouts that were measured, in the order of measurement."""
    return list(dict.fromkeys(run["layout"] for run in part["runs"]))


def ceiling_of(part: dict[str, Any], layout: str) -> str:
    """The contestant that is Headrace's ceiling: the slower of decoding and NumPy take."""
    figures = {name: speeds(part, name, layout).values() for name in (DECODE.name, TAKE.name)}
    return min(figures, key=lambda name: median(figures[name] or [math.inf]))


def _line(name: str, runs: list[dict[str, Any]], seen: dict[str, Any]) -> Line:
    speeds = [run["samples_per_second"] for run in runs]
    return Line(
        contestant=name,
        speed=median(speeds),
        low=min(speeds),
        high=max(speeds),
        first_batch=median(run["first_batch_seconds"] for run in runs),
        cpu_per_sample=median(run["cpu_seconds"] / run["rows"] for run in runs),
        disturbance=max(run["other_cpu_seconds"] / run["seconds"] for run in runs),
        memory=seen.get("peak_private"),
        quality=seen.get("quality", {}),
    )
