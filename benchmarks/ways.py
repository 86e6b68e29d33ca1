"""Measures several ways to make the same batches; each run is a separate process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from math import isclose
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import machine
from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

PROCESSES = "from_sequence, processes"

Say = Callable[[str], None]
Batch = tuple[npt.NDArray[Any], npt.NDArray[Any]]
Epoch = Callable[[], Iterator[Batch]]


@dataclass(frozen=True)
class WayJob:
    """The arguments of a way.

    Attributes:
        folder: The folder of the data.
        share: Share of the data to use.
        workers: Threads or processes to use, if the way has that option.
    """

    folder: Path
    share: float
    workers: int


Way = Callable[[WayJob], Epoch]
"""Opens the data, and returns a function that iterates over an epoch."""


def measure_ways(
    part: str, settings: Settings, folder: Path, say: Say, *, slow: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Times all ways of all cases in turn, for `settings.repeat` rounds.

    Args:
        part: A module of this package with `CASES`, which has the ways of each case. The epoch of
            the first way is the reference that the others are compared with.
        settings: Counts.
        folder: The folder of the data.
        say: Called with a line of text about each run.
        slow: Ways that stop after some batches instead of a whole epoch.

    Returns:
        `runs`, and `failed` with reasons.
    """
    result: dict[str, Any] = {"runs": [], "missing": {}, "skipped": {}, "failed": []}
    cases = import_module(f"benchmarks.{part}").CASES
    held: dict[str, dict[str, float]] = {}
    for number in range(settings.repeat):
        for case, ways in cases.items():
            for way in ways:
                if settings.cases and case not in settings.cases:
                    result["skipped"][case] = "not asked for"
                    continue
                about = {"case": case, "way": way}
                job = {
                    **about,
                    "part": part,
                    "folder": str(folder),
                    "share": settings.old_share,
                    "limit": settings.slow_batches if way in slow else None,
                    "seconds": 0.0 if way in slow else settings.seconds,
                }
                try:
                    run = run_job("ways", job)
                    _compare(run, held.setdefault(case, run["held"]), way in slow)
                except JobFailed as error:
                    result["failed"].append({**about, "reason": str(error)})
                    say(f"{case}, {way}: FAILED, {error}")
                    continue
                result["runs"].append({**about, "round": number, **run})
                say(
                    f"{case}, {way}: {run['samples_per_second']:,.0f} samples/s, "
                    f"{run['bytes_per_second'] / 1e9:.2f} GB/s"
                )
    return result


def _compare(run: dict[str, Any], expected: dict[str, float], is_part: bool) -> None:
    """Checks that a way's epoch has the same content as that of the first way.

    Raises:
        JobFailed: If it has not.
    """
    if is_part:
        return
    for name, value in expected.items():
        if not isclose(run["held"][name], value, rel_tol=1e-6):
            raise JobFailed(f"{name} of an epoch is {run['held'][name]}, and should be {value}")


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Runs epochs in one way; runs in a separate process."""
    way: Way = import_module(f"benchmarks.{job['part']}").CASES[job["case"]][job["way"]]
    epoch = way(WayJob(Path(job["folder"]), job["share"], len(machine.cores())))
    signal("ready")
    # An untimed epoch, to warm up and to sum up the content for the comparison.
    held = {"rows": 0.0, "sum of x": 0.0, "sum of y": 0.0}
    for number, (x, y) in enumerate(epoch()):
        if number == job["limit"]:
            break
        held["rows"] += len(x)
        held["sum of x"] += float(x.sum(dtype=np.float64))
        held["sum of y"] += float(y.sum(dtype=np.float64))
    rows = size = epochs = 0
    start = machine.Usage.now()
    begin = perf_counter()
    while not epochs or perf_counter() - begin < job["seconds"]:
        for number, (x, y) in enumerate(epoch()):
            if number == job["limit"]:
                break
            rows += len(x)
            size += x.nbytes + y.nbytes
        epochs += 1
    used = machine.Usage.now() - start
    return {
        "rows": rows,
        "epochs": epochs,
        "held": held,
        "samples_per_second": rows / used.wall,
        "bytes_per_second": size / used.wall,
        **used.to_dict(),
    }
