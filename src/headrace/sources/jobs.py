"""Divides rows into jobs that one thread reads at a time."""

import itertools
from collections.abc import Iterator

import numpy as np

from headrace.sources.base import Arrays
from headrace.spec import Indices

JOB_BYTES = 1 << 20
"""About as much as one read produces: enough to hide the cost of handing it to a thread."""

MOST_JOB_BYTES = 1 << 22
JOBS = 16
"""Larger ones cost less, where there are enough of them to keep all threads busy to the end."""

_PIECE = 1 << 15
"""Rows whose blocks are worked out at a time."""


def cut_jobs(rows: Indices, row_bytes: int, block_rows: int = 1) -> Iterator[tuple[int, int]]:
    """Cuts ascending `rows` between blocks, into pieces `[start, stop)` of `JOB_BYTES` or more."""
    nbytes = min(max(JOB_BYTES, len(rows) * row_bytes // JOBS), MOST_JOB_BYTES)
    many = max(1, nbytes // row_bytes)
    if block_rows == 1:
        return itertools.pairwise([*range(0, len(rows), many), len(rows)] if len(rows) else [])
    offsets = block_ends(rows, block_rows)
    wanted = np.searchsorted(offsets, np.arange(many, len(rows) + many, many))
    cuts = np.unique(offsets[np.minimum(wanted, len(offsets) - 1)]).tolist()
    return itertools.pairwise([0, *cuts] if len(rows) else [])


def block_ends(rows: Indices, height: int) -> Indices:
    """Where among ascending rows those of one block end; worked out in pieces, to hold little."""
    found = []
    for start in range(0, len(rows), _PIECE):
        numbers = rows[start : start + _PIECE + 1] // height
        found.append(np.flatnonzero(numbers[1:] != numbers[:-1]) + (start + 1))
    return np.concatenate([*found, [len(rows)]])


def part_of(out: Arrays, start: int, stop: int) -> Arrays:
    """Rows `start .. stop - 1` of arrays."""
    return {name: array[start:stop] for name, array in out.items()}
