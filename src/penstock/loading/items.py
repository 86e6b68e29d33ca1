"""Batches of somebody else's making: objects that give one for each index, read ahead of time."""

import secrets
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from penstock.errors import DataError, OptionError, check_integer
from penstock.loading.processes import Workers
from penstock.loading.timing import Timing
from penstock.order import Permutation, stream_key
from penstock.resources import cpu_count
from penstock.spec import PARTS, leaves
from penstock.transform import with_class_weight

Batch = Any
Finish = Callable[[Batch], Batch]
Wanted = int | list[int]
"""Which item, or which items make a batch."""

_PLAN_ITEMS = 4096
"""Items whose order is worked out at a time: one by one, it would cost more than the items."""


class Makers(Protocol):
    """Whoever calls the object: threads, or processes that have a copy of it."""

    def submit(self, epoch: int, number: int, wanted: Wanted) -> "Future[Batch]":
        """Has a batch made."""

    def turn(self, epoch: int) -> None:
        """Calls `on_epoch_end` where the object is used; nothing is being made meanwhile."""

    def length(self) -> int:
        """How many items there are now."""

    def close(self) -> None:
        """Ends threads or processes."""


class Threads:
    """Calls the object in threads of this process."""

    def __init__(self, items: Any, workers: int) -> None:
        self._items = items
        self._threads = ThreadPoolExecutor(workers, "penstock-items")

    def submit(self, epoch: int, number: int, wanted: Wanted) -> "Future[Batch]":  # noqa: ARG002
        return self._threads.submit(make, self._items, wanted, number)

    def turn(self, epoch: int) -> None:  # noqa: ARG002 - threads share the object's own state
        self._items.on_epoch_end()

    def length(self) -> int:
        return len(self._items)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def make(items: Any, wanted: Wanted, number: int) -> Batch:
    """One batch, as arrays.

    Raises:
        DataError: If it is none; and whatever the object raises, with a note of the batch.
    """
    try:
        if isinstance(wanted, int):
            return as_batch(items[wanted], number)
        return as_batch(_stacked([items[index] for index in wanted]), number)
    except DataError:
        raise
    except Exception as error:
        error.add_note(f"raised while batch {number} was made")
        raise


def as_batch(made: Any, number: int) -> Batch:
    """What an object gave, as `(x,)`, `(x, y)` or `(x, y, sample_weight)` of NumPy arrays.

    Raises:
        DataError: If it cannot be that; names the batch.
    """
    parts = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    while len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    if not 1 <= len(parts) <= 3:
        raise DataError(
            f"Expected batch {number} to be x, (x, y) or (x, y, sample_weight). Received: a "
            f"{type(made).__name__} of {len(parts)}."
        )
    batch = tuple(_arrays(part, name, number) for part, name in zip(parts, PARTS, strict=False))
    rows = {len(array) if array.ndim else 0 for array in leaves(batch)}
    if len(rows) != 1 or not min(rows):
        shapes = ", ".join(str(array.shape) for array in leaves(batch))
        raise DataError(
            f"Expected the arrays of batch {number} to have the same number of rows, one or more. "
            f"Received: shapes {shapes or 'of no array'}."
        )
    return batch


def _arrays(part: Any, name: str, number: int) -> Any:
    """A nest with arrays as its leaves."""
    if isinstance(part, Mapping):
        return {key: _arrays(value, f"{name}.{key}", number) for key, value in part.items()}
    if isinstance(part, (list, tuple)) and not _is_numbers(part):
        return tuple(_arrays(value, f"{name}.{i}", number) for i, value in enumerate(part))
    try:
        # Tensors of PyTorch and TensorFlow know the way themselves.
        part = part.detach().cpu() if hasattr(part, "detach") else part
        array = np.ascontiguousarray(part) if np.ndim(part) else np.asarray(part)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} of batch {number} is no array: {error}") from error
    if array.dtype.hasobject:
        raise DataError(
            f"{name} of batch {number} holds Python objects ({type(part).__name__}). Expected "
            "arrays of numbers, all samples of one shape."
        )
    return array


