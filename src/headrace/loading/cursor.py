"""Where a loader stands in the stream of epochs: shared by the loader and its iterators."""

from typing import NamedTuple


class Position(NamedTuple):
    """A position in the stream of epochs.

    Attributes:
        epoch: From 0.
        batch: Batches of it that were handed out.
        capacity: Rows in a window of this epoch, 0 where rows come one by one.
        blocks_per_read: Neighbouring blocks that this epoch reads together.
    """

    epoch: int
    batch: int
    capacity: int
    blocks_per_read: int = 1

    def advanced(self, batches: int) -> "Position":
        """The position so many batches later in the epoch."""
        return Position(self.epoch, self.batch + batches, self.capacity, self.blocks_per_read)

    def start_of(self, epoch: int) -> "Position":
        """The start of an epoch in windows like those of this one."""
        return self._replace(epoch=epoch, batch=0)


class Cursor:
    """The position of a loader, which its iterators move along.

    Attributes:
        usual: The start of epoch 0, in windows like those of every epoch that is not resumed.
        consumed: Behind the last batch that was used: what `state_dict` saves.
        next: Where the next loop starts.
        moves: How often the loader was sent elsewhere; iterators that began before no longer move
            the cursor.
        loaded: Whether `next` is a saved position that no loop has started from yet.
    """

    def __init__(self, usual: Position) -> None:
        self.usual = usual
        self.consumed = self.next = usual
        self.moves = 0
        self.loaded = False

    def go_to(self, position: Position, loaded: bool = False) -> None:
        """Makes a position the one where the next loop starts."""
        self.consumed = self.next = position
        self.moves += 1
        self.loaded = loaded
