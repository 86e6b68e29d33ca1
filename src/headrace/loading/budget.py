"""Divides one byte budget among everything that holds samples."""

from dataclasses import dataclass

import numpy as np

from headrace.loading.view import View
from headrace.resources import format_bytes, machine_memory, too_little_memory
from headrace.spec import Indices

RESIDENT = 16
"""One part in so many of the budget is for fields small enough to stay in memory as a whole."""

BESIDE = 1 / 4
"""The largest share for batches made ahead and buffers of running reads, unless two batches and one
read need more. The rest is for windows: one that holds everything, or two, of which one is read
while batches are gathered from the other."""

SCRATCHES = 16
"""Running reads that are provided for, on machines with many cores."""

AHEAD_BYTES = 20_000_000
"""More than this, or than `AHEAD_BATCHES` if they are larger, is never ready ahead: the next window
is read anyway, and memory that is used again soon is still in the processor's cache."""

AHEAD_BATCHES = 8
"""Half of them ready or in progress, the others handed out, or free for reuse."""

LEAST_AHEAD = 8
"""Batches made ahead get at least one part in so many of this share, before further threads do."""

SEQUENTIAL_BYTES = 16_000_000
"""Rows in file order gain nothing from larger windows."""

INDEX_BYTES = 24
"""Bytes a row of a window for its position, its row in the file, and its place in the order."""


RUN_ROW_BYTES = 1 << 15
"""Larger rows are read one by one from any disk: as fast as runs of them, or nearly so."""

WELL_MIXED = 4
"""A window should hold this many blocks for each row of a batch: a batch statistic then varies
at most 1.25 times as much as under an exact shuffle."""

REPEATED = 0.1
"""The share that may be decoded twice because blocks of different fields do not line up."""

MOST_TOGETHER = 64
"""Neighbouring blocks that are read together, at most."""

NUMBERS = 16
"""One part in so many of the budget is for numbers of rows while cached fields are read."""

FEWEST_ROWS = 64
MOST_ROWS = 1 << 14
"""Rows whose order is computed at a time, where rows are read one by one."""


@dataclass(frozen=True)
class Budget:
    """How many bytes each part of a loader may hold.

    The windows depend on the budget alone, so that the order depends neither on
    the number of workers nor on timing; what is left decides how many workers may
    decode at a time.

    Attributes:
        total: Bytes in all.
        cached: Names of the fields that stay in memory as a whole; all, if all fit.
        cached_rows: How many rows of them one thread reads at a time.
        row_by_row: Whether every field that is not cached is read row by row.
        blocks_per_read: Neighbouring blocks that are read together.
        capacity: Rows that one window may hold, where whole blocks are read.
        ahead: Bytes of batches ready before they are asked for, or being made.
        spare: Bytes of batches that were handed out, kept for their next use.
        workers: How many threads may read and decode at a time.
        fetches: How many reads may be fetched, or being fetched, and not yet decoded.
        needed: Bytes that will be held at most: less than all where the data are small, or rows
            are read one by one.
    """

    total: int
    cached: tuple[str, ...]
    cached_rows: int
    row_by_row: bool
    blocks_per_read: int
    capacity: int
    ahead: int
    spare: int
    workers: int
    fetches: int
    needed: int


