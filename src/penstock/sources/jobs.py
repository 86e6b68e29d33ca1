"""Cuts rows into pieces that one thread reads at a time."""

import itertools
from collections.abc import Iterator

import numpy as np

from penstock.sources.base import Arrays
from penstock.spec import Indices

JOB_BYTES = 1 << 20
"""About as much as one read produces: enough to hide the cost of handing it to a thread."""

MOST_JOB_BYTES = 1 << 22
JOBS = 16
"""Larger ones cost less, where there are enough of them to keep all threads busy to the end."""


def cut_jobs(rows: Indices, row_bytes: int, block_rows: int = 1) -> Iterator[tuple[int, int]]:
    """Cuts ascending `rows` between blocks, into pieces `[start, stop)` of `JOB_BYTES` or more."""
    nbytes = min(max(JOB_BYTES, len(rows) * row_bytes // JOBS), MOST_JOB_BYTES)
    many = max(1, nbytes // row_bytes)
    if block_rows == 1:
        return itertools.pairwise([*range(0, len(rows), many), len(rows)] if len(rows) else [])
    edges = np.append(np.flatnonzero(np.diff(rows // block_rows)) + 1, len(rows))
    wanted = np.searchsorted(edges, np.arange(many, len(rows) + many, many))
    cuts = np.unique(edges[np.minimum(wanted, len(edges) - 1)]).tolist()
    return itertools.pairwise([0, *cuts] if len(rows) else [])


def part_of(out: Arrays, start: int, stop: int) -> Arrays:
    """Rows `start .. stop - 1` of arrays."""
    return {name: array[start:stop] for name, array in out.items()}
