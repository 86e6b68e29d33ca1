"""Makes the batches of an epoch in one thread; `prefetch` must give the same."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from headrace.errors import BadSampleError
from headrace.loading.bad_rows import BadRows
from headrace.loading.cache import CachedFields
from headrace.loading.timing import Timing
from headrace.loading.view import DecodedBlocks, View
from headrace.loading.window import (
    AddressedWindow,
    Array,
    Arrays,
    Buffers,
    DecodedWindow,
    LoadedWindow,
)
from headrace.order import Order, Permutation, RowOrder, stream_key
from headrace.sources import Read, empty_arrays
from headrace.spec import Field, Indices
from headrace.transform import stacked

Collate = Callable[[Mapping[str, Array]], Any]
"""Turns the arrays of a batch into what the user gets."""


class Group(NamedTuple):
    """Batches that are made together: `batches` of them, from batch `first` on."""

    first: int
    batches: int


class WindowSlice(NamedTuple):
    """The rows that a group takes from one window: places `start .. stop - 1` of the epoch."""

    group: Group
    window: int
    start: int
    stop: int


class Failure:
    """Why a batch could not be made.

    Nothing else refers to the error while it waits. Its traceback leads to frames of the threads,
    and these to failures: once the error is taken out, no such cycle holds memory until the garbage
    collector comes.
    """

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException | None = error

    def take(self) -> BaseException:
        """The error, which is the caller's from now on."""
        error, self._error = self._error, None
        return error or RuntimeError("an error was taken twice")


def forget_failures(results: Iterable[Any]) -> None:
    """Forgets the errors of batches that will not be requested."""
    for result in results:
        if isinstance(result, Failure):
            result.take()


_ATTEMPTS = 1000
"""Rows that are tried in place of one that cannot be read."""

Failures = Sequence[tuple[int, int, Failure]]


