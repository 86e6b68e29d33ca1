"""A process that reads damaged files: one line in for each file, one line out with what came of it.

By itself, `python -m tests.fuzz.worker FOLDER`, it runs a finding once more.
"""

import ctypes
import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np

import headrace as hr
from headrace.errors import HeadraceError
from headrace.sources import value_bytes
from headrace.sources.hdf5 import list_datasets
from tests.files import libhdf5

# libhdf5 would use memory again that it has: what it makes up would be what it read last.
libhdf5().H5set_free_list_limits(*[0] * 6)
_libc = ctypes.CDLL(None)
_M_PERTURB = -6

# What libraries print must not get between the answers.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

MORE_MEMORY = 3 << 30
"""Bytes of address space that a file may make a process take."""

LARGEST = 32 << 20
"""Bytes that are read of a dataset; beyond, its first rows and its last."""

MOST_ROWS = 20_000


def judge(path, names, values, checked):
    """Reads a file in every way.

    Args:
        path: The file.
        names: Datasets to read besides those that it lists.
        values: By name, what a dataset held before it was damaged.
        checked: Whether only samples were damaged that have a checksum.

    Returns:
        A word for the outcome, and some more about it.
    """
    try:
        listed = list_datasets(path)[:5]
    except HeadraceError as error:
        _check_message(error)
        listed = []
    outcomes = {"refused": "no dataset"}
    for name in dict.fromkeys([*names, *listed]):
        outcome, words = _judge_dataset(path, name, values.get(name, values.get("data")), checked)
        outcomes[outcome] = words
    for outcome in ("wrong", "differs", "unstable", "better", "read", "error"):
        if outcome in outcomes:
            return outcome, outcomes[outcome]
    return "refused", outcomes["refused"]


