"""The index benchmark: time and memory to open a file of a million chunks."""

import gc
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np

from benchmarks import machine
from benchmarks.data import made_once, show_progress
from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

FILES = {"b-tree": "earliest", "fixed-array": "latest"}
"""Type of HDF5's own chunk index -> the `libver` of h5py that selects it."""

ROW_BYTES = 16
BATCH = 32
MEMORY = "4MB"
Say = Callable[[str], None]


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Opens each file in turn, for `settings.repeat` rounds.

    Returns:
        `runs` (timed), `inspections` (bytes that Python and NumPy hold; untimed, since tracing of
        memory slows the process down), `failed`.
    """
    result: dict[str, Any] = {"runs": [], "inspections": [], "failed": []}
    names = [name for name in FILES if not settings.cases or name in settings.cases]
    tasks = [(name, TRACED, 0) for name in names]
    tasks += [(n, way, k) for k in range(settings.repeat) for n in names for way in TIMED]
    for name, way, number in tasks:
        path = _chunk_file(folder, name, settings.index_chunks)
        job = {"way": way, "path": str(path), "chunks": settings.index_chunks}
        about = {"way": way, "layout": name}
        try:
            outcome = run_job("index", job, prepare=lambda path=path: machine.fill_page_cache(path))
        except JobFailed as error:
            result["failed"].append({**about, "reason": str(error)})
            say(f"{way}, {name}: FAILED, {error}")
            continue
        run = {**about, "round": number, "chunks": settings.index_chunks, **outcome}
        result["inspections" if way == TRACED else "runs"].append(run)
        say(f"{way}, {name}: {outcome}")
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Opens a file; runs in a separate process."""
    import headrace.sources.hdf5  # noqa: F401 - imports are not timed

    signal("ready")
    return WAYS[job["way"]](job)


def _open_headrace(job: dict[str, Any]) -> dict[str, float]:
    import headrace as hr

    before = _private_bytes()
    start = perf_counter()
    data = hr.from_hdf5(job["path"], x="value")
    ready = perf_counter() - start
    private = _private_bytes() - before
    next(iter(data.batch(BATCH, shuffle=True, seed=0, memory=MEMORY)))
    first_batch = perf_counter() - start
    _check(data, job["chunks"])
    return {"seconds": ready, "first_batch_seconds": first_batch, "private_bytes": private}


def _trace_headrace(job: dict[str, Any]) -> dict[str, float]:
    import headrace as hr

    tracemalloc.start()
    data = hr.from_hdf5(job["path"], x="value")
    gc.collect()
    resting, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    _check(data, job["chunks"])
    return {"resting_bytes": resting, "peak_bytes": peak}


def _open_h5py(job: dict[str, Any]) -> dict[str, float]:
    count = 0

    def note(_info: Any) -> None:
        nonlocal count
        count += 1

    start = perf_counter()
    with h5py.File(job["path"], "r") as file:
        file["value"].id.chunk_iter(note)
    seconds = perf_counter() - start
    if count != job["chunks"]:
        raise AssertionError(f"h5py found {count} of {job['chunks']} chunks")
    return {"seconds": seconds}


HEADRACE = "Headrace from_hdf5"
H5PY = "h5py open and chunk_iter"
TRACED = "Headrace, memory traced"
TIMED = (HEADRACE, H5PY)
WAYS = {HEADRACE: _open_headrace, H5PY: _open_h5py, TRACED: _trace_headrace}


def _private_bytes() -> int:
    """Anonymous and shared memory of this process, in bytes; 0 if it cannot be measured."""
    return machine.tree_memory(os.getpid())["private"] if machine.can_measure_memory() else 0


def _check(data: Any, chunks: int) -> None:
    rows = [0, chunks // 2, chunks - 1]
    (values,) = data[rows]
    numbers = np.ascontiguousarray(values[:, :8]).view(np.uint64).reshape(-1)
    if len(data) != chunks or numbers.tolist() != rows:
        raise AssertionError(f"rows {rows} of {len(data)} hold {numbers.tolist()}")


def _chunk_file(folder: Path, name: str, chunks: int) -> Path:
    path = folder / f"chunks-{name}-{chunks}.h5"
    return made_once(path, lambda temporary: _write(temporary, FILES[name], chunks))


def _write(path: Path, libver: str, chunks: int) -> None:
    """A gzip chunk for each row of 16 bytes; the first 8 are its number."""
    with h5py.File(path, "w", libver=libver) as file:
        shape, chunk = (chunks, ROW_BYTES), (1, ROW_BYTES)
        value = file.create_dataset("value", shape, np.uint8, chunks=chunk, compression="gzip")
        for number in range(chunks):
            row = number.to_bytes(ROW_BYTES, "little")
            value.id.write_direct_chunk((number, 0), zlib.compress(row, 1))
            if number % 10_000 == 0:
                show_progress(path, number, chunks)
        show_progress(path, chunks, chunks)
