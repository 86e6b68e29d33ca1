"""Hands out the batches of a user-supplied object in order, requested ahead of time."""

import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Protocol

import numpy as np

from headrace.errors import DataError, HeadraceError, OptionError
from headrace.loading.items.making import Batch, Wanted
from headrace.loading.shared import SharedIterator
from headrace.loading.timing import Stopwatch
from headrace.order import Permutation
from headrace.spec import leaves

if TYPE_CHECKING:
    from headrace.loading.items.loader import ItemLoader

Collate = Callable[[Batch], Batch]


_PLAN_ITEMS = 4096
"""Items whose order is worked out at a time: one by one, it would cost more than the items."""


class BatchPlan:
    """Which items make each batch of an epoch; worked out some thousand at a time."""

    def __init__(self, length: int, size: int | None, order: Permutation | None) -> None:
        self._length = length
        self._size = size
        self._order = order
        self._first = 0
        self._items: list[int] = []

    def __getitem__(self, number: int) -> Wanted:
        """What makes batch `number`."""
        size = self._size or 1
        first, stop = number * size, min((number + 1) * size, self._length)
        if not self._first <= first < stop <= self._first + len(self._items):
            places = np.arange(first, min(first + max(_PLAN_ITEMS, size), self._length))
            self._first = first
            self._items = (places if self._order is None else self._order(places)).tolist()
        items = self._items[first - self._first : stop - self._first]
        return items if self._size else items[0]


class Makers(Protocol):
    """Call the object: threads, or processes that have a copy of it."""

    def submit(self, epoch: int, number: int, wanted: Wanted) -> "Future[Batch]":
        """Requests a batch."""

    def result(self, future: "Future[Batch]") -> Batch:
        """The batch, once it is made; or the error that it hangs."""

    def begin(self, epoch: int) -> None:
        """Calls `on_epoch_begin` where the object is used; nothing is being made meanwhile."""

    def turn(self, epoch: int) -> None:
        """Calls `on_epoch_end` likewise."""

    def close(self) -> None:
        """Ends threads or processes."""


class ItemStream(SharedIterator):
    """Batches of some epochs in order, made ahead of time."""

    def __init__(
        self,
        loader: "ItemLoader",
        epochs: int | None,
        in_row_order: bool,
        collate: Collate | None,
        most: int | None,
    ) -> None:
        super().__init__()
        self._loader = loader
        self._epochs = epochs
        self._in_row_order = in_row_order
        self._collate = collate
        self._most = most
        self._makers: Makers | None = None
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
        if self._makers is not None and self._pid != os.getpid():
            raise HeadraceError(
                "This iterator was made before the process forked, and its threads stayed behind. "
                "Start a new one from the loader in the child process."
            )
        self._begin()
        self._check_own()
        began = time.perf_counter()
        self._fill()
        try:
            assert self._makers is not None
            batch = self._makers.result(self._waiting[0])
        except CancelledError:
            self._check_open()
            raise
        self._check_open()
        self._waiting.popleft()
        self._note(batch, began)
        return batch if self._collate is None else self._collate(batch)

    def _begin(self) -> None:
        if self._makers is not None:
            return
        loader = self._loader
        self._pid = os.getpid()
        self._makers = loader._makers()
        if loader._pool is None:
            # Not waiting: the garbage collector may run in one of these threads.
            self._finalizer = weakref.finalize(self, self._makers.close)
        if not self._in_row_order:
            loader._current = weakref.ref(self)
            if loader._begun:
                # The epoch before was broken off.
                self._turn()
            if loader._wanted is not None:
                (loader._epoch, self._first), loader._wanted = loader._wanted, None
        self._start_epoch()

    def _check_own(self) -> None:
        """Makes sure that no other loop has told the object that its epoch has ended."""
        loader = self._loader
        if not self._in_row_order and loader._turns and not self._is_current:
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
        assert self._makers is not None
        self._epoch = loader._epoch
        if loader._begins:
            self._makers.begin(self._epoch)
        self._count = len(loader)
        if not self._count:
            raise DataError(f"The {type(loader._items).__name__} has length 0 now.")
        self._plan = loader._plan(self._epoch, self._in_row_order)
        first, self._first = self._first, 0
        self._handed_out_before += self._handed_out - first
        self._submitted = self._handed_out = first

    def _fill(self) -> None:
        """Has as many batches made ahead as there is room for."""
        assert self._makers is not None
        loader = self._loader
        room = loader.max_queue_size
        if self._most is not None:
            left = self._most - self._handed_out_before - self._handed_out
            room = min(room, max(1, left))
        while len(self._waiting) < room and self._submitted < self._count:
            wanted = self._plan[self._submitted]
            made = loader._take_peeked(self._epoch, wanted)
            self._waiting.append(made or self._makers.submit(self._epoch, self._submitted, wanted))
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
        elif self._epochs != 0 and self._handed_out_before + self._handed_out != self._most:
            self._fill()

    def _end_epoch(self) -> None:
        if self._epochs is not None:
            self._epochs -= 1
        if not self._in_row_order and self._is_current:
            self._turn()
        if self._epochs == 0:
            self._stop()
            return
        self._start_epoch()
        if self._handed_out_before != self._most:
            self._fill()

    def _turn(self) -> None:
        """Ends an epoch of the loader."""
        assert self._makers is not None
        loader = self._loader
        if loader._turns:
            self._makers.turn(loader._epoch)
        loader._epoch += 1
        loader._begun = False

    @property
    def left(self) -> int:
        """Batches left in the epoch under way; all of the next one at its end."""
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
        """Stops; nothing comes after it.

        May be called in any thread. One that waits for a batch gets a `HeadraceError`, once the
        batch that it waits for is made if that has begun.
        """
        self._closed = True
        for future in list(self._waiting):
            future.cancel()
        # A thread that is taking a batch does the rest.
        if self._taking.acquire(blocking=False):
            try:
                self._stop()
            finally:
                self._taking.release()

    def _stop(self) -> None:
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
        if self._makers is not None and self._loader._pool is None:
            self._finalizer()
        self._makers = None
