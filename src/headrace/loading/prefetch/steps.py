"""The work of several epochs as one sequence of steps for the threads."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from headrace.loading.fill import Epoch, Group, WindowSlice


class Step(NamedTuple):
    """A piece of a group of batches.

    Attributes:
        group: Number of the group, counted over all epochs from the first one made.
        epoch: The epoch that it belongs to.
        window: Which window it comes from: number of the epoch here, number of the window there.
        piece: The rows.
    """

    group: int
    epoch: Epoch
    window: tuple[int, int]
    piece: WindowSlice

    def name(self, made: int | None) -> str:
        """What is being done, for messages.

        Args:
            made: Batches of the group that are made; None while its rows are gathered.
        """
        group = self.piece.group
        what = "gathering rows" if made is None else f"making batch {group.first + made}"
        start, stop = self.epoch.bounds(group if made is None else Group(group.first + made, 1))
        return f"{what} (samples {start} to {stop - 1} of the epoch)"


def steps_of(
    epochs: Iterable[Epoch], first: int, batches_per_group: Callable[[], int]
) -> Iterator[Step]:
    """All pieces of all groups, in order, from batch `first` of the first epoch on.

    `batches_per_group` is called for each group, and says how many batches it has.
    """
    number = -1
    for turn, epoch in enumerate(epochs):
        group = None
        for piece in epoch.pieces(first, batches_per_group):
            if piece.group is not group:
                group = piece.group
                number += 1
            yield Step(number, epoch, (turn, piece.window), piece)
        first = 0


def windows_of(epochs: Iterable[Epoch], first: int) -> Iterator[tuple[tuple[int, int], Epoch]]:
    """All windows that those pieces come from, in order."""
    for turn, epoch in enumerate(epochs):
        start = epoch.order.find(first * epoch.batch_size)
        for index in range(start, epoch.order.find(epoch.rows - 1) + 1):
            yield (turn, index), epoch
        first = 0
