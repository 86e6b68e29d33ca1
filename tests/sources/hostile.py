"""A process that reads hostile files, with little memory: one line in, one line out.

`python -m tests.sources.hostile`; each line in is the path of a file, each line out says what came
of listing, opening and reading it.
"""

import json
import resource
import sys
import time
import warnings
from pathlib import Path

import headrace as hr
from headrace.errors import HeadraceError
from headrace.resources import peak_rss
from headrace.sources.hdf5 import list_datasets

MEMORY = 2 << 30
"""Bytes of address space that may be taken besides what is there at the start."""

BEARABLE, UNBEARABLE = 10**6, 10**12
"""Rows that can be read at once; between these a machine may be able to, and takes its time."""

BUDGET = "16MB"


def tried(outcomes, step, function):
    """Calls a function, and notes what came of it."""
    try:
        result = function()
    except (HeadraceError, MemoryError) as error:
        outcomes[step] = [type(error).__name__, str(error)]
        return None
    outcomes[step] = ["fine", repr(result)[:200]]
    return result


def total(batch):
    """What the values add up to; for compound ones, how many there are."""
    return batch[0].size if batch[0].dtype.names else batch[0].sum()


def look(path):
    """All that is done with a data set."""
    began = time.monotonic()
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_rss()
    outcomes = {}
    tried(outcomes, "list", lambda: len(list_datasets(path)))
    data = tried(outcomes, "open", lambda: hr.from_hdf5(path, x="x"))
    if data is not None:
        outcomes["path"] = [
            data.pipeline.view.read_paths()["x"].path,
            data.pipeline.view.read_paths()["x"].reason,
        ]
        tried(outcomes, "first", lambda: total(data[0]))
        tried(outcomes, "last", lambda: total(data[-1]))
        if not BEARABLE < len(data) < UNBEARABLE:
            tried(outcomes, "all", lambda: total(data[:]))
        tried(outcomes, "split", lambda: len(data.split(0.5, seed=0)))
        for shuffle in (False, True):
            step = "shuffled" if shuffle else "batch"
            tried(outcomes, step, lambda: next(iter(data.batch(2, shuffle=shuffle, memory=BUDGET))))  # noqa: B023
    outcomes["seconds"] = time.monotonic() - began
    outcomes["bytes"] = peak_rss() - before
    return outcomes


def main():
    """Answers until there is no more to read."""
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for line in sys.stdin:
        print(json.dumps(look(line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main()
