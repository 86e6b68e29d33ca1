"""Measures contestants on files in rounds; each run is a separate process."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.contestants import CONTESTANTS, Contestant, ReadJob
from benchmarks.data import Stored, image_file
from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings

SHUFFLED = CONTESTANTS["Headrace shuffle=True"]
EXACT = CONTESTANTS['Headrace shuffle="exact"']
SLICES = CONTESTANTS["h5py slices in order"]
TAKE = CONTESTANTS["NumPy take from RAM"]
DECODE = CONTESTANTS["ceiling: read and decode"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """A file, and the settings to read it with.

    Attributes:
        stored: The content of the rows, and their storage.
        rows: Number of rows.
        batch: Rows in a batch.
        memory: Headrace's budget.
    """

    stored: Stored
    rows: int
    batch: int
    memory: str


@dataclass(frozen=True)
class Entry:
    """A contestant that reads a file, with a "warm" or "cold" page cache."""

    contestant: Contestant
    case: Case
    cache: str = "warm"

    def key(self) -> dict[str, str]:
        """The keys that identify a run in the record."""
        layout = self.case.stored.name
        return {"contestant": self.contestant.name, "layout": layout, "cache": self.cache}

    def job(self, settings: Settings, path: Path, seed: int) -> ReadJob:
        """The job of a timed run."""
        once = self.contestant.slow or self.cache == "cold"
        return ReadJob(
            contestant=self.contestant.name,
            path=str(path),
            fields=list(self.case.stored.fields),
            rows=self.case.rows,
            batch=self.case.batch,
            memory=self.case.memory,
            seed=seed,
            threads=len(machine.cores()),
            limit=settings.slow_batches if self.contestant.slow else None,
            seconds=0.0 if once else settings.seconds,
            warm_up=not once,
            inspect=False,
            judge=False,
        )


def measure_entries(
    entries: list[Entry], settings: Settings, folder: Path, say: Say, *, judge: bool = False
) -> dict[str, Any]:
    """Measures contestants on files, for `settings.repeat` rounds.

    Args:
        entries: The contestants and files to measure.
        settings: Sizes and counts.
        folder: The folder of the files.
        say: Called with a line of text about each run.
        judge: If true, the inspections measure the shuffle quality and memory of all contestants,
            on files that are sorted by class. Otherwise only Headrace is inspected, on the files
            of the timed runs.

    Returns:
        `cases` (the files), `runs` (timed, one for each entry and round), `inspections` (untimed;
        they check every byte), and `missing`, `skipped` and `failed` with reasons.
    """
    result: dict[str, Any] = {"cases": {}, "runs": [], "inspections": [], "failed": []}
    result["missing"], result["skipped"] = _absent(entries, settings)
    absent = result["missing"].keys() | result["skipped"].keys()
    entries = [entry for entry in entries if entry.case.stored.name not in absent]
    for entry in entries:
        if entry.cache == "warm" and (judge or entry.contestant.role == "headrace"):
            inspect = partial(_inspect, entry, settings, folder, judge)
            _try(result, "inspections", inspect, {**entry.key(), "step": "inspection"}, say)
    for number in range(settings.repeat):
        for entry in entries:
            time = partial(_time, entry, settings, folder, number)
            _try(result, "runs", time, {**entry.key(), "step": f"round {number + 1}"}, say)
    for entry in entries:
        result["cases"][entry.case.stored.name] = _describe(entry.case, folder)
    return result


def _describe(case: Case, folder: Path) -> dict[str, Any]:
    """The description of a file in the record."""
    return {
        "title": case.stored.title,
        "rows": case.rows,
        "row_bytes": case.stored.row_bytes,
        "file_bytes": image_file(folder, case.stored, case.rows).stat().st_size,
        "batch": case.batch,
        "memory": case.memory,
    }


def _absent(entries: list[Entry], settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Names of files that lack a library, and of files that `settings` exclude, with reasons."""
    missing, skipped = {}, {}
    for stored in (entry.case.stored for entry in entries):
        if settings.cases and stored.name not in settings.cases:
            skipped[stored.name] = "not asked for"
        elif stored.plugin and find_spec("hdf5plugin") is None:
            missing[stored.name] = "hdf5plugin not installed"
    return missing, skipped


def _try(
    result: dict[str, Any],
    part: str,
    action: Callable[[], dict[str, Any]],
    about: dict[str, str],
    say: Say,
) -> None:
    """Runs `action` and adds its result or failure, so that a failure does not end the run."""
    where = ", ".join(about.values())
    try:
        outcome = action()
    except JobFailed as error:
        result["failed"].append({**about, "reason": str(error)})
        say(f"{where}: FAILED, {error}")
        return
    result[part].append(outcome)
    speed = outcome.get("samples_per_second")
    say(f"{where}: {speed:,.0f} samples/s" if speed else where)


def _inspect(entry: Entry, settings: Settings, folder: Path, judge: bool) -> dict[str, Any]:
    path = image_file(folder, entry.case.stored, entry.case.rows, sort=judge)
    job = replace(entry.job(settings, path, 0), inspect=True, judge=judge)
    prepare = partial(machine.fill_page_cache, path)
    outcome = run_job("epochs", asdict(job), prepare=prepare, watch_memory=True)
    key = entry.key()
    return {"contestant": key["contestant"], "layout": key["layout"], **outcome}


def _time(entry: Entry, settings: Settings, folder: Path, number: int) -> dict[str, Any]:
    path = image_file(folder, entry.case.stored, entry.case.rows)
    cold = entry.cache == "cold"
    prepare = partial(machine.drop_page_cache if cold else machine.fill_page_cache, path)
    job = entry.job(settings, path, seed=number)
    return {**entry.key(), "round": number, **run_job("epochs", asdict(job), prepare=prepare)}
