"""Divides rows into jobs that one thread reads at a time."""

import itertools
from collections.abc import Iterator

import numpy as np

from headrace.sources.base import Arrays
from headrace.spec import Indices

JOB_BYTES = 1 << 20
"""Bytes that a job produces at least: enough to outweigh the cost of passing it to a thread."""

MOST_JOB_BYTES = 1 << 22
JOBS = 16
"""Jobs grow up to `MOST_JOB_BYTES` while at least `JOBS` of them remain to keep threads busy."""

_PIECE = 1 << 15
"""Rows that `block_ends` handles at a time, to bound its memory."""


def cut_jobs(rows: Indices, row_bytes: int, block_rows: int = 1) -> Iterator[tuple[int, int]]:
    """Cuts ascending `rows` at block edges into jobs `[start, stop)` of `JOB_BYTES` or more."""
    nbytes = min(max(JOB_BYTES, len(rows) * row_bytes // JOBS), MOST_JOB_BYTES)
    many = max(1, nbytes // row_bytes)
    if block_rows == 1:
        return itertools.pairwise([*range(0, len(rows), many), len(rows)] if len(rows) else [])
    offsets = block_ends(rows, block_rows)
    wanted = np.searchsorted(offsets, np.arange(many, len(rows) + many, many))
    cuts = np.unique(offsets[np.minimum(wanted, len(offsets) - 1)]).tolist()
    return itertools.pairwise([0, *cuts] if len(rows) else [])


def block_ends(rows: Indices, height: int) -> Indices:
    """The index after the last row of each block, among ascending rows; int64."""
    found = []
    for start in range(0, len(rows), _PIECE):
        numbers = rows[start : start + _PIECE + 1] // height
        found.append(np.flatnonzero(numbers[1:] != numbers[:-1]) + (start + 1))
    return np.concatenate([*found, [len(rows)]])


def part_of(out: Arrays, start: int, stop: int) -> Arrays:
    """Views of rows `start` to `stop - 1` of the arrays."""
    return {name: array[start:stop] for name, array in out.items()}
