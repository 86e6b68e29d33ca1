"""The cold benchmark: data larger than memory, read from the disk.

Each run starts after the file is dropped from the page cache. A memory limit, which the kernel
enforces, prevents the file from being cached again.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from benchmarks import machine
from benchmarks.data import LAYOUTS, ROW_BYTES, image_file
from benchmarks.limit import NotPossible, memory_group
from benchmarks.process import JobFailed, run_job
from benchmarks.rounds import DECODE, EXACT, SHUFFLED, Case, Entry, Say
from benchmarks.settings import Settings
from benchmarks.worker import Signal

IN_ORDER = "disk in order"
AT_RANDOM = "disk, rows at random"
HEADRACE, HEADRACE_EXACT = SHUFFLED.name, EXACT.name
DECODER = "decoder alone"

TASKS = {
    "gzip": (IN_ORDER, DECODER, HEADRACE),
    "chunked": (IN_ORDER, HEADRACE),
    "contiguous": (IN_ORDER, HEADRACE, AT_RANDOM, HEADRACE_EXACT),
}
"""The ways of reading that are measured for each file, in this order."""

READERS = {IN_ORDER: 8, AT_RANDOM: 32}
"""Number of reading threads, enough to keep the disk busy."""

BLOCK_BYTES = 1 << 20
DECODER_ROWS = 16_384
"""Rows in the file for the decoder, which has to fit in the page cache."""


class Run(NamedTuple):
    """A way of reading a file, in a round."""

    way: str
    layout: str
    round: int


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Measures each way in turn, as many rounds as asked for.

    Returns:
        `runs`, each with `samples_per_second`; `failed`; or `skipped` with the reason.
    """
    result: dict[str, Any] = {"runs": [], "failed": [], "skipped": {}}
    reason = machine.can_drop_page_cache()
    if reason:
        result["skipped"]["cold"] = reason
        return result
    for run in _runs(settings):
        try:
            with memory_group(settings.cold_limit_bytes) as group:
                outcome = _measure_run(run, settings, folder, group)
        except NotPossible as error:
            result["skipped"]["memory limit"] = str(error)
            say(f"memory limit: not possible here, {error}")
            return result
        except JobFailed as error:
            result["failed"].append(
                {"contestant": run.way, "layout": run.layout, "reason": str(error)}
            )
            say(f"{run.way}, {run.layout}: FAILED, {error}")
            continue
        about = {"contestant": run.way, "layout": run.layout, "cache": "cold"}
        result["runs"].append({**about, "round": run.round, **outcome})
        say(f"{run.way}, {run.layout}: {outcome['samples_per_second']:,.0f} samples/s")
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Reads from the disk as fast as possible; runs in a process inside the control group."""
    path = Path(job["path"])
    with h5py.File(path, "r") as file:
        image = file["image"]
        start, stored = image.id.get_offset(), image.id.get_storage_size()
    if job["way"] == IN_ORDER:
        size = BLOCK_BYTES
        offsets = np.arange(0, path.stat().st_size - size, size)
        samples = offsets.size * size * job["rows"] / stored
    else:
        size = ROW_BYTES
        offsets = np.random.default_rng(job["seed"]).permutation(job["rows"])[: job["limit"]]
        offsets = offsets * size + start
        samples = len(offsets)
    signal("ready")
    begin = machine.Usage.now()
    _read_all(path, offsets, size, READERS[job["way"]])
    used = (machine.Usage.now() - begin).to_dict()
    return {"samples_per_second": samples / used["seconds"], **used}


def _runs(settings: Settings) -> Iterator[Run]:
    for number in range(settings.repeat):
        for layout, ways in TASKS.items():
            if not settings.cases or layout in settings.cases:
                for way in ways:
                    yield Run(way, layout, number)


def _measure_run(run: Run, settings: Settings, folder: Path, group: Path) -> dict[str, Any]:
    stored = LAYOUTS[run.layout]
    case = Case(stored, settings.cold_rows, settings.cold_batch, settings.cold_memory)
    if run.way == DECODER:
        case = replace(case, rows=min(DECODER_ROWS, settings.cold_rows))
    path = image_file(folder, stored, case.rows)
    prepare: Callable[[], object] = partial(machine.drop_page_cache, path)
    task = "epochs"
    if run.way in READERS:
        task = "cold"
        job = {
            "way": run.way,
            "path": str(path),
            "rows": case.rows,
            "limit": settings.cold_random_rows,
            "seed": run.round,
        }
    elif run.way == DECODER:
        prepare = partial(machine.fill_page_cache, path)
        job = asdict(Entry(DECODE, case).job(settings, path, run.round))
    else:
        contestant = EXACT if run.way == HEADRACE_EXACT else SHUFFLED
        order = Entry(contestant, case, "cold").job(settings, path, run.round)
        if run.way == HEADRACE_EXACT:
            order = replace(order, limit=settings.cold_random_rows // case.batch)
        job = asdict(order)
    outcome = run_job(task, job, prepare=prepare, group=group)
    size = path.stat().st_size
    return {"file_bytes": size, "file_rows": case.rows, **outcome}


def _read_all(path: Path, offsets: np.ndarray, size: int, threads: int) -> None:
    """Reads `size` bytes at each offset; the threads share one queue of offsets."""
    descriptor = os.open(path, os.O_RDONLY)
    if size < BLOCK_BYTES:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    waiting = iter(offsets.tolist())

    def read() -> None:
        buffer = bytearray(size)
        for offset in waiting:
            if os.preadv(descriptor, [buffer], offset) != size:
                raise OSError(f"{path} ends too early")

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(read) for _ in range(threads)]:
            future.result()
    os.close(descriptor)
