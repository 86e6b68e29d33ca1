"""`ItemStream`: the iterator over an object's prefetched batches, epoch after epoch."""

import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Protocol

from headrace.errors import DataError, HeadraceError, OptionError
from headrace.loading.items.batch import Batch, ItemIndices
from headrace.loading.shared import SharedIterator
from headrace.loading.timing import Stopwatch
from headrace.spec import leaves

if TYPE_CHECKING:
    from headrace.loading.items.loader import ItemLoader

Collate = Callable[[Batch], Batch]


class WorkerPool(Protocol):
    """What calls the object: worker threads, or processes that have a copy of it each."""

    def submit(self, epoch: int, number: int, indices: ItemIndices) -> "Future[Batch]":
        """Requests a batch."""

    def result(self, future: "Future[Batch]") -> Batch:
        """Waits for a batch; raises `BatchTimeoutError` if it hangs."""

    def begin_epoch(self, epoch: int) -> None:
        """Calls `on_epoch_begin` of every copy of the object while no batch is being made."""

    def end_epoch(self, epoch: int) -> None:
        """Calls `on_epoch_end` in the same way."""

    def close(self) -> None:
        """Ends threads or processes."""


class ItemStream(SharedIterator):
    """Prefetched batches of some epochs, in order."""

    def __init__(
        self,
        loader: "ItemLoader",
        epochs: int | None,
        in_row_order: bool,
        collate: Collate | None,
        max_batches: int | None,
    ) -> None:
        super().__init__()
        self._loader = loader
        self._epochs = epochs
        self._in_row_order = in_row_order
        self._collate = collate
        self._max_batches = max_batches
        self._pool: WorkerPool | None = None
        self._pid: int | None = None
        self._waiting: deque[Future[Batch]] = deque()
        self._epoch = 0
        self._submitted = self._handed_out = self._handed_out_before = 0
        self._first = self._count = 0
        self.stopwatch = Stopwatch(loader._timing)

    def _take(self) -> Batch:
        if self._epochs == 0 or self._closed:
            self.stopwatch.stop()
            raise StopIteration
        self.stopwatch.start()
        if self._pool is not None and self._pid != os.getpid():
            raise HeadraceError(
                "This iterator was made before the process forked, and its threads do not exist in "
                "the child. Start a new one from the loader in the child process."
            )
        self._begin()
        self._check_own()
        began = time.perf_counter()
        self._fill()
        try:
            assert self._pool is not None
            batch = self._pool.result(self._waiting[0])
        except CancelledError:
            self._check_open()
            raise
        self._check_open()
        self._waiting.popleft()
        self._note(batch, began)
        return batch if self._collate is None else self._collate(batch)

    def _begin(self) -> None:
        if self._pool is not None:
            return
        loader = self._loader
        self._pid = os.getpid()
        self._pool = loader._start_pool()
        if loader._processes is None:
            # Not waiting: the garbage collector may run in one of these threads.
            self._finalizer = weakref.finalize(self, self._pool.close)
        if not self._in_row_order:
            loader._current = weakref.ref(self)
            if loader._begun:
                # The previous epoch was stopped before its end.
                self._end_loader_epoch()
            if loader._next_position is not None:
                (loader._epoch, self._first), loader._next_position = loader._next_position, None
        self._start_epoch()

    def _check_own(self) -> None:
        """Checks that no other loop has called the object's on_epoch_end()."""
        loader = self._loader
        if not self._in_row_order and loader._has_epoch_end and not self._is_current:
            raise OptionError(
                "Another loop over this loader has begun, and ended the epoch of this one: the "
                "object has one order at a time, because it has an on_epoch_end(). Make a loader "
                "for each loop."
            )

    @property
    def _is_current(self) -> bool:
        """Whether no other loop follows the loader's epochs."""
        current = self._loader._current
        return current is not None and current() is self

    def _start_epoch(self) -> None:
        loader = self._loader
        assert self._pool is not None
        self._epoch = loader._epoch
        if loader._has_epoch_begin:
            self._pool.begin_epoch(self._epoch)
        self._count = len(loader)
        if not self._count:
            raise DataError(f"The {type(loader._items).__name__} has length 0 now.")
        self._batch_indices = loader._batch_indices(self._epoch, self._in_row_order)
        first, self._first = self._first, 0
        self._handed_out_before += self._handed_out - first
        self._submitted = self._handed_out = first

    def _fill(self) -> None:
        """Submits batch requests until the queue is full."""
        assert self._pool is not None
        loader = self._loader
        room = loader.max_queue_size
        if self._max_batches is not None:
            left = self._max_batches - self._handed_out_before - self._handed_out
            room = min(room, max(1, left))
        while len(self._waiting) < room and self._submitted < self._count:
            indices = self._batch_indices[self._submitted]
            made = loader._take_peeked(self._epoch, indices)
            self._waiting.append(made or self._pool.submit(self._epoch, self._submitted, indices))
            self._submitted += 1

    def _note(self, batch: Batch, began: float) -> None:
        now = time.perf_counter()
        arrays = leaves(batch)
        self._handed_out += 1
        if not self._in_row_order and self._is_current:
            self._loader._begun = True
        last = self._handed_out == self._count
        nbytes = sum(array.nbytes for array in arrays)
        self._loader._timing.add_batches(1, len(arrays[0]), nbytes, last, self.stopwatch.lap())
        self._loader._timing.add(wait_for_data=now - began)
        if last:
            self._end_epoch()
        elif self._epochs != 0 and self._handed_out_before + self._handed_out != self._max_batches:
            self._fill()

    def _end_epoch(self) -> None:
        if self._epochs is not None:
            self._epochs -= 1
        if not self._in_row_order and self._is_current:
            self._end_loader_epoch()
        if self._epochs == 0:
            self._stop()
            return
        self._start_epoch()
        if self._handed_out_before != self._max_batches:
            self._fill()

    def _end_loader_epoch(self) -> None:
        """Calls `on_epoch_end`, and advances the loader to its next epoch."""
        assert self._pool is not None
        loader = self._loader
        if loader._has_epoch_end:
            self._pool.end_epoch(loader._epoch)
        loader._epoch += 1
        loader._begun = False

    @property
    def left(self) -> int:
        """Batches left in the current epoch; those of the next epoch once it has ended."""
        if self._epochs != 0 and not self._closed:
            self._begin()
        return self._count - self._handed_out

    @property
    def is_next(self) -> bool:
        """Whether the next batch is the one that the loader would begin with."""
        return self._epochs != 0 and not self._closed and self._is_current

    def settle(self) -> None:
        """Nothing to do: there is no position to keep."""

    def close(self) -> None:
        """Ends the iteration.

        May be called in any thread. One that waits for a batch gets a `HeadraceError`, once the
        batch that it waits for is made if that has begun.
        """
        self._closed = True
        for future in list(self._waiting):
            future.cancel()
        # A thread that is waiting for a batch stops the workers itself.
        if self._taking.acquire(blocking=False):
            try:
                self._stop()
            finally:
                self._taking.release()

    def _stop(self) -> None:
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
        if self._pool is not None and self._loader._processes is None:
            self._finalizer()
        self._pool = None