def _is_numbers(values: Sequence[Any]) -> bool:
    """Whether a list stands for an array, and not for several inputs."""
    return bool(values) and all(np.isscalar(value) for value in values)


def _stacked(samples: list[Any]) -> Any:
    """Samples, each `x`, `(x, y)` or a nest, as one batch."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: _stacked([sample[key] for sample in samples]) for key in first}
    if isinstance(first, (tuple, list)) and not _is_numbers(first):
        return tuple(_stacked([sample[i] for sample in samples]) for i in range(len(first)))
    arrays = [np.asarray(s.detach().cpu() if hasattr(s, "detach") else s) for s in samples]
    try:
        return np.stack(arrays)
    except ValueError as error:
        shapes = sorted({str(array.shape) for array in arrays})
        raise DataError(
            f"Samples of one batch have different shapes: {', '.join(shapes)}. Expected one shape."
        ) from error


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
    ) -> None:
        check_integer("workers", workers, 1, or_none=True)
        check_integer("max_queue_size", max_queue_size, 1)
        check_integer("seed", seed, 0, or_none=True)
        check_integer("batch_size", batch_size, 1, or_none=True)
        for name, value in (("processes", processes), ("shuffle", shuffle)):
            if not isinstance(value, bool):
                raise OptionError(f"Expected {name} to be True or False. Received: {value!r}")
        self._items = items
        self.shuffle = shuffle
        self.seed = secrets.randbits(31) if seed is None else int(seed)
        self.workers = cpu_count() if workers is None else int(workers)
        self.max_queue_size = int(max_queue_size)
        self.batch_size = batch_size
        self._turns = _has_own_end(items)
        self._timing = Timing()
        self._pool: Workers | None = None
        if processes:
            self._pool = Workers(items, self.workers, self.seed)
            weakref.finalize(self, self._pool.close)
        self._epoch = 0
        self._begun = False
        self._peeked: tuple[tuple[int, Wanted], Future[Batch]] | None = None
        self._current: weakref.ref[ItemStream] | None = None

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
        return make(self._items, self._plan(self._epoch, True)[number], number)

    def peek(self, finish: Finish | None = None) -> Batch:
        """The next epoch's first batch, for its shapes and dtypes; it is not made once more."""
        key = self._epoch, self._plan(self._epoch, False)[0]
        if self._peeked is None or self._peeked[0] != key:
            future: Future[Batch] = Future()
            if self._pool is None:
                future.set_result(make(self._items, key[1], 0))
            else:
                future = self._pool.submit(key[0], 0, key[1])
            self._peeked = key, future
        batch = self._peeked[1].result()
        return finish(batch) if finish else batch

    def _take_peeked(self, epoch: int, wanted: Wanted) -> "Future[Batch] | None":
        """The batch that `peek` made, if it is this one."""
        if self._peeked is None or self._peeked[0] != (epoch, wanted):
            return None
        future, self._peeked = self._peeked[1], None
        return future

    def close(self) -> None:
        """Ends worker processes; they also end when the loader is gone."""
        if self._pool is not None:
            self._pool.close()

    def stream(
        self,
        *,
        epochs: int | None = 1,
        in_row_order: bool = False,
        finish: Finish | None = None,
        ahead: int = 0,  # noqa: ARG002 - there is no position to keep
    ) -> "ItemStream":
        """Batches of some epochs, one after the other."""
        return ItemStream(self, epochs, in_row_order, finish)

    def weighted(self, class_weight: Mapping[int, float]) -> Finish:
        """What adds weights of classes to a batch."""
        return with_class_weight(lambda batch: batch, class_weight)

    @property
    def last_rows(self) -> int | None:
        """Not known before it is made."""
        return None

    def go_to_epoch(self, epoch: int) -> None:
        """Makes `epoch` the next one to start: its order is that of this number."""
        self._epoch = epoch

    def _makers(self) -> Makers:
        return Threads(self._items, self.workers) if self._pool is None else self._pool

    def _plan(self, epoch: int, in_row_order: bool) -> "_Plan":
        """What the batches of an epoch are made of."""
        order = None
        length = self._length()
        if self.shuffle and not in_row_order:
            order = Permutation(length, stream_key(self.seed, epoch, "items"))
        return _Plan(length, self.batch_size, order)


