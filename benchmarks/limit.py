"""The memory benchmark: an epoch over files 8 times larger than a memory limit.

The kernel enforces the limit on a control group, and counts the page cache. To show that the limit
works, a control run loads the whole file, and the kernel must kill it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks import machine
from benchmarks.data import CHUNK_ROWS, LAYOUTS, ROW_BYTES, image_file, row_numbers
from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

TIMES_LARGER = 8
FILES = (LAYOUTS["gzip"], LAYOUTS["contiguous"])
Say = Callable[[str], None]


class NotPossible(Exception):
    """A memory limit cannot be set on this system; the message says why."""


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Runs an epoch of Headrace, and the control, under the limit.

    Returns:
        `runs`, each with `finished`, the number of rows, the group's peak and the loader's report;
        or `skipped` with the reason.
    """
    result: dict[str, Any] = {"runs": [], "skipped": {}}
    rows = -(-TIMES_LARGER * settings.limit_bytes // ROW_BYTES)
    rows = -(-rows // CHUNK_ROWS) * CHUNK_ROWS
    for stored in FILES:
        for way in WAYS:
            try:
                with memory_group(settings.limit_bytes) as group:
                    path = image_file(folder, stored, rows)
                    run = _run_limited(way, path, rows, settings, group)
            except NotPossible as error:
                result["skipped"]["memory limit"] = str(error)
                say(f"memory limit: not possible here, {error}")
                return result
            result["runs"].append({"way": way, "layout": stored.name, **run})
            say(f"{way}, {stored.name}: {'finished' if run['finished'] else run['reason']}")
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Reads an epoch; runs in a process inside the control group."""
    read = WAYS[job["way"]]
    seen = np.zeros(job["rows"], np.bool_)
    signal("ready")
    start = machine.Usage.now()
    report = read(job, seen)
    used = machine.Usage.now() - start
    return {"complete": bool(seen.all()), "report": report, **used.to_dict()}


def _run_limited(
    way: str, path: Path, rows: int, settings: Settings, group: Path
) -> dict[str, Any]:
    job = {
        "way": way,
        "path": str(path),
        "rows": rows,
        "batch": settings.batch,
        "memory": settings.limit_memory,
    }
    # Pages that are already cached are not charged to this group, so drop them.
    counted = machine.can_drop_page_cache() is None
    prepare = partial(machine.drop_page_cache, path) if counted else None
    facts = {"rows": rows, "decoded_bytes": rows * ROW_BYTES, "limit_bytes": settings.limit_bytes}
    facts["page_cache_counted"] = counted
    try:
        outcome = run_job("limit", job, prepare=prepare, group=group)
    except JobFailed as error:
        return {**facts, "finished": False, "reason": str(error), "peak_bytes": _peak(group)}
    return {**facts, "finished": outcome["complete"], "peak_bytes": _peak(group), **outcome}


def _read_headrace(job: dict[str, Any], seen: np.ndarray) -> dict[str, Any]:
    import headrace as hr

    data = hr.from_hdf5(job["path"], x="image", y="label")
    loader = data.batch(job["batch"], shuffle=True, seed=0, memory=job["memory"])
    for images, _ in loader:
        seen[row_numbers(images)] = True
    return loader.report().to_dict()


def _read_whole(job: dict[str, Any], seen: np.ndarray) -> dict[str, Any]:
    with h5py.File(job["path"], "r") as file:
        images = file["image"][:]
    seen[row_numbers(images)] = True
    return {}


HEADRACE = "Headrace"
CONTROL = "control: whole file in RAM"
WAYS = {HEADRACE: _read_headrace, CONTROL: _read_whole}


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """Makes a control group with a memory limit, and yields its folder.

    Raises:
        NotPossible: If this system has no control groups, or does not allow this process to make
            one.
    """
    parent, settings = _parent_group(limit)
    group = parent / f"headrace-benchmark-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise NotPossible(f"no control group can be made: {error.strerror}") from error
    try:
        for name, value in settings.items():
            if not (group / name).exists():
                raise NotPossible(f"the control group has no {name}")
            (group / name).write_text(value)
        yield group
    finally:
        group.rmdir()


def _parent_group(limit: int) -> tuple[Path, dict[str, str]]:
    """The parent folder for a new group, and the settings to write, for cgroup v1 or v2."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        raise NotPossible("this system has no control groups") from None
    paths = {names: path.strip("/") for _, names, path in (line.split(":", 2) for line in lines)}
    if "memory" in paths:
        base = root / "memory"
        return _existing(base / paths["memory"], base), {"memory.limit_in_bytes": str(limit)}
    # In version 2 a group with processes cannot have subgroups, so the new group is a sibling.
    own = _existing(root / paths.get("", ""), root)
    parent = own if own == root else own.parent
    return parent, {"memory.max": str(limit), "memory.swap.max": "0"}


def _existing(folder: Path, root: Path) -> Path:
    """`folder`, or `root` if it does not exist: in a container, /proc may name a host path."""
    return folder if folder.exists() else root


def _peak(group: Path) -> int | None:
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        try:
            return int((group / name).read_text())
        except OSError:
            continue
    return None