def _judge_dataset(path, name, before, checked):
    _say("open")
    try:
        data = hr.from_hdf5(path, x=name)
    except HeadraceError as error:
        _check_message(error)
        return "refused", _short(error)
    row_bytes = max(1, data.spec.nbytes)
    most = min(MOST_ROWS, LARGEST // row_bytes)
    if not most:
        _epoch(data, None)
        return "refused", "rows too large to read here"
    n = len(data)
    rows = np.arange(n) if n <= most else np.r_[: most // 2, n - most // 2 : n]
    _say(f"read {data.pipeline.view.read_paths()[name].path}")
    # What libhdf5 makes up of fresh memory is something else each time.
    _perturb(0x33)
    try:
        ours = data[rows][0]
    except HeadraceError as error:
        _check_message(error)
        return "error", _short(error)
    kept = before is not None and _same(ours, before)
    if checked and not kept:
        return "wrong", f"{name}: other values than were written, in spite of the checksum"
    verdict = _compare(path, name, rows, n, ours, before)
    if verdict and verdict[0] == "differs" and kept:
        verdict = "better", f"{name}: what was written, unlike what h5py reads"
    if (verdict is None or kept) and n <= most:
        _say(f"read {data.pipeline.view.read_paths()[name].path}")
        verdict = _epoch(data, ours) or verdict
    return verdict or ("read", name)


def _compare(path, name, rows, n, ours, before):
    _say("compare")
    theirs = []
    for fresh in (0x11, 0x22):
        _perturb(fresh)
        theirs.append(_by_h5py(path, name, rows, ours.dtype))
    if isinstance(theirs[0], str):
        if len(rows) == n and _agrees_by_chunks(path, name, ours, before):
            return "better", f"{name}: what was written, where h5py reads nothing"
        return "differs", f"{name}: read, while h5py says {theirs[0]}"
    if _same(ours, theirs[0]):
        return None
    if isinstance(theirs[1], str) or not _same(*theirs):
        return "unstable", f"{name}: h5py reads what is in memory"
    found = ~_lost(path, name, theirs[0])
    if ours.shape == theirs[0].shape and _same(ours[found], theirs[0][found]):
        return "better", f"{name}: what h5py does not find, though it lists it"
    return "differs", f"{name}: other values than h5py reads"


def _agrees_by_chunks(path, name, ours, before):
    """Whether rows are those of h5py, and those that were written where h5py reads none."""
    with h5py.File(path, "r") as file:
        step = (file[name].chunks or (1,))[0]
    for start in range(0, len(ours), step):
        rows = np.arange(start, min(start + step, len(ours)))
        theirs = _by_h5py(path, name, rows, ours.dtype)
        if isinstance(theirs, str):
            if before is None or len(before) != len(ours):
                return False
            theirs = before[rows]
        if not _same(ours[rows], theirs):
            return False
    return True


def _lost(path, name, values):
    """Which elements of a chunked dataset h5py fills up.

    To find a chunk libhdf5 searches the index, and to list them all it walks through it: where a
    key is damaged, a chunk is listed but not found.
    """
    with h5py.File(path, "r") as file:
        dataset = file[name]
        if not dataset.chunks:
            return np.zeros(values.shape, np.bool_)
        try:
            fill = np.zeros((), values.dtype) + dataset.fillvalue
        except (RuntimeError, TypeError):
            fill = np.zeros((), values.dtype)  # undefined, or compound
        if values.dtype.kind != "V":
            return np.equal(values, fill)
        same = [value_bytes(value) == value_bytes(fill) for value in values.reshape(-1)]
        return np.reshape(same, values.shape)


def _same(ours, theirs):
    if ours.shape != theirs.shape or ours.dtype.newbyteorder("=") != theirs.dtype.newbyteorder("="):
        return False
    theirs = theirs.astype(ours.dtype, copy=False)
    if value_bytes(ours) == value_bytes(theirs):
        return True
    # Converting one NaN may give another.
    return ours.dtype.kind in "fc" and np.array_equal(ours, theirs, equal_nan=True)


def _by_h5py(path, name, rows, dtype):
    try:
        with h5py.File(path, "r") as file:
            runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
            found = np.concatenate([file[name][run[0] : run[-1] + 1] for run in runs])
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return found.astype(dtype, copy=False)


def _epoch(data, expected):
    """One shuffled epoch under a small budget: each row once."""
    try:
        loader = data.batch(7, shuffle=True, seed=0, memory=1 << 22, workers=2)
        got = [batch[0] for batch in loader] if expected is not None else []
    except HeadraceError as error:
        _check_message(error)
        return "error", _short(error)
    if expected is not None:
        got = np.concatenate(got)
        if sorted(map(value_bytes, got)) != sorted(map(value_bytes, expected)):
            if any(not _same(data[:][0], expected) for _ in range(5)):
                return "unstable", "other values each time"
            return "differs", "an epoch gave other rows"
    return None


def _perturb(value):
    """Has fresh memory filled with `value`."""
    if "MALLOC_PERTURB_" not in os.environ:
        _libc.mallopt(_M_PERTURB, value)


def _say(phase):
    """Says what comes next, so that it is known if it does not come back."""
    print(phase, file=_answers, flush=True)


def _check_message(error):
    assert str(error).isprintable(), repr(str(error))
    assert str(error), "an error without words"


def _short(error):
    return f"{type(error).__name__}: {str(error)[:300]}"


def _limit_memory():
    with open("/proc/self/statm") as file:  # noqa: PTH123 - shorter
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, used + MORE_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(job):
    """The outcome of one job, whatever happens short of a crash."""
    values = {}
    for name, path in job.get("values", {}).items():
        values[name] = np.load(path, allow_pickle=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return judge(job["path"], job.get("names", ["data"]), values, job.get("checked"))
    except Exception:  # noqa: BLE001 - any other exception is what is looked for
        return "raised", traceback.format_exc()


def kept_job(folder):
    """The job of a finding that was kept in a folder."""
    values = {path.stem: str(path) for path in folder.glob("*.values")}
    checked = "checked" in (folder / "what.txt").read_text().split("\n")[0]
    return {"path": str(folder / "data.h5"), "values": values, "checked": checked}


def main():
    """Runs one file, or what comes in line by line."""
    _limit_memory()
    if len(sys.argv) > 1:
        print(*run(kept_job(Path(sys.argv[1]))), sep=": ", file=_answers, flush=True)
        return
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=_answers, flush=True)


if __name__ == "__main__":
    main()
