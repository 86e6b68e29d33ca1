"""The stats benchmark: statistics of images and of a table, by several libraries."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks import machine
from benchmarks.data import LAYOUTS, image_file, made_once
from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

Say = Callable[[str], None]
Numbers = dict[str, npt.NDArray[np.float64]]
"""Mean, std, min, max and quantiles of each channel, or of each column of the table."""

IMAGES, TABLE = "gzip images", "float32 table"
COLUMNS, TABLE_ROWS = 28, 10
"""Columns of the table, and its number of rows as a multiple of the number of images."""

QUANTILES = (0.05, 0.5, 0.95)
TOLERANCE = {"mean": 1e-4, "std": 1e-4, "min": 1e-6, "max": 1e-6, "quantiles": 0.02}
"""Allowed errors in standard deviations. Some libraries only approximate quantiles."""

QUANTILE_ERROR = 0.004
"""Allowed error of a quantile as a share of its value, if that is larger."""

HEADRACE = "Headrace stats"
NUMPY = "NumPy, array in RAM"
LOOP = "h5py and NumPy, a loop"
DASK = "dask.array over h5py"
POLARS = "polars, array in RAM"
NEEDS = {HEADRACE: "headrace", DASK: "dask", POLARS: "polars"}
CASES = {
    IMAGES: (HEADRACE, LOOP, DASK, NUMPY),
    TABLE: (HEADRACE, LOOP, DASK, POLARS, NUMPY),
}


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Times all libraries in turn; a result that differs from NumPy's is a failure."""
    result: dict[str, Any] = {"runs": [], "missing": {}, "skipped": {}, "failed": []}
    for number in range(settings.repeat):
        for case, ways in CASES.items():
            if settings.cases and case not in settings.cases:
                result["skipped"][case] = "not asked for"
                continue
            path = _file(case, folder, settings.rows)
            expected = _of_numpy(_load(path))
            for way in ways:
                library = NEEDS.get(way)
                if library and find_spec(library) is None:
                    result["missing"][way] = f"{library} not installed"
                    continue
                about = {"case": case, "way": way}
                job = {**about, "path": str(path), "memory": settings.stats_memory}
                try:
                    run = run_job("stats", {**job, "seconds": settings.seconds})
                    check(run.pop("numbers"), expected)
                except JobFailed as error:
                    result["failed"].append({**about, "reason": str(error)})
                    say(f"{case}, {way}: FAILED, {error}")
                    continue
                result["runs"].append({**about, "round": number, **run})
                say(f"{case}, {way}: {run['bytes_per_second'] / 1e9:.2f} GB/s")
    return result


