"""The write benchmark: `create`, compared with h5py and with plain system calls."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.data import LAYOUTS, ROW_BYTES, SHAPE, image_file, row_checksums, row_numbers
from benchmarks.process import JobFailed, run_job
from benchmarks.settings import Settings
from benchmarks.worker import Signal

PLAIN = "pwrite, and fsync at the end"
GROWING, FIXED = "Headrace create", "Headrace create, length="
CONTIGUOUS, RESIZED = "h5py, contiguous", "h5py, chunks of 64, resized"
ROW_SHARE = 10
"""The case "row by row" writes only the first `1 / ROW_SHARE` of the images."""

CHUNK_ROWS = 64
FIELDS = {"image": (SHAPE, "uint8"), "label": "int64"}

Say = Callable[[str], None]
Array = npt.NDArray[Any]
Batches = Iterator[tuple[slice, Array, Array]]


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Times all ways of all cases in turn, for `settings.repeat` rounds.

    Returns:
        `runs`, with the seconds of the whole and of closing the file; `skipped`; `failed`.
    """
    result: dict[str, Any] = {"runs": [], "failed": []}
    image_file(folder, LAYOUTS["contiguous"], settings.rows)
    chosen = [name for name in CASES if not settings.cases or name in settings.cases]
    result["skipped"] = {name: "not asked for" for name in CASES if name not in chosen}
    for number in range(settings.repeat):
        for case in chosen:
            # Each round begins with another way, since the first may find the disk idle or busy.
            turn = number % len(WAYS)
            for way in [*list(WAYS)[turn:], *list(WAYS)[:turn]]:
                about = {"case": case, "way": way, "round": number}
                size = {"rows": settings.rows, "batch": settings.batch, "folder": str(folder)}
                try:
                    run = run_job("write", {**about, **size})
                except JobFailed as error:
                    result["failed"].append({**about, "reason": str(error)})
                    say(f"{case}, {way}: FAILED, {error}")
                    continue
                result["runs"].append({**about, **run})
                say(f"{case}, {way}: {run['bytes'] / run['seconds'] / 1e6:,.0f} MB/s")
    return result


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Measures one way; runs in a separate process."""
    import headrace.creating.writer  # noqa: F401 - imports are not timed

    step = CASES[job["case"]] or job["batch"]
    rows = job["rows"] if step > 1 else job["rows"] // ROW_SHARE
    with h5py.File(image_file(Path(job["folder"]), LAYOUTS["contiguous"], job["rows"])) as file:
        images, labels, checksums = (file[n][:rows] for n in ("image", "label", "checksum"))

    def batches() -> Batches:
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            yield part, images[part], labels[part]

    with tempfile.TemporaryDirectory(dir=job["folder"]) as temporary:
        target = Path(temporary) / "out.h5"
        signal("ready")
        start = perf_counter()
        end = WAYS[job["way"]](target, rows, batches())
        written = perf_counter()
        end()
        done = perf_counter()
        signal("done")
        nbytes = rows * (ROW_BYTES + labels.itemsize)
        if job["way"] == PLAIN:
            if target.stat().st_size != nbytes:
                raise AssertionError(f"{target.stat().st_size} bytes were written of {nbytes}")
        else:
            _check(target, labels, checksums)
    return {"seconds": done - start, "end_seconds": done - written, "bytes": nbytes, "rows": rows}


def _plain(target: Path, rows: int, batches: Batches) -> Callable[[], None]:
    """Writes the same number of bytes with `pwrite`: all images, then all labels."""
    file = os.open(target, os.O_RDWR | os.O_CREAT)
    # Without it, writing takes twice as long: each label would extend the file past a hole.
    os.ftruncate(file, rows * (ROW_BYTES + 8))
    for part, images, labels in batches:
        os.pwrite(file, images.data, part.start * ROW_BYTES)
        os.pwrite(file, labels.data, rows * ROW_BYTES + part.start * labels.itemsize)

    def end() -> None:
        os.fsync(file)
        os.close(file)

    return end


def _growing(target: Path, _: int, batches: Batches) -> Callable[[], None]:
    return _create(target, None, batches)


def _fixed(target: Path, rows: int, batches: Batches) -> Callable[[], None]:
    return _create(target, rows, batches)


def _create(target: Path, length: int | None, batches: Batches) -> Callable[[], None]:
    import headrace as hr

    writer = hr.create(target, FIELDS, length)
    for _part, images, labels in batches:
        writer.write((images, labels))
    return writer.close


def _contiguous(target: Path, rows: int, batches: Batches) -> Callable[[], None]:
    """Writes contiguous datasets of known length, as tutorials do."""
    file = h5py.File(target, "w")
    image = file.create_dataset("image", (rows, *SHAPE), "uint8")
    label = file.create_dataset("label", (rows,), "int64")
    for part, images, labels in batches:
        image[part] = images
        label[part] = labels
    return lambda: _close(file, target)


def _resized(target: Path, _: int, batches: Batches) -> Callable[[], None]:
    """Writes datasets of unknown length, which are resized for each batch."""
    file = h5py.File(target, "w")
    more = {"maxshape": (None, *SHAPE), "chunks": (CHUNK_ROWS, *SHAPE)}
    image = file.create_dataset("image", (0, *SHAPE), "uint8", **more)
    label = file.create_dataset("label", (0,), "int64", maxshape=(None,), chunks=(1 << 14,))
    for part, images, labels in batches:
        image.resize(part.stop, axis=0)
        label.resize(part.stop, axis=0)
        image[part] = images
        label[part] = labels
    return lambda: _close(file, target)


def _close(file: h5py.File, target: Path) -> None:
    """Closes the file and calls fsync, as all other ways do."""
    file.close()
    descriptor = os.open(target, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


WAYS: dict[str, Callable[[Path, int, Batches], Callable[[], None]]] = {
    PLAIN: _plain,
    GROWING: _growing,
    FIXED: _fixed,
    CONTIGUOUS: _contiguous,
    RESIZED: _resized,
}
CASES = {"batches": None, "row by row": 1}
"""Number of rows in a write; None for `settings.batch`."""


def _check(target: Path, labels: Array, checksums: Array) -> None:
    """Checks that every image is in its row, undamaged and with its label."""
    with h5py.File(target) as file:
        image = file["image"]
        if len(image) != len(labels) or (file["label"][:] != labels).any():
            raise AssertionError("rows are missing, or came with labels of others")
        for start in range(0, len(labels), 4096):
            some = image[start : start + 4096]
            rows = np.arange(start, start + len(some))
            if (row_checksums(some) != checksums[rows]).any() or (row_numbers(some) != rows).any():
                raise AssertionError("images came with other bytes, or in another order")


def rows_of(part: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Table rows for each way: MB/s, images a second, milliseconds to close, ratio to `pwrite`.

    Ratios are taken within a round, since a disturbance affects all runs of a round.
    """
    for case in CASES:
        runs = [run for run in part["runs"] if run["case"] == case]
        least = {run["round"]: run["seconds"] for run in runs if run["way"] == PLAIN}
        for way in WAYS:
            found = [run for run in runs if run["way"] == way]
            if not found:
                continue
            speeds = [run["bytes"] / run["seconds"] / 1e6 for run in found]
            shares = [least[r["round"]] / r["seconds"] for r in found if r["round"] in least]
            yield (
                f"{case}: {way}",
                f"{median(speeds):,.0f}",
                f"{min(speeds):,.0f} - {max(speeds):,.0f}",
                f"{median(run['rows'] / run['seconds'] for run in found):,.0f}",
                f"{median(run['end_seconds'] for run in found) * 1e3:,.0f}",
                f"{median(shares):.2f} ({min(shares):.2f} - {max(shares):.2f})" if shares else "-",
            )
