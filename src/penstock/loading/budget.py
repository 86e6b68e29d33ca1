"""Shares one byte budget among everything that holds samples."""

from dataclasses import dataclass

import numpy as np

from penstock.errors import MemoryBudgetError
from penstock.loading.view import View
from penstock.resources import format_bytes
from penstock.spec import Field

RESIDENT = 1 / 16
"""Share of the budget for fields that are small enough to stay in memory as a whole."""

BESIDE = 3 / 16
"""The most that is set aside for batches made ahead and for buffers of running reads, unless two
batches and one read need more. All else is for windows: one that holds everything, or
two, one being read while the other empties."""

SCRATCHES = 16
"""Running reads that are provided for, on machines with many cores."""

AHEAD_BYTES = 6_000_000
"""More than this is never ready ahead: the next window is read anyway, and memory that is
used again soon is still in the processor's cache."""

INDEX_BYTES = 24
"""Bytes a row of a window for its position, its row in the file, and its place in the order."""


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
    scratch = view.scratch([field.name for field in fields])
    needed = 2 * batch + scratch
    wanted = AHEAD_BYTES + 2 * batch + SCRATCHES * scratch
    beside = max(needed, min(int(total * BESIDE), wanted))
    resident = _resident(fields, len(view), total - beside, int(total * RESIDENT))
    others = [field.name for field in fields if field.name not in resident]
    row_by_row = not others or exact or view.addressable(others)
    largest = 0 if row_by_row else int(np.diff(view.edges(others)).max())
    blocks = 2 * largest * (row + INDEX_BYTES)
    least = int((needed + blocks) / (1 - RESIDENT)) + 2
    if total < least:
        what = f", and the largest block holds {largest} rows" if largest else ""
        raise MemoryBudgetError(
            f"memory={format_bytes(total)} is too little: a batch of {batch_size} rows takes "
            f"{format_bytes(batch)}{what}. The least that works here is memory={least}."
        )
    left = total - len(view) * sum(f.nbytes for f in fields if f.name in resident)
    beside = max(needed, min(beside, left - blocks))
    ahead = max(min(beside // 2, AHEAD_BYTES), 2 * batch)
    threads = min(workers, max(1, (beside - ahead) // scratch)) if scratch else workers
    capacity = (left - beside) // 2 // (row + INDEX_BYTES)
    return Budget(total, resident, row_by_row, capacity, ahead, threads)


def _resident(fields: tuple[Field, ...], rows: int, windows: int, room: int) -> tuple[str, ...]:
    """The fields that stay: all if they fit `windows` bytes, else the smallest in `room`."""
    if rows * sum(field.nbytes for field in fields) <= windows:
        return tuple(field.name for field in fields)
    kept: list[str] = []
    for field in sorted(fields, key=lambda f: f.nbytes):
        room -= field.nbytes * rows
        if room < 0:
            break
        kept.append(field.name)
    return tuple(kept)
