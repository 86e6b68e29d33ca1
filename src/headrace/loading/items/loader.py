"""`ItemLoader`: reads ahead from an object that gives batches or samples by index."""

import secrets
import sys
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from headrace.errors import OptionError, check_integer, check_seconds
from headrace.loading.items.making import Batch, Wanted
from headrace.loading.items.processes import Workers
from headrace.loading.items.report import ItemReport
from headrace.loading.items.stream import BatchPlan, Collate, ItemStream, Makers
from headrace.loading.items.threads import Gate, Threads
from headrace.loading.timeouts import DEFAULT_TIMEOUT
from headrace.loading.timing import Timing
from headrace.order import Permutation, stream_key
from headrace.resources import cpu_count
from headrace.transform import with_class_weight


class ItemLoader:
    """Batches of an object with `__len__` and `__getitem__`; made by `from_sequence`.

    `for batch in loader` runs one epoch, each time the next one. `model.fit`, `evaluate` and
    `predict` take it as `x`.

    Attributes:
        shuffle: Whether indices come in random order.
        seed: Of that order, and of random numbers in worker processes.
        workers: Threads or processes that call the object.
        max_queue_size: Batches that are made ahead.
        batch_size: Items in a batch; None where each item is a batch.
        retries: How often a batch is made again whose worker process ended.
        timeout: Seconds that one batch may take; None for no limit.
    """

    def __init__(
        self,
        items: Any,
        *,
        workers: int | None = None,
        processes: bool = False,
        max_queue_size: int = 10,
        shuffle: bool = False,
        seed: int | None = None,
        batch_size: int | None = None,
        retries: int = 2,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        check_integer("workers", workers, 1, or_none=True)
        check_integer("max_queue_size", max_queue_size, 1)
        check_integer("seed", seed, 0, or_none=True)
        check_integer("batch_size", batch_size, 1, or_none=True)
        check_integer("retries", retries, 0)
        check_seconds("timeout", timeout)
        for name, value in (("processes", processes), ("shuffle", shuffle)):
            if not isinstance(value, bool):
                raise OptionError(f"Expected {name} to be True or False. Received: {value!r}")
        self._items = items
        self.shuffle = shuffle
        self.seed = secrets.randbits(31) if seed is None else int(seed)
        self.workers = cpu_count() if workers is None else int(workers)
        self.max_queue_size = int(max_queue_size)
        self.batch_size = batch_size
        self.retries = int(retries)
        self.timeout = None if timeout is None else float(timeout)
        self._turns = _does(items, "on_epoch_end")
        self._begins = _does(items, "on_epoch_begin")
        self._timing = Timing()
        self._gate = Gate(self.timeout)
        self._pool: Workers | None = None
        if processes:
            self._pool = Workers(items, self.workers, self.seed, self.retries, self.timeout)
            weakref.finalize(self, self._pool.tell_to_close).atexit = False
        # The epoch that is under way, or comes next; whether batches of it were handed out; and
        # the epoch and batch that are to come instead.
        self._epoch = 0
        self._begun = False
        self._wanted: tuple[int, int] | None = None
        self._peeked: tuple[tuple[int, Wanted], Future[Batch]] | None = None
        self._current: weakref.ref[ItemStream] | None = None

    def __repr__(self) -> str:
        how = "threads" if self._pool is None else "processes"
        size = "" if self.batch_size is None else f", batch_size={self.batch_size}"
        return (
            f"<ItemLoader of {type(self._items).__name__}{size}: shuffle={self.shuffle}, "
            f"workers={self.workers} {how}>"
        )

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-self._length() // (self.batch_size or 1))

    def _length(self) -> int:
        return len(self._items) if self._pool is None else self._pool.length()

    def __iter__(self) -> Iterator[Batch]:
        """One epoch: the next one."""
        return self.stream()

    def __getitem__(self, index: int) -> Batch:
        """Batch `index` in the order of the object, made on the spot: for a look."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} is out of range for {len(self)} batches")
        number = index % len(self)
        return self._make_now(self._epoch, number, self._plan(self._epoch, True)[number]).result()

    def peek(self, collate: Collate | None = None) -> Batch:
        """The next epoch's first batch, for its shapes and dtypes; it is not made once more."""
        epoch, number = self._wanted or (self._epoch + self._begun, 0)
        key = epoch, self._plan(epoch, False)[number]
        if self._peeked is None or self._peeked[0] != key:
            self._peeked = key, self._make_now(epoch, number, key[1])
        batch = self._peeked[1].result()
        return collate(batch) if collate else batch

    def _make_now(self, epoch: int, number: int, wanted: Wanted) -> "Future[Batch]":
        """A batch that is made while the caller waits."""
        makers = self._pool or Threads(self._items, 1, self._gate)
        try:
            future = makers.submit(epoch, number, wanted)
            makers.result(future)
        finally:
            if makers is not self._pool:
                makers.close()
        return future

    def _take_peeked(self, epoch: int, wanted: Wanted) -> "Future[Batch] | None":
        """The batch that `peek` made, if it is this one."""
        if self._peeked is None or self._peeked[0] != (epoch, wanted):
            return None
        future, self._peeked = self._peeked[1], None
        # What the object did at the beginning of the epoch may have made it another one.
        return None if self._begins else future

    def close(self) -> None:
        """Ends worker processes; they also end when the loader is gone."""
        if self._pool is not None:
            self._pool.close()

    def stream(
        self,
        *,
        epochs: int | None = 1,
        in_row_order: bool = False,
        collate: Collate | None = None,
        ahead: int = 0,  # noqa: ARG002 - there is no position to keep
        steps: int = 1,  # noqa: ARG002 - each batch is made by itself
        most: int | None = None,
    ) -> "ItemStream":
        """Batches of some epochs, one after the other; not made ahead beyond `most`."""
        return ItemStream(self, epochs, in_row_order, collate, most)

    def weighted(self, class_weight: Mapping[int, float]) -> Collate:
        """What adds weights of classes to a batch."""
        return with_class_weight(lambda batch: batch, class_weight)

    def gives_at_once(self, steps: int, endless: bool) -> bool:  # noqa: ARG002
        """Whether batches can be made as one: each is made by itself here."""
        return False

    def rows(self, every: bool = False) -> int | None:  # noqa: ARG002 - no row is ever left out
        """Rows that an epoch hands out: not known before they are made."""
        return None

    def go_to(self, epoch: int, batch: int = 0) -> None:
        """Makes batch `batch` of an epoch the next one: its order is that of this number."""
        self._wanted = epoch, batch

    def report(self) -> ItemReport:
        """Where the time went since the loader was made, and how often processes ended."""
        sums = self._timing.sums()
        seconds = sums["elapsed"]
        return ItemReport(
            samples=int(sums["samples"]),
            batches=int(sums["batches"]),
            epochs=int(sums["epochs"]),
            seconds=seconds,
            epoch_seconds=sums["epoch_seconds"],
            wait_for_data=sums["wait_for_data"],
            wait_share=sums["wait_for_data"] / seconds if seconds else 0.0,
            bytes=int(sums["bytes_decoded"]),
            workers=self.workers,
            processes=self._pool is not None,
            restarts=self._pool.restarts if self._pool is not None else 0,
        )

    def _makers(self) -> Makers:
        if self._pool is not None:
            return self._pool
        return Threads(self._items, self.workers, self._gate)

    def _plan(self, epoch: int, in_row_order: bool) -> "BatchPlan":
        """What the batches of an epoch are made of."""
        order = None
        length = self._length()
        if self.shuffle and not in_row_order:
            order = Permutation(length, stream_key(self.seed, epoch, "items"))
        return BatchPlan(length, self.batch_size, order)


def _does(items: Any, name: str) -> bool:
    """Whether the object does something at the beginning or the end of an epoch."""
    function = getattr(items, name, None)
    if not callable(function):
        return False
    utils = getattr(sys.modules.get("keras"), "utils", None)
    nothing = getattr(getattr(utils, "PyDataset", None), name, None)
    return nothing is None or getattr(function, "__func__", None) is not nothing
