"""The work of several epochs as one row of steps: what the threads take, in this order."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from penstock.loading.fill import Epoch, Piece


class Step(NamedTuple):
    """A piece of a batch.

    Attributes:
        batch: Number of the batch, counted over all epochs from the first one made.
        epoch: The epoch that it belongs to.
        window: Which window it comes from: number of the epoch here, number of the window there.
        piece: The rows.
    """

    batch: int
    epoch: Epoch
    window: tuple[int, int]
    piece: Piece


def steps_of(epochs: Iterable[Epoch], first: int) -> Iterator[Step]:
    """All pieces of all batches, in order, from batch `first` of the first epoch on."""
    done = -first
    for turn, epoch in enumerate(epochs):
        for piece in epoch.pieces(first):
            yield Step(done + piece.batch, epoch, (turn, piece.window), piece)
        done += len(epoch)
        first = 0


def windows_of(epochs: Iterable[Epoch], first: int) -> Iterator[tuple[tuple[int, int], Epoch]]:
    """All windows that those pieces come from, in order."""
    for turn, epoch in enumerate(epochs):
        start = epoch.order.find(first * epoch.batch_size)
        for index in range(start, epoch.order.find(epoch.rows - 1) + 1):
            yield (turn, index), epoch
        first = 0
