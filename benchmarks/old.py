"""The old benchmark: loaders from Keras 2 tutorials, and their replacements."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.data import GZIP, Stored, image_file, made_once, make_images
from benchmarks.settings import Settings
from benchmarks.ways import PROCESSES, Batch, Epoch, Say, Way, WayJob, measure_ways

BATCH = 64
CLASSES = 10
CSV_FILES, CSV_ROWS, CSV_COLUMNS = 24, 4000, 20
PHOTOS, PHOTO_SIZE, IMAGE_SIZE = 768, 256, 64
ARRAY_ROWS = 50_048
FILE = Stored("tutorial", "gzip, chunks of 64 images", 64, GZIP)
FILE_ROWS = 20_032

WRITTEN = "as written"
WRITTEN_WORKERS = "as written, 2 worker processes"
THREADS = "from_sequence, threads"
MATRIX_BATCH, MATRIX_SHUFFLED = 'as written, shuffle="batch"', "sorted random rows"
SLOW = frozenset([MATRIX_SHUFFLED])


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Times each old loader as Keras runs it, and its replacements, on the same files."""
    job = WayJob(folder, settings.old_share, 0)
    for make in (_csv_files, _photo_files, _hdf5_file):
        make(job)
    return measure_ways("old", settings, folder, say, slow=SLOW)


def _rows(count: int, share: float) -> int:
    """A share of `count` rows, rounded to whole batches."""
    return BATCH * max(2, round(count * share / BATCH))


def _csv_files(job: WayJob) -> list[Path]:
    numbers = range(max(2, round(CSV_FILES * job.share)))
    folder = job.folder / "csv"
    return [made_once(folder / f"{n}.csv", partial(_write_csv, n)) for n in numbers]


def _photo_files(job: WayJob) -> list[Path]:
    numbers = range(_rows(PHOTOS, job.share))
    folder = job.folder / "photos"
    return [made_once(folder / f"{n}.jpg", partial(_write_photo, n)) for n in numbers]


def _hdf5_file(job: WayJob) -> Path:
    return image_file(job.folder, FILE, _rows(FILE_ROWS, job.share))


def _write_csv(number: int, path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(number)
    frame = pd.DataFrame(rng.normal(size=(CSV_ROWS, CSV_COLUMNS)).round(4))
    frame = frame.mask(rng.random(frame.shape) < 0.01)
    frame["label"] = rng.integers(0, CLASSES, CSV_ROWS)
    frame.to_csv(path, index=False)


def _write_photo(number: int, path: Path) -> None:
    from PIL import Image

    (image,) = make_images(number, 1, (PHOTO_SIZE, PHOTO_SIZE, 3))
    Image.fromarray(image).save(path, "jpeg", quality=90)


def _tutorial(name: str, *arguments: Any) -> Any:
    return getattr(import_module("tests.tutorials"), name)(*arguments)


def _csv(job: WayJob) -> Any:
    return _tutorial("CSVSequence", _csv_files(job), CLASSES)


def _photos(job: WayJob) -> Any:
    paths = _photo_files(job)
    return _tutorial("ImageSequence", paths, np.arange(len(paths)) % CLASSES, IMAGE_SIZE, BATCH)


def _arrays(job: WayJob) -> Batch:
    rows = _rows(ARRAY_ROWS, job.share)
    images = np.concatenate([make_images(n, 4096) for n in range(0, rows, 4096)])
    return images[:rows] / np.float32(255), np.arange(rows) % CLASSES


def _in_memory(job: WayJob) -> Any:
    return _tutorial("InMemoryLoader", *_arrays(job), BATCH)


def _hdf5(job: WayJob) -> Any:
    return _tutorial("HDF5Sequence", _hdf5_file(job), BATCH)


def _written(make: Any, job: WayJob, *, processes: bool = False) -> Epoch:
    """Iterates over a tutorial's loader with Keras' own code."""
    from benchmarks.by_keras import run_sequence

    options = {"workers": job.workers, "use_multiprocessing": True} if processes else {}
    return run_sequence(make(job), shuffle=True, **options)


def _from_sequence(make: Any, job: WayJob, *, processes: bool = False) -> Epoch:
    import headrace as hr

    loader = hr.from_sequence(
        make(job), workers=job.workers, processes=processes, shuffle=True, seed=0
    )
    return lambda: iter(loader)


def _from_arrays(job: WayJob) -> Epoch:
    import headrace as hr

    loader = hr.from_arrays(*_arrays(job)).batch(BATCH, shuffle=True, seed=0, workers=job.workers)
    return lambda: iter(loader)


def _from_hdf5(job: WayJob) -> Epoch:
    import headrace as hr

    data = hr.from_hdf5(_hdf5_file(job), x="image", y="label")
    data = data.map(lambda x, y: (x / np.float32(255), y))
    loader = data.batch(BATCH, shuffle=True, seed=0, memory="32MB", workers=job.workers)
    return lambda: iter(loader)


def _old_matrix(job: WayJob, *, shuffle: Any) -> Epoch:
    """Reads as `fit` of Keras 2 did: the rows of each batch, in ascending order."""
    file = h5py.File(_hdf5_file(job), "r")
    x, y = (_tutorial("HDF5Matrix", file[name]) for name in ("image", "label"))
    rng = np.random.default_rng(0)

    def epoch() -> Iterator[Batch]:
        rows = np.arange(len(x))
        if shuffle == "batch":
            rows = rng.permutation(rows.reshape(-1, BATCH)).reshape(-1)
        else:
            rng.shuffle(rows)
        for start in range(0, len(x), BATCH):
            chosen = sorted(rows[start : start + BATCH].tolist())
            yield x[chosen], y[chosen]

    return epoch


def _new_matrix(job: WayJob, *, shuffle: Any) -> Epoch:
    import headrace as hr
    from benchmarks.by_keras import run_arrays

    path = _hdf5_file(job)
    x, y = hr.HDF5Matrix(path, "image"), hr.HDF5Matrix(path, "label")
    return lambda: run_arrays(x=x, y=y, batch_size=BATCH, shuffle=shuffle)


def _ways(make: Any, **more: Way) -> dict[str, Way]:
    """All ways to run a Keras 2 `Sequence`."""
    return {
        WRITTEN: partial(_written, make),
        WRITTEN_WORKERS: partial(_written, make, processes=True),
        THREADS: partial(_from_sequence, make),
        PROCESSES: partial(_from_sequence, make, processes=True),
        **more,
    }


CASES: dict[str, dict[str, Way]] = {
    "CSV files": _ways(_csv),
    "image files": _ways(_photos),
    "arrays in memory": _ways(_in_memory, from_arrays=_from_arrays),
    "HDF5 slices": _ways(_hdf5, from_hdf5=_from_hdf5),
    "HDF5Matrix": {
        MATRIX_BATCH: partial(_old_matrix, shuffle="batch"),
        MATRIX_SHUFFLED: partial(_old_matrix, shuffle=True),
        'hr.HDF5Matrix, shuffle="batch"': partial(_new_matrix, shuffle="batch"),
        "hr.HDF5Matrix, shuffle=True": partial(_new_matrix, shuffle=True),
    },
}
