"""The steps benchmark: time of a training step of a tiny model on JAX."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings
from benchmarks.tables import section
from benchmarks.worker import Signal

Say = Callable[[str], None]

BATCH = 32
PER_CALL = (1, 8, 32)
WIDTHS = (16, 3072)
"""Numbers in a row: a row that takes no time to copy, and a small colour image."""

HEADRACE = "Headrace, arrays"
ARRAYS = "Keras, arrays"
CEILING = "ceiling: the same batch again"


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:  # noqa: ARG001
    """Times epochs of all ways in turn, for each row size and number of steps in a call."""
    result: dict[str, Any] = {"runs": [], "missing": {}, "failed": []}
    for width in WIDTHS:
        for per_call in PER_CALL:
            job = {"width": width, "per_call": per_call, "batches": settings.step_batches}
            try:
                found = run_job("steps", {**job, "rounds": settings.repeat})
            except JobFailed as error:
                result["failed"].append({**job, "reason": str(error)})
                say(f"steps, {width} numbers, {per_call} a call: FAILED, {error}")
                continue
            result["runs"].append({**job, **found})
            middles = {way: round(median(us), 1) for way, us in found["microseconds"].items()}
            say(f"steps, {width} numbers, {per_call} a call, us a step: {middles}")
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Trains according to a job; runs in a separate process."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import keras

    import headrace as hr

    rows = job["batches"] * BATCH
    x = np.random.default_rng(0).random((rows, job["width"]), dtype=np.float32)
    y = x[:, 0].copy()
    model = keras.Sequential([keras.Input((job["width"],)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=job["per_call"])
    fit = partial(model.fit, verbose=0)
    loader = hr.from_arrays(x, y).batch(BATCH, shuffle=True, seed=0)
    same = _same_batch(x[:BATCH], y[:BATCH], job["batches"])
    ways: dict[str, Callable[[], Any]] = {
        HEADRACE: lambda: fit(loader),
        ARRAYS: lambda: fit(x, y, batch_size=BATCH),
        CEILING: lambda: fit(same),
    }
    signal("ready")
    for way in ways.values():
        way()  # compiles
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(job["rounds"]):
        for name, way in ways.items():
            began = perf_counter()
            way()
            found[name].append((perf_counter() - began) / job["batches"] * 1e6)
    return {"microseconds": found, "keras": keras.__version__}


def _same_batch(x: Any, y: Any, batches: int) -> Any:
    """A data adapter that repeats a ready-made batch, to measure the cost of Keras alone."""
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter

    class Same(DataAdapter):
        num_batches = batches
        batch_size = len(x)
        has_partial_batch = False
        partial_batch_size = None

        def get_jax_iterator(self, super_batch: int | None = None) -> Iterator[Any]:
            batch = (x, y)
            if super_batch:
                batch = tuple(np.stack([part] * super_batch) for part in batch)
            for _ in range(batches // (super_batch or 1)):
                yield batch

    return Same()


def steps_section(record: dict[str, Any], _: bool) -> Iterator[str]:
    """The section of the results page for a record."""
    runs = record["steps"]["runs"]
    versions = ", ".join(sorted({run["keras"] for run in runs}))
    text = (
        f"Epochs of {record['settings']['step_batches']:,} batches of {BATCH} rows, a model of one "
        f"dense unit on JAX, Keras {versions}. `steps_per_execution` takes several steps in a "
        "call; from Keras 3.16 on, one array holds their batches."
    )
    rows = []
    for found in runs:
        for way, times in found["microseconds"].items():
            middle = median(times)
            ceiling = median(found["microseconds"][CEILING])
            rows.append(
                (
                    way,
                    f"{found['width']:,}",
                    str(found["per_call"]),
                    f"{middle:.1f}",
                    f"{min(times):.1f} - {max(times):.1f}",
                    f"{middle / ceiling:.2f}",
                )
            )
    head = ("", "numbers a row", "steps a call", "us a step", "min - max", "of the ceiling")
    yield from section("Small steps", text, head, rows)
