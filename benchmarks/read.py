"""The read benchmark: how fast batches come, in which order, at which cost."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.contestants import CONTESTANTS, Contestant, Opener, ReadJob
from benchmarks.data import CHUNK_ROWS, LAYOUTS, image_file
from benchmarks.process import JobFailed, run_job
from benchmarks.quality import shuffle_quality
from benchmarks.settings import Settings
from benchmarks.work import Handed, check
from benchmarks.worker import Signal

Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A contestant at a file, with the page cache in some state."""

    contestant: Contestant
    layout: str
    cache: str

    def key(self) -> dict[str, str]:
        """What a run is found by in the record."""
        return {"contestant": self.contestant.name, "layout": self.layout, "cache": self.cache}


def measure(settings: Settings, folder: Path, names: list[str], say: Say) -> dict[str, Any]:
    """Measures all contestants, in turn, as many rounds as asked for.

    Args:
        settings: Sizes and counts.
        folder: Where the files are kept.
        names: Contestants to run, all if empty.
        say: Takes a line of text about each run.

    Returns:
        `runs` (timed, one for each contestant, layout, cache and round), `inspections`
        (untimed: order, memory, every byte checked), and what is `missing`, was
        `skipped` or has `failed`, with reasons.
    """
    result: dict[str, Any] = {"runs": [], "inspections": [], "failed": []}
    result["missing"], result["skipped"] = _absent(settings, names)
    absent = result["missing"].keys() | result["skipped"].keys()
    contestants = [entry for name, entry in CONTESTANTS.items() if name not in absent]
    entries = list(_entries(contestants, _caches(settings, result["skipped"])))
    for entry in entries:
        if entry.cache == "warm":
            inspect = partial(_inspect, entry, settings, folder)
            _try(result, "inspections", inspect, {**entry.key(), "step": "inspection"}, say)
    for number in range(settings.repeat):
        for entry in entries:
            time = partial(_time, entry, settings, folder, number)
            _try(result, "runs", time, {**entry.key(), "step": f"round {number + 1}"}, say)
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Reads as a `ReadJob` says; in a process of its own."""
    order = ReadJob(**job)
    opener = CONTESTANTS[order.contestant].load()
    return (_run_inspection if order.inspect else _run_timed)(order, opener, signal)


def _run_inspection(order: ReadJob, opener: Opener, signal: Signal) -> dict[str, Any]:
    handed = Handed(order.rows, checksums=True)
    signal("ready")
    reader = opener(order)
    handed.consume(reader.epoch(0), order.limit)
    signal("done")
    check(handed, Path(order.path), whole=order.limit is None)
    rows = handed.rows.astype(np.int64)
    quality = shuffle_quality(rows, handed.labels, order.rows, order.batch, CHUNK_ROWS)
    return {"rows": len(handed), "quality": quality, "report": reader.report()}


def _run_timed(order: ReadJob, opener: Opener, signal: Signal) -> dict[str, Any]:
    epochs: list[Handed] = []

    def run_epoch() -> None:
        epochs.append(Handed(order.rows))
        epochs[-1].consume(reader.epoch(len(epochs) - 1), order.limit)

    signal("ready")
    opened = machine.Usage.now()
    reader = opener(order)
    if order.warm_up:
        run_epoch()
    warm_ups = len(epochs)
    begin = machine.Usage.now()
    run_epoch()
    while machine.Usage.now().wall - begin.wall < order.seconds:
        run_epoch()
    used = machine.Usage.now().since(begin)
    for handed in epochs:
        check(handed, Path(order.path), whole=order.limit is None)
    rows = sum(map(len, epochs[warm_ups:]))
    return {
        "rows": rows,
        "epochs": len(epochs) - warm_ups,
        "samples_per_second": rows / used["seconds"],
        "first_batch_seconds": epochs[0].first - opened.wall,
        "report": reader.report(),
        **used,
    }


def _entries(contestants: list[Contestant], caches: list[str]) -> Iterator[Entry]:
    for cache in caches:
        for layout in LAYOUTS:
            for contestant in contestants:
                # Data in RAM has no page cache to speak of.
                if layout in contestant.layouts and not (contestant.in_ram and cache == "cold"):
                    yield Entry(contestant, layout, cache)


def _caches(settings: Settings, skipped: dict[str, str]) -> list[str]:
    reason = machine.can_drop_page_cache()
    if reason and "cold" in settings.caches:
        skipped["cold page cache"] = reason
    return [cache for cache in settings.caches if cache == "warm" or not reason]


def _absent(settings: Settings, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Contestants that can't run because something is missing, or won't: with reasons."""
    missing, skipped = {}, {}
    for name, contestant in CONTESTANTS.items():
        libraries = contestant.missing()
        if names and name not in names:
            skipped[name] = "not asked for"
        elif libraries:
            missing[name] = f"{' and '.join(libraries)} not installed"
        elif settings.light and contestant.heavy and not names:
            skipped[name] = "not part of a quick run"
    return missing, skipped


def _try(
    result: dict[str, Any],
    part: str,
    action: Callable[[], dict[str, Any]],
    about: dict[str, str],
    say: Say,
) -> None:
    """Keeps the outcome of a run, also if it is a failure: the other figures stay good."""
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


def _inspect(entry: Entry, settings: Settings, folder: Path) -> dict[str, Any]:
    path = image_file(folder, entry.layout, settings.rows, sort=True)
    job = _job(entry, settings, path, seed=0, inspect=True)
    prepare = partial(machine.fill_page_cache, path)
    outcome = run_job("read", asdict(job), prepare=prepare, watch_memory=True)
    return {"contestant": entry.contestant.name, "layout": entry.layout, **outcome}


def _time(entry: Entry, settings: Settings, folder: Path, number: int) -> dict[str, Any]:
    path = image_file(folder, entry.layout, settings.rows)
    job = _job(entry, settings, path, seed=number, inspect=False)
    cold = entry.cache == "cold"
    prepare = machine.drop_page_cache if cold else partial(machine.fill_page_cache, path)
    return {**entry.key(), "round": number, **run_job("read", asdict(job), prepare=prepare)}


def _job(entry: Entry, settings: Settings, path: Path, *, seed: int, inspect: bool) -> ReadJob:
    once = inspect or entry.contestant.slow or entry.cache == "cold"
    return ReadJob(
        contestant=entry.contestant.name,
        path=str(path),
        rows=settings.rows,
        batch=settings.batch,
        memory=settings.memory,
        seed=seed,
        threads=len(machine.cores()),
        limit=settings.slow_batches if entry.contestant.slow else None,
        seconds=0.0 if once else settings.seconds,
        warm_up=not once,
        inspect=inspect,
    )