@dataclass
class Epoch:
    """Everything that decides what one epoch hands out.

    Attributes:
        view: The rows.
        order: Which rows come when.
        cached: Fields that stay in memory.
        buffers: Memory for windows.
        batch_size: Rows in a batch.
        rows: Rows that are handed out; the last batch may be smaller than the others.
        collate: Turns the arrays of a batch into what the user gets.
        key: The seed and the number of the epoch.
        bad: The rows that could not be read, and what becomes of their samples.
        steps: Batches that leave as one, in arrays `(steps, batch_size, ...)`; the last few,
            or batches that differ in shape, as a list.
    """

    view: View
    order: Order
    cached: CachedFields
    buffers: Buffers
    batch_size: int
    rows: int
    collate: Collate
    key: tuple[int, int]
    bad: BadRows
    steps: int = 1
    timing: Timing = field(default_factory=Timing)
    _seen: DecodedBlocks = field(default_factory=DecodedBlocks)

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    @cached_property
    def _fields(self) -> list[Field]:
        """Those that are read; asked for only after the cached fields are filled."""
        kept = self.cached.arrays
        return [f for f in self.view.fields if f.name not in kept]

    def bounds(self, group: Group) -> tuple[int, int]:
        """The places of the epoch that batches take, as `[start, stop)`."""
        start = group.first * self.batch_size
        return start, min(start + group.batches * self.batch_size, self.rows)

    def pieces(
        self, first: int, batches_per_group: Callable[[], int] = lambda: 1
    ) -> Iterator[WindowSlice]:
        """What batch `first` and those after it take from each window, in order.

        `batches_per_group` is called for each group, and says how many batches it has.
        """
        window = self.order.find(first * self.batch_size)
        while first < len(self):
            group = Group(first, min(batches_per_group(), len(self) - first))
            first += group.batches
            start, stop = self.bounds(group)
            while start < stop:
                if start >= self.order.starts[window + 1]:
                    window += 1
                    continue
                end = min(stop, int(self.order.starts[window + 1]))
                yield WindowSlice(group, window, start, end)
                start = end

    def open_window(self, index: int) -> LoadedWindow:
        """A window, before its reads have run."""
        window = self.order.window(index)
        places = window.start, window.start + window.size
        if isinstance(self.order, RowOrder):
            rows = self.order.places(*places)
            return AddressedWindow(window, rows, self.view, self._fields, self.cached)
        if not self._fields:
            rows = window.positions()
            rows = rows if window.order is None else rows[window.order]
            return AddressedWindow(window, rows, self.view, [], self.cached)
        most = int(np.diff(self.order.starts).max())
        names = [f.name for f in self._fields]
        self.timing.add(repeated=self.view.note_blocks(window.positions(), names, self._seen))
        return DecodedWindow(window, most, self.view, self._fields, self.cached, self.buffers)

    def run(self, read: Read) -> None:
        """Runs a read, and counts what it cost and which rows it could not read."""
        stats = read()
        self.bad.note(stats.bad)
        self.timing.add_cost(stats)

    def gather(self, loaded: LoadedWindow, piece: WindowSlice, out: Arrays) -> Failures:
        """Fills the rows of a slice in the arrays of its group; returns which of them failed."""
        try:
            self._gather_some(loaded, piece, piece.start, piece.stop, out)
        except BaseException as error:  # noqa: BLE001 - relayed
            first, _ = self.bounds(piece.group)
            if piece.group.batches == 1:
                return [(piece.start - first, piece.stop - first, Failure(error))]
        else:
            return []
        return self._gather_apart(loaded, piece, out)

    def _gather_apart(self, loaded: LoadedWindow, piece: WindowSlice, out: Arrays) -> Failures:
        """Gathers batch by batch, so that only batches with unreadable rows fail."""
        first, _ = self.bounds(piece.group)
        failed = []
        for start, stop in self._parts(piece.group):
            low, high = max(start + first, piece.start), min(stop + first, piece.stop)
            if low < high:
                try:
                    self._gather_some(loaded, piece, low, high, out)
                except BaseException as error:  # noqa: BLE001 - relayed
                    failed.append((start, stop, Failure(error)))
        return failed

    def _gather_some(
        self, loaded: LoadedWindow, piece: WindowSlice, start: int, stop: int, out: Arrays
    ) -> None:
        first, _ = self.bounds(piece.group)
        part = {name: array[start - first : stop - first] for name, array in out.items()}
        began = time.perf_counter()
        cost = loaded.gather(start, stop, part)
        self.bad.note(cost.bad)
        self.timing.add_cost(cost, gather=time.perf_counter() - began)
        if self.bad:
            self._replace_bad(loaded.positions(start, stop), part)

    def _replace_bad(self, positions: Indices, out: Arrays) -> None:
        """Replaces the samples of rows that could not be read, if they may be.

        Raises:
            BadSampleError: If they may not.
        """
        for place in self.bad.among(positions):
            for name, values in self._substitute(int(positions[place])).items():
                out[name][place] = values[0]

    def _substitute(self, position: int) -> Arrays:
        """The row that stands for one that could not be read: a function of it and of `key`."""
        for attempt in range(_ATTEMPTS):
            self.bad.check(position)
            key = stream_key(*self.key, "substitute", attempt)
            found = Permutation(len(self.view), key)(np.array([position]))
            if int(found[0]) not in self.bad:
                arrays, stats = self.view.read_any(found, self.view.names)
                if not stats.bad:
                    return dict(arrays)
                self.bad.note(stats.bad)
        raise BadSampleError(f"None of {_ATTEMPTS} other rows drawn in place of one can be read.")

    def complete(
        self,
        group: Group,
        arrays: Arrays,
        failed: Failures = (),
        results: list[Any] | None = None,
    ) -> list[Any]:
        """Finishes the batches of a group whose pieces are all there, each by itself.

        Args:
            group: The batches.
            arrays: Their rows.
            failed: Places `[start, stop)` of the epoch that could not be read, and why.
            results: Takes each result as soon as it is there; an empty list.

        Returns:
            What the user gets; a `Failure` in place of a batch that could not be made.
        """
        began = time.perf_counter()
        results = [] if results is None else results
        if self.steps > 1:
            results.append(self._complete_steps(arrays, group, failed))
        else:
            for start, stop in self._parts(group):
                results.append(self._complete_one(arrays, start, stop, failed))
        self.timing.add(transform=time.perf_counter() - began)
        return results

    def _complete_steps(self, arrays: Arrays, group: Group, failed: Failures) -> Any:
        """All batches of a group as one."""
        start, stop = self.bounds(group)
        shape = self.steps, self.batch_size
        whole = stop - start == self.steps * self.batch_size
        if whole and not failed and getattr(self.collate, "moves_only", False):
            several = {name: a.reshape(*shape, *a.shape[1:]) for name, a in arrays.items()}
            return self.collate(several)
        batches = []
        for low, high in self._parts(group):
            batch = self._complete_one(arrays, low, high, failed)
            if isinstance(batch, Failure):
                return batch
            batches.append(batch)
        as_one = stacked(batches) if group.batches == self.steps else None
        return batches if as_one is None else as_one

    def _parts(self, group: Group) -> Iterator[tuple[int, int]]:
        """For each batch of a group, its rows, counted from the first of the group."""
        first, last = self.bounds(group)
        for start in range(first, last, self.batch_size):
            yield start - first, min(start + self.batch_size, last) - first

    def _complete_one(self, arrays: Arrays, start: int, stop: int, failed: Failures) -> Any:
        for low, high, failure in failed:
            if low < stop and start < high:
                return failure
        try:
            return self.collate({name: array[start:stop] for name, array in arrays.items()})
        except BaseException as error:  # noqa: BLE001 - relayed
            return Failure(error)


def batches(epoch: Epoch, first: int = 0) -> Generator[Any, None, None]:
    """The batches of an epoch from `first` on, made in the calling thread."""
    _fill_cached(epoch)
    loaded: LoadedWindow | None = None
    index = -1
    arrays: Arrays = {}
    failed: list[tuple[int, int, Failure]] = []
    try:
        for piece in epoch.pieces(first):
            if loaded is None or piece.window != index:
                if loaded is not None:
                    loaded.close()
                index, loaded = piece.window, epoch.open_window(piece.window)
                for read in loaded.reads:
                    epoch.run(read)
            start, stop = epoch.bounds(piece.group)
            if piece.start == start:
                arrays = empty_arrays(epoch.view.fields, stop - start)
            failed += epoch.gather(loaded, piece, arrays)
            if piece.stop == stop:
                (batch,) = epoch.complete(piece.group, arrays, failed)
                if isinstance(batch, Failure):
                    raise batch.take()
                yield batch
    finally:
        if loaded is not None:
            loaded.close()


def _fill_cached(epoch: Epoch) -> None:
    reads = epoch.cached.begin()
    if not reads:
        return
    complete = False
    try:
        for read in reads:
            epoch.run(read)
        complete = True
    finally:
        epoch.cached.end(complete)
