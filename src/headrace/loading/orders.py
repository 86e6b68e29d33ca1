"""The order of each epoch of a loader, from its arguments and its memory budget."""

from dataclasses import dataclass

import numpy as np

from headrace.loading.budget import FEWEST_ROWS, INDEX_BYTES, MOST_ROWS, SEQUENTIAL_BYTES, Budget
from headrace.loading.cursor import Position
from headrace.loading.view import View
from headrace.order import (
    BalancedRowOrder,
    BalancedSampler,
    BalancedWindowOrder,
    EpochSamples,
    Order,
    RowOrder,
    SamplesByRow,
    SequentialOrder,
    WindowOrder,
    batch_offsets,
)
from headrace.spec import Indices


@dataclass(frozen=True)
class Orders:
    """Chooses the order of an epoch: by row, in windows of blocks, or sequential.

    Attributes:
        view: The rows.
        budget: How the memory is shared.
        sampler: Draws the rows of each epoch; None for every row once.
        batch_size: Rows in a batch.
        memory: The whole budget in bytes.
        shuffle: The loader's argument.
    """

    view: View
    budget: Budget
    sampler: BalancedSampler | None
    batch_size: int
    memory: int
    shuffle: bool | str

    @property
    def length(self) -> int:
        """Rows in an epoch."""
        return len(self.view) if self.sampler is None else self.sampler.length

    def order(self, position: Position, seed: int, shuffle: bool | str) -> Order:
        """The order of the epoch of a position.

        Args:
            position: The epoch, and the windows that a resumed one keeps.
            seed: Of the order.
            shuffle: The loader's argument, or False for row order.
        """
        key = (seed, position.epoch)
        samples = None if self.sampler is None else EpochSamples(self.sampler, position.epoch)
        if not position.capacity and (self.budget.row_by_row or shuffle is True):
            rows = self._row_order(key, shuffle)
            return rows if samples is None else BalancedRowOrder(rows, samples, len(self.view))
        names = [field.name for field in self.view.fields]
        offsets = self.view.block_offsets(names, position.blocks_per_read)
        capacity = position.capacity or self.budget.capacity
        if samples is None:
            return self._window_order(offsets, capacity, key, shuffle)
        by_row = SamplesByRow(samples, offsets, in_turn=shuffle is True)
        offsets = by_row.block_offsets(capacity)
        return BalancedWindowOrder(self._window_order(offsets, capacity, key, shuffle), by_row)

    def _row_order(self, key: tuple[int, int], shuffle: bool | str) -> RowOrder:
        size = self.batch_size if shuffle == "batch" else 1
        # The step limits the memory of the arithmetic, and does not change the order.
        room = self.budget.capacity * (self.view.row_bytes + INDEX_BYTES) // INDEX_BYTES
        step = min(max(min(self.memory >> 9, room), FEWEST_ROWS), MOST_ROWS)
        return RowOrder(self.length, key if shuffle else None, size, step)

    def _window_order(
        self, offsets: Indices, capacity: int, key: tuple[int, int], shuffle: bool | str
    ) -> SequentialOrder | WindowOrder:
        if "batch" in (shuffle, self.shuffle):
            offsets = batch_offsets(offsets, self.batch_size, capacity)
        if not shuffle:
            few = max(int(np.diff(offsets).max()), SEQUENTIAL_BYTES // self.view.row_bytes)
            return SequentialOrder(offsets, min(self.budget.capacity, few))
        return WindowOrder(offsets, key, capacity, self.batch_size if shuffle == "batch" else 1)
