"""Batches handed out one by one, and the place in the stream of epochs that they lead to."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.errors import HeadraceError
from headrace.loading.fill import Collate
from headrace.loading.prefetch import Prefetch, makes_batches_of, stop_with
from headrace.loading.shared import SharedIterator
from headrace.loading.timing import Stopwatch

if TYPE_CHECKING:
    from headrace.loading.loader import Loader

Batch = Any


class Position(NamedTuple):
    """A place in the stream of epochs.

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
        """The place so many batches later in the epoch."""
        return Position(self.epoch, self.batch + batches, self.capacity, self.blocks_per_read)

    def start_of(self, epoch: int) -> "Position":
        """The start of an epoch in windows like those of this one."""
        return self._replace(epoch=epoch, batch=0)


class Batches(SharedIterator):
    """Hands out batches and moves the loader's position along.

    Threads start with the first batch, and end with the last one, with an error, or with this
    object. After an error there are no more batches.

    Several threads may take batches from it: each batch goes to one of them.

    Args:
        loader: Whose batches.
        epochs: How many epochs follow one another; None for no end.
        in_row_order: Hands out every row, in row order, and leaves the loader's position alone.
        collate: Turns the arrays of a batch into what is handed out, in place of the loader's own.
        ahead: 1 if the consumer asks for a batch before it uses the one before; it
            counts as handed out one batch later then.
        steps: Batches that are handed out as one, in arrays `(steps, batch_size, ...)`; what is
            left of an epoch, or differs in shape, as a list of batches.
    """

    def __init__(
        self,
        loader: "Loader",
        *,
        epochs: int | None = 1,
        in_row_order: bool = False,
        collate: Collate | None = None,
        ahead: int = 0,
        steps: int = 1,
    ) -> None:
        super().__init__()
        self._loader = loader
        self._epochs = epochs
        self._in_row_order = in_row_order
        self._collate = collate
        self._ahead = ahead
        self._steps = steps
        self._unused: deque[Position] = deque()
        self._running: tuple[Prefetch, Callable[[], object]] | None = None
        self._made_ahead: int | None = 0
        self._moves = loader._moves
        self._place = loader._usual.start_of(0) if in_row_order else loader._next
        self._following = loader._usual
        self._rows = loader.rows(every=in_row_order)
        self.stopwatch = Stopwatch(loader._timing)

    def __next__(self) -> Batch:
        if makes_batches_of(self._loader._timing):
            raise HeadraceError(
                "A function given to map() asks the loader for batches that it helps to make. Give "
                "it a loader of its own, made from the data set without this map()."
            )
        return super().__next__()

    def _take(self) -> Batch:
        if self._epochs == 0 or self._closed:
            self.settle()
            self.stopwatch.stop()
            raise StopIteration
        self.stopwatch.start()
        if self._running is None:
            self._begin()
        # Another thread may close this now.
        running = self._running
        self._check_open()
        assert running is not None
        batch = running[0].take()
        self._note()
        return batch

    @property
    def left(self) -> int:
        """What is left to hand out in the epoch under way; all of the next one at its end."""
        return -(-self._batches_left // self._steps)

    @property
    def _batches_left(self) -> int:
        return -(-self._rows // self._loader.batch_size) - self._place.batch

    @property
    def is_next(self) -> bool:
        """Whether the next batch is the one that the loader would begin with."""
        return (
            self._epochs != 0
            and not self._closed
            and self._moves == self._loader._moves
            and self._place == self._loader._next
        )

    @property
    def _leads(self) -> bool:
        """Whether the loader's position follows; not once the loader was sent elsewhere."""
        return not self._in_row_order and self._moves == self._loader._moves

    def settle(self) -> None:
        """Counts every batch that was handed out as used."""
        with self._taking:
            self._move(0)

    def close(self) -> None:
        """Stops the threads; nothing comes after it.

        May be called in any thread. One that waits for a batch gets a `HeadraceError`.
        """
        self._closed = True
        self._stop()

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            _, stop = running
            stop()

    def _begin(self) -> None:
        loader = self._loader
        if not self._in_row_order:
            self._place = loader._next
            self._moves = loader._moves
            loader._loaded = False
        # An epoch with windows of another size than later ones is made alone.
        alone = self._place[2:] != loader._usual[2:]
        self._made_ahead = 1 if alone or self._in_row_order else self._epochs
        prefetch = loader._start(
            self._place, self._made_ahead, self._in_row_order, self._collate, self._steps
        )
        stop = stop_with(self, prefetch)
        self._running = prefetch, stop
        if self._closed:
            # By another thread, which may not have seen that these have started.
            stop()

    def _note(self) -> None:
        """Counts a batch, or those that were handed out as one."""
        loader = self._loader
        batches = min(self._steps, self._batches_left) if self._steps > 1 else 1
        start = self._place.batch * loader.batch_size
        stop = min(start + batches * loader.batch_size, self._rows)
        if self._following.epoch != self._place.epoch + 1:
            self._following = loader._usual.start_of(self._place.epoch + 1)
        if self._leads:
            # A loop that is broken off from now on uses up its epoch.
            loader._next = self._following
        last = stop == self._rows
        self._place = self._following if last else self._place.advanced(batches)
        self._unused.append(self._place)
        self._move(self._ahead)
        rows = stop - start
        nbytes = rows * loader._view.row_bytes
        loader._timing.add_batches(batches, rows, nbytes, last, self.stopwatch.lap())
        if last:
            self._end_epoch()

    def _end_epoch(self) -> None:
        if self._epochs is not None:
            self._epochs -= 1
        if self._made_ahead is not None:
            self._made_ahead -= 1
            if self._made_ahead == 0:
                # The threads end here: most trainers never ask for a batch after the last one.
                self._stop()

    def _move(self, ahead: int) -> None:
        """Moves the loader's position to all batches but the last `ahead` ones."""
        while len(self._unused) > ahead:
            place = self._unused.popleft()
            if self._leads:
                self._loader._position = place
