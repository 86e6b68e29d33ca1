"""The scaling benchmark: cost of the order and the state for growing data sets."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import numpy as np

from benchmarks.process import run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

BLOCK_ROWS = 64
WINDOW_ROWS = 40_960
RESUMES = 21
_LEAST_SECONDS = 0.3
Say = Callable[[str], None]


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Measures the order and the state at each length, for `settings.repeat` rounds."""
    result: dict[str, Any] = {"runs": []}
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(settings.repeat):
        for rows in settings.order_rows:
            job = {"rows": rows, "batch": settings.batch, "folder": str(folder)}
            outcome = run_job("scaling", job)
            result["runs"].append({"rows": rows, "round": number, **outcome})
            costs = ", ".join(f"{key} {value:.4g}" for key, value in outcome.items())
            say(f"order and state of {rows:,} rows: {costs}")
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Measures one length; runs in a separate process."""
    import headrace as hr  # noqa: F401 - imports are not timed
    from headrace import order

    rows = job["rows"]
    signal("ready")
    block_offsets = np.append(np.arange(0, rows, BLOCK_ROWS), rows)

    def exact() -> Iterator[int]:
        rows_order = order.RowOrder(rows, (0, 0))
        for start in range(0, rows, 1 << 14):
            yield len(rows_order.places(start, min(start + (1 << 14), rows)))

    def windows() -> Iterator[int]:
        window_order = order.WindowOrder(block_offsets, (0, 0), WINDOW_ROWS)
        for index in range(len(window_order)):
            yield window_order.window(index).size

    return {
        "exact_ns": _nanoseconds(exact, rows),
        "windows_ns": _nanoseconds(windows, rows),
        **_measure_state(rows, job["batch"], Path(job["folder"])),
    }


def _nanoseconds(epoch: Callable[[], Iterator[int]], rows: int) -> float:
    """Nanoseconds for each sample, measured over whole epochs."""
    done = 0
    start = perf_counter()
    while perf_counter() - start < _LEAST_SECONDS:
        done += sum(epoch())
    spent = perf_counter() - start
    if done % rows:
        raise AssertionError(f"orders of {rows} rows gave {done} rows")
    return 1e9 * spent / done


def _measure_state(rows: int, batch: int, folder: Path) -> dict[str, Any]:
    """Size of the state within an epoch, seconds to load it, and seconds to the next batch."""
    import headrace as hr

    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "hollow.h5"
        _make_hollow(path, rows)
        data = hr.from_hdf5(path, x="value")
        loader = data.batch(batch, shuffle="exact", seed=0, memory="16MB")
        batches = iter(loader)
        for _ in range(10):
            next(batches)
        text = json.dumps(loader.state_dict())
        batches.close()
        loads, resumes = [], []
        for _ in range(RESUMES):
            loader = data.batch(batch, shuffle="exact", seed=0, memory="16MB")
            start = perf_counter()
            loader.load_state_dict(json.loads(text))
            loads.append(perf_counter() - start)
            next(iter(loader))
            resumes.append(perf_counter() - start)
    return {
        "state_bytes": len(text),
        # It takes microseconds, so the minimum is the least disturbed measurement.
        "load_seconds": min(loads),
        "resume_seconds": median(resumes),
    }


def _make_hollow(path: Path, rows: int) -> None:
    """Makes a sparse file of one byte a row, which takes no space on the disk."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((rows,))
        h5py.h5d.create(file.id, b"value", h5py.h5t.NATIVE_UINT8, space, layout)