def check(found: dict[str, Any], expected: Numbers) -> None:
    """Compares statistics with the expected ones.

    Raises:
        JobFailed: If a statistic is not within the tolerance; names it.
    """
    for name, values in expected.items():
        if name not in found:
            continue
        error = np.abs(np.array(found[name]) - values)
        allowed = TOLERANCE[name] * expected["std"]
        if name == "quantiles":
            allowed = np.maximum(allowed, QUANTILE_ERROR * np.abs(values))
        if not (error <= allowed).all():
            worst = (error / expected["std"]).max()
            raise JobFailed(f"{name} is off by {worst:.2g} standard deviations")


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Computes the statistics in one way; runs in a separate process."""
    path, memory = Path(job["path"]), job["memory"]
    work = WAYS[job["way"]](path, memory)
    with h5py.File(path, "r") as file:
        rows, nbytes = len(file["image"]), file["image"].nbytes
    signal("ready")
    numbers = work()
    times = 0
    start = machine.Usage.now()
    begin = perf_counter()
    while not times or perf_counter() - begin < job["seconds"]:
        work()
        times += 1
    used = machine.Usage.now() - start
    return {
        "rows": rows,
        "times": times,
        "numbers": {name: np.asarray(values).tolist() for name, values in numbers.items()},
        "samples_per_second": rows * times / used.wall,
        "bytes_per_second": nbytes * times / used.wall,
        **used.to_dict(),
    }


def _file(case: str, folder: Path, rows: int) -> Path:
    if case == IMAGES:
        return image_file(folder, LAYOUTS["gzip"], rows)
    rows *= TABLE_ROWS
    return made_once(folder / f"table-{rows}.h5", lambda path: _write_table(path, rows))


def _write_table(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        table = file.create_dataset("image", (rows, COLUMNS), np.float32)
        for start in range(0, rows, 1 << 16):
            shape = (min(1 << 16, rows - start), COLUMNS)
            values = rng.standard_normal(shape, np.float32) + np.arange(COLUMNS, dtype=np.float32)
            values[:, ::3] = np.exp(values[:, ::3] / 10)
            table[start : start + shape[0]] = values


def _load(path: Path) -> npt.NDArray[Any]:
    """The whole dataset as an array `(values, channels)`."""
    with h5py.File(path, "r") as file:
        array: npt.NDArray[Any] = file["image"][:]
    return array.reshape(-1, array.shape[-1])


def _of_numpy(array: npt.NDArray[Any]) -> Numbers:
    return {
        "mean": array.mean(axis=0, dtype=np.float64),
        "std": array.std(axis=0, dtype=np.float64),
        "min": array.min(axis=0).astype(np.float64),
        "max": array.max(axis=0).astype(np.float64),
        "quantiles": np.stack(
            [
                np.quantile(column, QUANTILES, method="inverted_cdf").astype(np.float64)
                for column in array.T
            ],
            axis=1,
        ),
    }


def _numpy(path: Path, _: str) -> Callable[[], Numbers]:
    array = _load(path)
    return lambda: _of_numpy(array)


def _headrace(path: Path, memory: str) -> Callable[[], Numbers]:
    import headrace as hr

    def work() -> Numbers:
        data = hr.from_hdf5(path, x="image")
        channels = hr.stats(data, memory=memory, workers=len(machine.cores()))["image"].channels
        found = {
            name: np.array([getattr(one, name) for one in channels], np.float64)
            for name in ("mean", "std", "min", "max")
        }
        quantiles = [[one.quantiles[share] for one in channels] for share in QUANTILES]
        return {**found, "quantiles": np.array(quantiles, np.float64)}

    return work


def _loop(path: Path, _: str) -> Callable[[], Numbers]:
    """A simple loop with sums over slices, without quantiles."""

    def work() -> Numbers:
        with h5py.File(path, "r") as file:
            images = file["image"]
            channels = images.shape[-1]
            sums, squares = np.zeros((2, channels))
            low, high = np.full(channels, np.inf), np.full(channels, -np.inf)
            step = max(1, (1 << 22) // (images.nbytes // len(images)) // 64 * 64)
            for start in range(0, len(images), step):
                values = images[start : start + step].reshape(-1, channels).astype(np.float64)
                sums += values.sum(axis=0)
                squares += (values**2).sum(axis=0)
                low, high = (
                    np.minimum(low, values.min(axis=0)),
                    np.maximum(high, values.max(axis=0)),
                )
            count = images.size / channels
        mean = sums / count
        std = np.sqrt(squares / count - mean**2)
        return {"mean": mean, "std": std, "min": low, "max": high}

    return work


def _dask(path: Path, _: str) -> Callable[[], Numbers]:
    import dask
    import dask.array as da

    def work() -> Numbers:
        with h5py.File(path, "r") as file:
            images = file["image"]
            rows = max(64, (1 << 25) // (images.nbytes // len(images)) // 64 * 64)
            array = da.from_array(images, chunks=(rows, *images.shape[1:]))
            array = array.reshape(-1, images.shape[-1])
            columns = [array[:, i] for i in range(images.shape[-1])]
            shares = [100 * share for share in QUANTILES]
            # 64-bit sums for mean and std; "nearest", since interpolated percentiles of integers
            # would not be values of the data.
            floats = array.astype(np.float64)
            found = dask.compute(
                floats.mean(axis=0),
                floats.std(axis=0),
                array.min(axis=0),
                array.max(axis=0),
                *(da.percentile(column, shares, method="nearest") for column in columns),
                scheduler="threads",
                num_workers=len(machine.cores()),
            )
        mean, std, low, high, *quantiles = found
        return {
            "mean": mean,
            "std": std,
            "min": low.astype(np.float64),
            "max": high.astype(np.float64),
            "quantiles": np.stack(quantiles, axis=1).astype(np.float64),
        }

    return work


def _polars(path: Path, _: str) -> Callable[[], Numbers]:
    import polars as pl

    frame = pl.from_numpy(_load(path))

    def work() -> Numbers:
        every = pl.all().cast(pl.Float64)
        wanted = {
            "mean": [every.mean()],
            "std": [every.std(ddof=0)],
            "min": [pl.all().min()],
            "max": [pl.all().max()],
            "quantiles": [pl.all().quantile(share, "nearest") for share in QUANTILES],
        }
        lazy = frame.lazy()
        order = [lazy.select(one) for group in wanted.values() for one in group]
        rows = [np.array(one.row(0), np.float64) for one in pl.collect_all(order)]
        return {
            **dict(zip(list(wanted)[:4], rows[:4], strict=True)),
            "quantiles": np.stack(rows[4:]),
        }

    return work


WAYS: dict[str, Callable[[Path, str], Callable[[], Numbers]]] = {
    HEADRACE: _headrace,
    LOOP: _loop,
    DASK: _dask,
    POLARS: _polars,
    NUMPY: _numpy,
}
