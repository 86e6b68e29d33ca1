"""`ItemLoader`: prefetches batches from an object with `__len__` and `__getitem__`."""

import secrets
import sys
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from headrace.errors import OptionError, check_integer, check_seconds
from headrace.loading.items.batch import Batch, ItemIndices
from headrace.loading.items.process_pool import WorkerProcesses
from headrace.loading.items.report import ItemReport
from headrace.loading.items.stream import Collate, ItemStream, WorkerPool
from headrace.loading.items.threads import BatchLock, WorkerThreads
from headrace.loading.timeouts import DEFAULT_TIMEOUT
from headrace.loading.timing import Timing
from headrace.order import Permutation, stream_key
from headrace.resources import cpu_count
from headrace.transform import with_class_weight

_INDICES_AT_A_TIME = 4096
"""Indices that are permuted per call: one call per index would cost more than the items."""


class ItemLoader:
    """Batches of an object with `__len__` and `__getitem__`; made by `from_sequence`.

    `for batch in loader` runs one epoch, each time the next one. `model.fit`, `evaluate` and
    `predict` take it as `x`.

    Attributes:
        shuffle: Whether indices come in random order.
        seed: Of that order, and of random numbers in worker processes.
        workers: Threads or processes that call the object.
        max_queue_size: How many batches are prefetched.
        batch_size: Items in a batch; None where each item is a batch.
        retries: How often a batch is requested again after its worker process ended.
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
        self._has_epoch_end = _overrides(items, "on_epoch_end")
        self._has_epoch_begin = _overrides(items, "on_epoch_begin")
        self._timing = Timing()
        self._lock = BatchLock(self.timeout)
        self._processes: WorkerProcesses | None = None
        if processes:
            self._processes = WorkerProcesses(
                items, self.workers, self.seed, self.retries, self.timeout
            )
            weakref.finalize(self, self._processes.request_close).atexit = False
        # The current epoch, or the next one; whether it has handed out batches; and the epoch and
        # batch to continue from instead, if a position was set.
        self._epoch = 0
        self._begun = False
        self._next_position: tuple[int, int] | None = None
        self._peeked: tuple[tuple[int, ItemIndices], Future[Batch]] | None = None
        self._current: weakref.ref[ItemStream] | None = None

    def __repr__(self) -> str:
        how = "threads" if self._processes is None else "processes"
        size = "" if self.batch_size is None else f", batch_size={self.batch_size}"
        return (
            f"<ItemLoader of {type(self._items).__name__}{size}: shuffle={self.shuffle}, "
            f"workers={self.workers} {how}>"
        )

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-self._length() // (self.batch_size or 1))

    def _length(self) -> int:
        return len(self._items) if self._processes is None else self._processes.length()

    def __iter__(self) -> Iterator[Batch]:
        """One epoch: the next one."""
        return self.stream()

    def __getitem__(self, index: int) -> Batch:
        """Batch `index` in the order of the object, made at once, for inspection."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} is out of range for {len(self)} batches")
        number = index % len(self)
        return self._make_now(
            self._epoch, number, self._batch_indices(self._epoch, True)[number]
        ).result()

    def peek(self, collate: Collate | None = None) -> Batch:
        """The next epoch's first batch, for its shapes and dtypes; it is not made once more."""
        epoch, number = self._next_position or (self._epoch + self._begun, 0)
        key = epoch, self._batch_indices(epoch, False)[number]
        if self._peeked is None or self._peeked[0] != key:
            self._peeked = key, self._make_now(epoch, number, key[1])
        batch = self._peeked[1].result()
        return collate(batch) if collate else batch

    def _make_now(self, epoch: int, number: int, indices: ItemIndices) -> "Future[Batch]":
        """A batch that is made while the caller waits."""
        pool = self._processes or WorkerThreads(self._items, 1, self._lock)
        try:
            future = pool.submit(epoch, number, indices)
            pool.result(future)
        finally:
            if pool is not self._processes:
                pool.close()
        return future

    def _take_peeked(self, epoch: int, indices: ItemIndices) -> "Future[Batch] | None":
        """The batch that `peek` made, if it is this one."""
        if self._peeked is None or self._peeked[0] != (epoch, indices):
            return None
        future, self._peeked = self._peeked[1], None
        # on_epoch_begin() may have changed which batch the index gives.
        return None if self._has_epoch_begin else future

    def close(self) -> None:
        """Ends worker processes; they also end when the loader is gone."""
        if self._processes is not None:
            self._processes.close()

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
        self._next_position = epoch, batch

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
            processes=self._processes is not None,
            restarts=self._processes.restarts if self._processes is not None else 0,
        )

    def _start_pool(self) -> WorkerPool:
        if self._processes is not None:
            return self._processes
        return WorkerThreads(self._items, self.workers, self._lock)

    def _batch_indices(self, epoch: int, in_row_order: bool) -> "BatchIndices":
        """The item indices of each batch of an epoch."""
        order = None
        length = self._length()
        if self.shuffle and not in_row_order:
            order = Permutation(length, stream_key(self.seed, epoch, "items"))
        return BatchIndices(length, self.batch_size, order)


class BatchIndices:
    """The item indices of each batch of an epoch, computed some thousand at a time."""

    def __init__(self, length: int, size: int | None, order: Permutation | None) -> None:
        self._length = length
        self._size = size
        self._order = order
        self._first = 0
        self._items: list[int] = []

    def __getitem__(self, number: int) -> ItemIndices:
        """The item indices of batch `number`."""
        size = self._size or 1
        first, stop = number * size, min((number + 1) * size, self._length)
        if not self._first <= first < stop <= self._first + len(self._items):
            places = np.arange(first, min(first + max(_INDICES_AT_A_TIME, size), self._length))
            self._first = first
            self._items = (places if self._order is None else self._order(places)).tolist()
        items = self._items[first - self._first : stop - self._first]
        return items if self._size else items[0]


def _overrides(items: Any, name: str) -> bool:
    """Whether the object has a method `name` other than the empty one of `PyDataset`."""
    function = getattr(items, name, None)
    if not callable(function):
        return False
    utils = getattr(sys.modules.get("keras"), "utils", None)
    nothing = getattr(getattr(utils, "PyDataset", None), name, None)
    return nothing is None or getattr(function, "__func__", None) is not nothing
