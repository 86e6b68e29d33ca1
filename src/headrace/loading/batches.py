"""The iterator of a loader; each batch moves the loader's position along."""

from collections import deque
from collections.abc import Callable
from typing import Any

from headrace.errors import HeadraceError
from headrace.loading.cursor import Cursor, Position
from headrace.loading.prefetch import Prefetch, makes_batches_of, stop_with
from headrace.loading.shared import SharedIterator
from headrace.loading.timing import Stopwatch, Timing

Batch = Any


class Batches(SharedIterator):
    """Hands out batches and moves the loader's position along.

    Threads start with the first batch, and end with the last one, with an error, or with this
    object. After an error there are no more batches.

    Several threads may take batches from it: each batch goes to one of them.

    Args:
        cursor: The position of the loader.
        start: Starts threads that make the batches from a position on, of so many epochs.
        batch_size: Rows in a batch.
        rows: Rows of an epoch.
        row_bytes: Bytes of a row.
        timing: Counts batches, and seconds.
        epochs: How many epochs follow one another; None for no end.
        in_row_order: Whether these are batches in row order, which leave the position alone.
        ahead: 1 if the consumer asks for a batch before it uses the one before; it
            counts as handed out one batch later then.
        steps: Batches that are handed out as one, in arrays `(steps, batch_size, ...)`; what is
            left of an epoch, or differs in shape, as a list of batches.
    """

    def __init__(
        self,
        cursor: Cursor,
        start: Callable[[Position, int | None], Prefetch],
        *,
        batch_size: int,
        rows: int,
        row_bytes: int,
        timing: Timing,
        epochs: int | None = 1,
        in_row_order: bool = False,
        ahead: int = 0,
        steps: int = 1,
    ) -> None:
        super().__init__()
        self._cursor = cursor
        self._start = start
        self._batch_size = batch_size
        self._rows = rows
        self._row_bytes = row_bytes
        self._timing = timing
        self._epochs = epochs
        self._in_row_order = in_row_order
        self._ahead = ahead
        self._steps = steps
        self._unused: deque[Position] = deque()
        self._running: tuple[Prefetch, Callable[[], object]] | None = None
        self._made_ahead: int | None = 0
        self._moves = cursor.moves
        self._position = cursor.usual.start_of(0) if in_row_order else cursor.next
        self._following = cursor.usual
        self.stopwatch = Stopwatch(timing)

    def __next__(self) -> Batch:
        if makes_batches_of(self._timing):
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
        return -(-self._rows // self._batch_size) - self._position.batch

    @property
    def is_next(self) -> bool:
        """Whether the next batch is the one that the loader would begin with."""
        return (
            self._epochs != 0
            and not self._closed
            and self._moves == self._cursor.moves
            and self._position == self._cursor.next
        )

    @property
    def _leads(self) -> bool:
        """Whether this iterator moves the cursor; not once the loader was sent elsewhere."""
        return not self._in_row_order and self._moves == self._cursor.moves

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
        cursor = self._cursor
        if not self._in_row_order:
            self._position = cursor.next
            self._moves = cursor.moves
            cursor.loaded = False
        # An epoch with windows of another size than later ones is made alone.
        alone = self._position[2:] != cursor.usual[2:]
        self._made_ahead = 1 if alone or self._in_row_order else self._epochs
        prefetch = self._start(self._position, self._made_ahead)
        stop = stop_with(self, prefetch)
        self._running = prefetch, stop
        if self._closed:
            # By another thread, which may not have seen that these have started.
            stop()

    def _note(self) -> None:
        """Counts a batch, or those that were handed out as one."""
        batches = min(self._steps, self._batches_left) if self._steps > 1 else 1
        start = self._position.batch * self._batch_size
        stop = min(start + batches * self._batch_size, self._rows)
        if self._following.epoch != self._position.epoch + 1:
            self._following = self._cursor.usual.start_of(self._position.epoch + 1)
        if self._leads:
            # A loop that is broken off from now on uses up its epoch.
            self._cursor.next = self._following
        last = stop == self._rows
        self._position = self._following if last else self._position.advanced(batches)
        self._unused.append(self._position)
        self._move(self._ahead)
        rows = stop - start
        nbytes = rows * self._row_bytes
        self._timing.add_batches(batches, rows, nbytes, last, self.stopwatch.lap())
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
        """Counts all batches but the last `ahead` ones as used."""
        while len(self._unused) > ahead:
            position = self._unused.popleft()
            if self._leads:
                self._cursor.consumed = position