class _Plan:
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


class ItemStream(Iterator[Batch]):
    """Batches of some epochs in order, made ahead of time."""

    def __init__(
        self, loader: ItemLoader, epochs: int | None, in_row_order: bool, finish: Finish | None
    ) -> None:
        self._loader = loader
        self._epochs = epochs
        self._in_row_order = in_row_order
        self._finish = finish
        self._makers: Makers | None = None
        self._waiting: deque[Future[Batch]] = deque()
        self._submitted = self._handed_out = 0
        self._count = 0
        self._mark = 0.0

    def __next__(self) -> Batch:
        if self._epochs == 0:
            raise StopIteration
        if self._makers is None:
            self._begin()
        began = time.perf_counter()
        try:
            self._fill()
            batch = self._waiting.popleft().result()
            self._note(batch, began)
            if self._finish is not None:
                batch = self._finish(batch)
        except BaseException:
            self.close()
            raise
        return batch

    def _begin(self) -> None:
        loader = self._loader
        self._makers = loader._makers()
        if loader._pool is None:
            # Not waiting: the garbage collector may run in one of these threads.
            self._finalizer = weakref.finalize(self, self._makers.close)
        if not self._in_row_order:
            loader._current = weakref.ref(self)
            if loader._begun:
                # The epoch before was broken off.
                self._turn()
            loader._begun = True
        self._mark = time.perf_counter()
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._plan = self._loader._plan(self._loader._epoch, self._in_row_order)
        self._count = len(self._loader)
        self._submitted = self._handed_out = 0

    def _fill(self) -> None:
        """Has as many batches made ahead as there is room for."""
        assert self._makers is not None
        loader = self._loader
        while len(self._waiting) < loader.max_queue_size and self._submitted < self._count:
            wanted = self._plan[self._submitted]
            made = loader._take_peeked(loader._epoch, wanted) if not self._submitted else None
            self._waiting.append(
                made or self._makers.submit(loader._epoch, self._submitted, wanted)
            )
            self._submitted += 1

    def _note(self, batch: Batch, began: float) -> None:
        now = time.perf_counter()
        arrays = leaves(batch)
        self._handed_out += 1
        last = self._handed_out == self._count
        nbytes = sum(array.nbytes for array in arrays)
        self._loader._timing.add_batch(len(arrays[0]), nbytes, last, now - self._mark)
        self._loader._timing.add(wait_for_data=now - began)
        self._mark = now
        if last:
            self._end_epoch()
        elif self._epochs != 0:
            self._fill()

    def _end_epoch(self) -> None:
        if self._epochs is not None:
            self._epochs -= 1
        if not self._in_row_order:
            self._turn()
        if self._epochs == 0:
            self._stop()
            return
        self._start_epoch()
        self._loader._begun = True
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
        return (self._count or len(self._loader)) - self._handed_out

    @property
    def is_next(self) -> bool:
        """Whether the next batch is the one that the loader would begin with."""
        current = self._loader._current
        return self._epochs != 0 and current is not None and current() is self

    def settle(self) -> None:
        """Nothing to do: there is no position to keep."""

    def close(self) -> None:
        """Stops; nothing comes after it."""
        self._epochs = 0
        self._stop()

    def _stop(self) -> None:
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
        if self._makers is not None and self._loader._pool is None:
            self._finalizer()
        self._makers = None


def _has_own_end(items: Any) -> bool:
    """Whether the object does something at the end of an epoch."""
    function = getattr(type(items), "on_epoch_end", None)
    return function is not None and not function.__module__.startswith("keras.")
