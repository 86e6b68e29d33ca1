"""Shares one byte budget among everything that holds samples."""

from dataclasses import dataclass

import numpy as np

from penstock.errors import MemoryBudgetError
from penstock.loading.view import View
from penstock.resources import format_bytes
from penstock.spec import Field

WINDOWS = 3 / 4
"""Share of the budget for windows: one that holds everything, or two, one filled while the other
empties."""

AHEAD = 1 / 8
"""Share for batches that are ready before they are asked for."""

RESIDENT = 1 / 16
"""Share for fields that are small enough to stay in memory as a whole."""

AHEAD_BYTES = 6_000_000
"""More than this is never ready ahead: the next window is read anyway, and memory that is
used again soon is still in the processor's cache."""

INDEX_BYTES = 16
"""Bytes a row for its position and its place in the order of a window."""


@dataclass(frozen=True)
class Budget:
    """What each part of a loader may hold.

    The windows depend on the budget alone, so that the order depends neither on
    the number of workers nor on timing; what is left decides how many workers may
    decode at a time.

    Attributes:
        total: Bytes in all.
        resident: Names of the fields that stay in memory as a whole; all, if all fit.
        row_by_row: Whether every field that is not resident is read row by row.
        capacity: Rows that one window may hold, where whole blocks are read.
        ahead: Bytes of batches ready before they are asked for, or being made.
        workers: How many threads may read and decode at a time.
    """

    total: int
    resident: tuple[str, ...]
    row_by_row: bool
    capacity: int
    ahead: int
    workers: int


def share(view: View, batch_size: int, total: int, workers: int, exact: bool) -> Budget:
    """Shares `total` bytes for batches of `batch_size` rows of `view`.

    Args:
        view: The rows, at least one.
        batch_size: Rows in a batch.
        total: Bytes.
        workers: Threads that were asked for.
        exact: Whether rows are read one by one even where that costs a block each.

    Raises:
        MemoryBudgetError: If it is too little; says the least that works.
    """
    fields = view.fields
    row = sum(field.nbytes for field in fields)
    batch = batch_size * row
    resident = _resident(fields, len(view), total)
    others = [field.name for field in fields if field.name not in resident]
    row_by_row = not others or exact or view.addressable(others)
    scratch = view.scratch([field.name for field in fields])
    largest = 0 if row_by_row else int(np.diff(view.edges(others)).max())
    beside = (2 * batch + scratch) / (1 - WINDOWS - RESIDENT)
    least = int(max(2 * largest * (row + INDEX_BYTES) / WINDOWS, beside)) + 1
    if total < least:
        blocks = f", and the largest block holds {largest} rows" if largest else ""
        raise MemoryBudgetError(
            f"memory={format_bytes(total)} is too little: a batch of {batch_size} rows takes "
            f"{format_bytes(batch)}{blocks}. The least that works here is memory={least}."
        )
    ahead = max(min(int(total * AHEAD), AHEAD_BYTES), 2 * batch)
    rest = int(total * (1 - WINDOWS - RESIDENT)) - ahead
    threads = min(workers, max(1, rest // scratch)) if scratch else workers
    capacity = int(total * WINDOWS / 2) // (row + INDEX_BYTES)
    return Budget(total, resident, row_by_row, capacity, ahead, threads)


def _resident(fields: tuple[Field, ...], rows: int, total: int) -> tuple[str, ...]:
    """The fields that stay: all if they fit the windows' share, else the smallest ones."""
    if rows * sum(field.nbytes for field in fields) <= total * WINDOWS:
        return tuple(field.name for field in fields)
    room = int(total * RESIDENT)
    kept: list[str] = []
    for field in sorted(fields, key=lambda f: f.nbytes):
        room -= field.nbytes * rows
        if room < 0:
            break
        kept.append(field.name)
    return tuple(kept)
