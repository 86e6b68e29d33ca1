"""The fit benchmark: training epochs from the gzip file, and from arrays in RAM."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py

from benchmarks import machine
from benchmarks.data import LAYOUTS, image_file
from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

BACKEND = "jax"
NEEDS = ("headrace", "keras", BACKEND)
Say = Callable[[str], None]


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Times epochs of both ways alternately, for `settings.repeat` rounds."""
    result: dict[str, Any] = {"runs": [], "missing": {}, "failed": []}
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        result["missing"]["fit"] = f"{' and '.join(missing)} not installed"
        say(f"fit: {result['missing']['fit']}")
        return result
    path = image_file(folder, LAYOUTS["gzip"], settings.fit_rows)
    for number in range(settings.repeat):
        for way in WAYS:
            job = {
                "way": way,
                "path": str(path),
                "batch": settings.batch,
                "epochs": settings.fit_epochs,
                "memory": settings.fit_memory,
            }
            try:
                outcome = run_job("fit", job)
            except JobFailed as error:
                result["failed"].append({"way": way, "reason": str(error)})
                say(f"fit, {way}: FAILED, {error}")
                continue
            result["runs"].append({"way": way, "round": number, **outcome})
            say(f"fit, {way}: {outcome['epoch_seconds']} s an epoch")
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Trains according to a job; runs in a separate process."""
    os.environ["KERAS_BACKEND"] = BACKEND
    os.environ["JAX_PLATFORMS"] = "cpu"
    import keras

    class Clock(keras.callbacks.Callback):
        """Measures the seconds of each epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            self.start = perf_counter()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(perf_counter() - self.start)

    signal("ready")
    clock = Clock()
    keras.utils.set_random_seed(0)
    start = machine.Usage.now()
    options = {"epochs": job["epochs"], "verbose": 0, "callbacks": [clock]}
    history, report = WAYS[job["way"]](job, options)
    return {
        # Without the first epoch, which compiles.
        "epoch_seconds": [round(seconds, 4) for seconds in clock.seconds[1:]],
        "loss": history.history["loss"][-1],
        "report": report,
        **(machine.Usage.now() - start).to_dict(),
    }


def _fit_headrace(job: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    model, data = _model(job)
    loader = data.batch(job["batch"], shuffle=True, seed=0, memory=job["memory"])
    history = model.fit(loader, **options)
    return history, loader.report().to_dict()


def _fit_arrays(job: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    model, _ = _model(job)
    with h5py.File(job["path"], "r") as file:
        images, labels = file["image"][:], file["label"][:]
    history = model.fit(images, labels, batch_size=job["batch"], shuffle=True, **options)
    return history, {}


HEADRACE = "Headrace, gzip file"
ARRAYS = "NumPy arrays in RAM"
WAYS = {HEADRACE: _fit_headrace, ARRAYS: _fit_arrays}


def _model(job: dict[str, Any]) -> tuple[Any, Any]:
    """The baseline network that `headrace fit` builds for these images, and the data set."""
    import headrace as hr
    from headrace.baseline import build

    data = hr.from_hdf5(job["path"], x="image", y="label")
    return build(data), data