def share(
    view: View,
    batch_size: int,
    total: int,
    workers: int,
    shuffle: bool | str,
    keep: bool = True,
    samples: int | None = None,
) -> Budget:
    """Divides `total` bytes for batches of `batch_size` rows of `view`.

    Args:
        view: The rows, at least one.
        batch_size: Rows in a batch.
        total: Bytes.
        workers: Threads that were asked for.
        shuffle: "exact" reads rows one by one even where that costs a block each; "batch"
            holds runs of a batch or more instead of blocks.
        keep: Whether fields that fit stay in memory, for later epochs.
        samples: Rows that an epoch hands out, if not each once.

    Raises:
        MemoryBudgetError: If it is too little; says the least that works.
    """
    samples = samples or len(view)
    needs = _Needs(view, min(batch_size, samples), shuffle, keep)
    cached = needs.cached(total)
    largest = needs.largest_block(cached)
    blocks = 2 * largest * (needs.row + INDEX_BYTES)
    if total < needs.least_with(cached):
        what = ""
        there = f", of which there are {samples}," if batch_size > samples else ""
        if largest and shuffle != "batch":
            what = f", and the largest block holds {largest:,} rows"
        raise too_little_memory(
            total,
            f"a batch of {batch_size:,} row{'s' * (batch_size != 1)}{there} takes "
            f"{format_bytes(needs.batch)}{what}",
            needs.least(),
        )
    left = total - needs.bytes_of(cached)
    batches = max(AHEAD_BYTES, AHEAD_BATCHES * needs.batch)
    wanted = batches + needs.beside + (SCRATCHES + needs.fetches) * needs.scratch
    beside = max(needs.beside, min(int(total * BESIDE), wanted, left - blocks))
    for_reads = (workers + needs.fetches) * needs.scratch
    for_reads = min(for_reads, beside - beside // LEAST_AHEAD)
    ahead = max(min(beside - for_reads, batches), 2 * needs.batch)
    spare = min(ahead // 2, ahead - 2 * needs.batch)
    threads, fetches = workers, needs.fetches
    if needs.scratch:
        running = max(1, (beside - ahead) // needs.scratch)
        threads = min(workers, running)
        fetches = min(fetches, running - threads)
    capacity = (left - beside) // 2 // (needs.row + INDEX_BYTES)
    row_by_row = largest == 0 and not needs.prefers_runs(cached, capacity)
    held = min(capacity, len(view))
    if shuffle is False:
        held = min(held, max(largest, SEQUENTIAL_BYTES // needs.row))
    windows = 2 * (MOST_ROWS * INDEX_BYTES if row_by_row else held * (needs.row + INDEX_BYTES))
    reads = (threads + fetches) * needs.scratch
    needed = needs.bytes_of(cached) + windows + ahead + reads
    return Budget(
        total=total,
        cached=tuple(field.name for field in view.fields if field.name in cached),
        cached_rows=max(FEWEST_ROWS, total // NUMBERS // INDEX_BYTES // workers),
        row_by_row=row_by_row,
        blocks_per_read=1 if row_by_row else needs.blocks_per_read(cached, capacity),
        capacity=capacity,
        ahead=ahead - spare,
        spare=spare,
        workers=threads,
        fetches=fetches,
        needed=min(total, needed),
    )


def least_memory(
    view: View, batch_size: int, shuffle: bool | str, keep: bool = True, samples: int | None = None
) -> int:
    """The least number of bytes that `share` takes; it takes all above as well."""
    return _Needs(view, min(batch_size, samples or len(view)), shuffle, keep).least()


class _Needs:
    """The bytes that a loader needs, whatever its budget is.

    Attributes:
        row: Bytes of a row.
        batch: Bytes of a batch.
        scratch: Bytes that one running read holds besides its output.
        fetches: Fetches that are worth having in flight.
        beside: Bytes for two batches, one running read, and the arithmetic of row numbers.
    """

    def __init__(self, view: View, batch_size: int, shuffle: bool | str, keep: bool) -> None:
        self._view = view
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._keep = keep
        # Fields that are in memory already are not copied.
        elsewhere = [field for field in view.fields if field.name not in view.in_memory]
        self._fields = sorted(elsewhere, key=lambda field: field.nbytes)
        self.row = view.row_bytes
        self.batch = batch_size * self.row
        self.scratch = view.scratch([field.name for field in view.fields])
        self.fetches = view.fetches
        if shuffle == "exact" and not view.addressable([field.name for field in view.fields]):
            # Rows of blocks are read in file order, and put in their own order afterwards.
            self.scratch += 2 * self.batch + batch_size * INDEX_BYTES
        elif len(view.parts) > 1:
            # Rows of each part are read together, and put in their places afterwards.
            self.scratch += self.batch + batch_size * INDEX_BYTES
        self.beside = 2 * self.batch + self.scratch + 2 * FEWEST_ROWS * INDEX_BYTES

    def bytes_of(self, names: tuple[str, ...]) -> int:
        """Bytes of whole fields."""
        return len(self._view) * sum(f.nbytes for f in self._fields if f.name in names)

    def cached(self, total: int) -> tuple[str, ...]:
        """The fields that stay: all if they fit, else the smallest within their share."""
        if not self._keep:
            return ()
        everything = self._smallest(len(self._fields))
        if self.bytes_of(everything) + self.beside <= total:
            return everything
        if self._view.reads_whole_rows:
            return ()
        count = 0
        while (
            count < len(self._fields)
            and self.bytes_of(self._smallest(count + 1)) <= total // RESIDENT
        ):
            count += 1
        # The blocks of the fields that are left may be larger than those of all fields were.
        while count and self.least_with(self._smallest(count)) > total:
            count -= 1
        return self._smallest(count)

    def _smallest(self, count: int) -> tuple[str, ...]:
        return tuple(field.name for field in self._fields[:count])

    def _others(self, cached: tuple[str, ...]) -> list[str]:
        return [field.name for field in self._view.fields if field.name not in cached]

    def prefers_runs(self, cached: tuple[str, ...], capacity: int) -> bool:
        """Whether runs of addressable rows are read, and mixed in windows.

        They are where `shuffle=True` leaves the choice, the data cannot stay in the machine's page
        cache, small rows would keep a disk seeking, and a window holds enough of them.
        """
        others = self._others(cached)
        if not others or self._shuffle is not True or not self._view.addressable(others):
            return False
        if self.bytes_of(tuple(others)) <= machine_memory():
            return False
        if max(f.nbytes for f in self._fields if f.name in others) > RUN_ROW_BYTES:
            return False
        return self._mixes(np.diff(self._view.block_offsets(others)), capacity)

    def _mixes(self, sizes: Indices, capacity: int) -> bool:
        """Whether windows of at most `capacity` rows hold enough blocks for a batch."""
        room = capacity - int(sizes.max())
        if room <= 0:
            return False
        windows = -(-len(self._view) // room)
        return len(sizes) // windows > WELL_MIXED * self._batch_size

    def blocks_per_read(self, cached: tuple[str, ...], capacity: int) -> int:
        """How many neighbouring blocks are read together.

        As few as keep what is decoded twice below `REPEATED`: fields whose blocks are cut
        elsewhere are decoded again in each window that needs rows of a block. Fewer, if windows
        would mix too few blocks.
        """
        others = self._others(cached)
        if not others or self._shuffle is not True:
            return 1
        windows = max(1, len(self._view) // max(capacity, 1))
        count = 1
        while (
            count < MOST_TOGETHER
            and self._view.repeated(others, count, windows) > REPEATED
            and self._mixes(np.diff(self._view.block_offsets(others, 2 * count)), capacity)
        ):
            count *= 2
        return count

    def largest_block(self, cached: tuple[str, ...]) -> int:
        """Rows that are read together, at most; 0 where rows are read one by one."""
        others = self._others(cached)
        if not others or self._shuffle == "exact" or self._view.addressable(others):
            return 0
        if self._shuffle == "batch":
            return self._batch_size
        return int(np.diff(self._view.block_offsets(others)).max())

    def least_with(self, cached: tuple[str, ...]) -> int:
        """The least budget under which just these fields stay."""
        if len(cached) == len(self._fields):
            return self.bytes_of(cached) + self.beside
        blocks = 2 * self.largest_block(cached) * (self.row + INDEX_BYTES)
        # The smallest total of which what RESIDENT leaves holds the blocks, batches and reads.
        for_blocks = (self.beside + blocks - 1) * RESIDENT // (RESIDENT - 1) + 1
        return max(for_blocks, self.bytes_of(cached) * RESIDENT)

    def least(self) -> int:
        """The least budget that works."""
        counts = range(len(self._fields) + 1 if self._keep else 1)
        return min(self.least_with(self._smallest(count)) for count in counts)
