"""The pack benchmark: packing, compared with only reading and only writing."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import numpy as np

from benchmarks import machine
from benchmarks.data import LAYOUTS, ROW_BYTES, image_file, row_checksums, row_numbers
from benchmarks.process import JobFailed, run_job
from benchmarks.quality import shuffle_quality
from benchmarks.settings import Settings
from benchmarks.worker import Signal

READ, WRITE, PACK, BY_HAND = "read alone", "write alone", "Headrace pack", "h5py, by hand"
FIELDS = ("image", "label")
HAND_ROWS = 256
TIMES = 3
BLOCK = 64

Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """An input and the options to pack it with.

    Attributes:
        layout: Layout of the input file; None for arrays in memory.
        options: Options of `pack`.
        ways: The ways to measure.
    """

    layout: str | None
    options: dict[str, Any]
    ways: tuple[str, ...] = (READ, WRITE, PACK)


CASES = {
    "gzip to contiguous": Case("gzip", {}, (READ, WRITE, PACK, BY_HAND)),
    "contiguous to contiguous": Case("contiguous", {}),
    "arrays to contiguous": Case(None, {}),
    "gzip to shards": Case("gzip", {"shard_size": "256MB"}),
    "gzip to gzip": Case("gzip", {"compression": "gzip"}, (READ, WRITE, PACK, BY_HAND)),
    "arrays to zstd": Case(None, {"compression": "zstd"}),
    "gzip to contiguous, random order": Case("gzip", {"shuffle": True, "seed": 0}, (PACK,)),
}

EPOCHS = "training"
ORIGINAL, PACKED, PACKED_GZIP = "the gzip file", "packed", "packed, gzip"
MIXED = "packed in a random order, read in order"
QUALITY = "quality"


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Times all ways of all cases for `settings.repeat` rounds; then measures shuffle quality."""
    result: dict[str, Any] = {"runs": [], "missing": {}, "skipped": {}, "failed": []}
    for layout in ("gzip", "contiguous"):
        image_file(folder, LAYOUTS[layout], settings.rows)
    chosen = [name for name in (*CASES, EPOCHS) if not settings.cases or name in settings.cases]
    result["skipped"] = {name: "not asked for" for name in CASES if name not in chosen}
    for number in range(settings.repeat):
        for case in chosen:
            for ways in _together(case):
                _note(result, settings, folder, say, ways, case=case, round=number)
    image_file(folder, LAYOUTS["gzip"], settings.rows, sort=True)
    _note(result, settings, folder, say, [MIXED], case=QUALITY, round=0)
    return result


def _together(case: str) -> list[list[str]]:
    """The ways of a case, grouped by process: ways that are compared alternate in one process."""
    if case == EPOCHS:
        return [[way] for way in WAYS]
    ways = CASES[case].ways
    return [[way for way in ways if way != BY_HAND], *([BY_HAND] for way in ways if way == BY_HAND)]


def _note(
    result: dict[str, Any],
    settings: Settings,
    folder: Path,
    say: Say,
    ways: list[str],
    **about: Any,
) -> None:
    job = {
        **about,
        "ways": ways,
        "folder": str(folder),
        "rows": settings.rows,
        "batch": settings.batch,
        "memory": settings.pack_memory,
    }
    try:
        found = run_job("pack", job)
    except JobFailed as error:
        result["failed"].append({**about, "way": ", ".join(ways), "reason": str(error)})
        say(f"{about['case']}, {', '.join(ways)}: FAILED, {error}")
        return
    for way, run in found.items():
        result["runs"].append({**about, "way": way, **run})
        shown = f"{run['bytes'] / run['seconds'] / 1e6:,.0f} MB/s" if "seconds" in run else str(run)
        say(f"{about['case']}, {way}: {shown}")


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Runs some ways of a case in a separate process; returns the measurements of each."""
    import headrace.packing.run  # noqa: F401 - imports are not timed

    with tempfile.TemporaryDirectory(dir=job["folder"]) as temporary:
        target = Path(temporary) / "out"
        if job["case"] == QUALITY:
            return _quality(job, target, signal)
        if job["case"] == EPOCHS:
            return _epochs(job, target, signal)
        return _timed(job, CASES[job["case"]], target, signal)


def _timed(job: dict[str, Any], case: Case, target: Path, signal: Signal) -> dict[str, Any]:
    held = None if case.layout is None else machine.fill_page_cache(_path(job, case.layout))
    actions = {READ: _read, WRITE: _write, PACK: _pack, BY_HAND: _by_hand}
    begins = {way: actions[way](job, case, target) for way in job["ways"]}
    slow = BY_HAND in begins
    # An untimed run first, since the first run has to allocate memory.
    for begin in () if slow else begins.values():
        begin()
        _remove(target)
    signal("ready")
    seconds: dict[str, list[float]] = {way: [] for way in begins}
    for _ in range(1 if slow else TIMES):
        for way, begin in begins.items():
            _remove(target)
            start = perf_counter()
            begin()
            seconds[way].append(perf_counter() - start)
    del held
    # The output of the last run still exists.
    _check(job, target)
    return {way: _speed(job, median(times)) for way, times in seconds.items()}


def _speed(job: dict[str, Any], seconds: float) -> dict[str, float]:
    return {"seconds": seconds, "bytes": job["rows"] * (ROW_BYTES + 8)}


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _path(job: dict[str, Any], layout: str, sort: bool = False) -> Path:
    return image_file(Path(job["folder"]), LAYOUTS[layout], job["rows"], sort)


def _data(job: dict[str, Any], case: Case) -> Any:
    import headrace as hr

    if case.layout is not None:
        return hr.from_hdf5(_path(job, case.layout), x="image", y="label")
    return hr.from_arrays(*_arrays(job))


def _arrays(job: dict[str, Any]) -> list[Any]:
    with h5py.File(_path(job, "contiguous")) as file:
        return [file[name][:] for name in FIELDS]


def _read(job: dict[str, Any], case: Case, _: Path) -> Callable[[], None]:
    """Reads every row once, in order, in pieces of the size that `pack` uses."""
    from headrace.loading import Loader

    rows = (1 << 20) // (ROW_BYTES + 8)
    data = _data(job, case)

    def begin() -> None:
        for _ in Loader(data.pipeline.view, dict, rows, memory=job["memory"], keep=False):
            pass

    return begin


def _write(job: dict[str, Any], case: Case, target: Path) -> Callable[[], None]:
    """Writes arrays in memory: encodes in threads, writes, and calls fsync."""
    from headrace.packing.plan import make_plan
    from headrace.spec import Field
    from headrace.writing import FileWriter

    arrays = dict(zip(FIELDS, _arrays(job), strict=True))
    options = {"compression": case.options.get("compression"), "level": None, "chunk": None}
    more = {"dtype": None, "allow_loss": False, "shard_size": None, "seed": None, "names": None}
    plan = make_plan(_data(job, Case(None, {})), **options, **more)
    fields = [Field(name, array.shape[1:], array.dtype) for name, array in arrays.items()]

    def encoded(row: int) -> dict[str, Any]:
        stop = row + plan.piece_rows
        return {name: plan.storage.encode(array[row:stop]) for name, array in arrays.items()}

    def begin() -> None:
        with FileWriter(target, fields, job["rows"], plan.storage) as writer:
            for row, piece in _ahead(encoded, range(0, job["rows"], plan.piece_rows)):
                writer.put(row, piece)
        _sync(target)

    return begin


def _ahead(encoded: Callable[[int], Any], rows: range) -> Iterator[tuple[int, Any]]:
    """Pairs of row and `encoded(row)`, in order, computed ahead in threads."""
    count = len(machine.cores())
    with ThreadPoolExecutor(count) as threads:
        waiting = [threads.submit(encoded, row) for row in rows[: 4 * count]]
        for number, row in enumerate(rows):
            yield row, waiting[number].result()
            waiting[number] = None  # type: ignore[call-overload]
            if number + 4 * count < len(rows):
                waiting.append(threads.submit(encoded, rows[number + 4 * count]))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _pack(job: dict[str, Any], case: Case, target: Path) -> Callable[[], None]:
    import headrace as hr

    data = _data(job, case)
    names = None if case.layout else {"x": "image", "y": "label"}
    return lambda: hr.pack(data, target, memory=job["memory"], names=names, **case.options)


def _by_hand(job: dict[str, Any], case: Case, target: Path) -> Callable[[], None]:
    """Copies slices from one file to another with h5py, as users do without Headrace."""
    chunked = bool(case.options)
    source = _path(job, str(case.layout))

    def begin() -> None:
        with h5py.File(source) as old, h5py.File(target, "w") as new:
            for name in FIELDS:
                more = {"chunks": (BLOCK, *old[name].shape[1:])} if chunked else {}
                made = new.create_dataset(
                    name, old[name].shape, old[name].dtype, **more, **case.options
                )
                for row in range(0, job["rows"], HAND_ROWS):
                    made[row : row + HAND_ROWS] = old[name][row : row + HAND_ROWS]
        _sync(target)

    return begin


def _check(job: dict[str, Any], target: Path, sort: bool = False) -> None:
    """Checks that the output has every image exactly once, undamaged and with its label."""
    import headrace as hr

    with h5py.File(_path(job, "gzip", sort)) as file:
        checksums, classes = file["checksum"][:], file["label"][:]
    seen = np.zeros(job["rows"], np.int64)
    for images, labels in hr.open(target, x="image", y="label").batch(4096):
        rows = row_numbers(images).astype(np.int64)
        seen[rows] += 1
        if (row_checksums(images) != checksums[rows]).any() or (labels != classes[rows]).any():
            raise AssertionError("images came with other bytes, or with labels of other rows")
    if not (seen == 1).all():
        raise AssertionError(f"{int((seen != 1).sum())} rows are missing or came twice")


def _epochs(job: dict[str, Any], target: Path, signal: Signal) -> dict[str, Any]:
    """Times a shuffled epoch from the original or the packed file."""
    import headrace as hr

    data = hr.from_hdf5(_path(job, "gzip"), x="image", y="label")
    (way,) = job["ways"]
    if way != ORIGINAL:
        data = hr.pack(data, target, memory=job["memory"], **WAYS[way])
    loader = data.batch(job["batch"], shuffle=True, seed=0, memory=job["memory"])
    for _ in loader:
        pass
    signal("ready")
    start = perf_counter()
    sums = sum(len(labels) for _, labels in loader)
    seconds = perf_counter() - start
    if sums != job["rows"]:
        raise AssertionError(f"an epoch had {sums} rows of {job['rows']}")
    return {way: _speed(job, seconds)}


WAYS: dict[str, dict[str, Any]] = {
    ORIGINAL: {},
    PACKED: {},
    PACKED_GZIP: {"compression": "gzip"},
}
"""The files to train from, and the options that they were packed with."""


def _quality(job: dict[str, Any], target: Path, signal: Signal) -> dict[str, Any]:
    """Shuffle quality in row order of a file that `pack(shuffle=True)` made of sorted classes."""
    import headrace as hr

    data = hr.from_hdf5(_path(job, "gzip", sort=True), x="image", y="label")
    signal("ready")
    packed = hr.pack(data, target, memory=job["memory"], shuffle=True, seed=0)
    rows, labels = [], []
    for images, classes in packed.batch(job["batch"]):
        rows.append(row_numbers(images).astype(np.int64))
        labels.append(classes)
    _check(job, target, sort=True)
    order = np.concatenate(rows), np.concatenate(labels)
    return {MIXED: shuffle_quality(*order, job["rows"], job["batch"], BLOCK)}


def speeds_of(runs: list[dict[str, Any]], case: str) -> dict[str, dict[int, float]]:
    """MB/s by round, for each way of a case."""
    found: dict[str, dict[int, float]] = {}
    for run in runs:
        if run["case"] == case:
            speed = run["bytes"] / run["seconds"] / 1e6
            found.setdefault(run["way"], {})[run["round"]] = speed
    return found


def shares_of(found: dict[str, dict[int, float]], way: str) -> list[float]:
    """Speed of a way in each round, relative to its reference.

    The reference is the slower of reading and writing for packing, and the original file for
    training.
    """
    if way in (PACK, BY_HAND) and READ in found:
        least = {number: min(found[READ][number], found[WRITE][number]) for number in found[READ]}
    elif way in (PACKED, PACKED_GZIP):
        least = found.get(ORIGINAL, {})
    else:
        return []
    return [speed / least[number] for number, speed in found[way].items() if number in least]
