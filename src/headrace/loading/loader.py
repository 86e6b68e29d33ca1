"""`Loader`: batches of a data set, epoch after epoch."""

import contextlib
import itertools
import secrets
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, NoReturn

import numpy as np

from headrace.errors import MemoryBudgetError, OptionError, StateError, check_integer, check_seconds
from headrace.loading.bad_rows import BadRows, check_rows
from headrace.loading.batches import Batch, Batches
from headrace.loading.budget import INDEX_BYTES, Budget, share
from headrace.loading.cache import CachedFields
from headrace.loading.cursor import Cursor, Position
from headrace.loading.fill import Collate, Epoch, batches
from headrace.loading.orders import Orders
from headrace.loading.prefetch import Prefetch
from headrace.loading.prefetch.queue import BatchQueue
from headrace.loading.report import Report, Shuffle
from headrace.loading.state import State
from headrace.loading.timing import Ledger, Timing
from headrace.loading.view import View
from headrace.loading.window import Buffers
from headrace.order import BalancedSampler, Order
from headrace.resources import (
    check_budget,
    cpu_count,
    default_memory,
    format_bytes,
    parse_bytes,
)
from headrace.spec import short_list
from headrace.transform import with_class_weight

SHUFFLES = (True, False, "exact", "batch")


class Loader:
    """Batches of a data set, epoch after epoch; made by `Dataset.batch`.

    Each `for batch in loader` runs the next epoch, also after a loop that ended early.
    `model.fit`, `evaluate` and `predict` take a loader as `x`.
    The budget is for one iterator; each further iterator that runs at the same time takes as much
    again.

    Attributes:
        batch_size: Rows in a batch.
        shuffle: `True`, `False`, `"exact"` or `"batch"`.
        seed: Of the order; drawn once if none was given.
        drop_remainder: Whether a smaller last batch is left out.
        memory: The budget in bytes.
        workers: Threads that read, decode and gather.
        timeout: Seconds that making a batch, or one read for it, may take; None for no limit.

    Args:
        keep: Whether fields that fit the budget stay in memory: no use in a single epoch.
        on_error: "raise" or "skip", for rows that a source cannot read.
        max_bad: The share of rows that "skip" may replace.
        order: The order of every epoch, in place of the one that `shuffle` asks for.
    """

    def __init__(
        self,
        view: View,
        collate: Collate,
        batch_size: int,
        *,
        shuffle: bool | str = False,
        seed: int | None = None,
        drop_remainder: bool = False,
        memory: int | str | None = None,
        workers: int | None = None,
        keep: bool = True,
        sampler: BalancedSampler | None = None,
        timeout: float | None = None,
        on_error: str = "raise",
        max_bad: float = 0.01,
        order: Order | None = None,
    ) -> None:
        check_seconds("timeout", timeout)
        _check_options(batch_size, shuffle, seed, workers)
        self._length = len(view) if sampler is None else sampler.length
        if drop_remainder and self._length < batch_size:
            raise OptionError(
                f"drop_remainder=True leaves nothing: {self._length} rows are less than one batch "
                f"of {batch_size}."
            )
        self._view = view
        self._sampler = sampler
        self._collate = collate
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.seed = secrets.randbits(31) if seed is None else int(seed)
        self.drop_remainder = bool(drop_remainder)
        self.memory = default_memory() if memory is None else parse_bytes(memory)
        self.workers = cpu_count() if workers is None else int(workers)
        self.timeout = timeout
        self._budget = share(
            view, self.batch_size, self.memory, self.workers, shuffle, keep, self._length
        )
        self._orders = Orders(view, self._budget, sampler, self.batch_size, self.memory, shuffle)
        self._own_order = order
        self._bad = BadRows(len(view), on_error, max_bad)
        self._timing = Timing()
        self._ledger = Ledger()
        budget = self._budget
        self._cached = CachedFields(view, budget.cached, self._ledger, budget.cached_rows)
        self._buffers = Buffers(view.fields, self._ledger)
        in_windows = not self._budget.row_by_row and shuffle is not False
        capacity = self._budget.capacity if in_windows else 0
        self._cursor = Cursor(Position(0, 0, capacity, self._budget.blocks_per_read))

    def check_memory(self) -> None:
        """Makes sure that this process may ever hold what the loader will.

        Raises:
            MemoryBudgetError: If not; says what fits.
        """
        check_budget(self._budget.needed)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A loader does not pickle: its threads and memory belong to this process. Pickle the "
            "data set, and call batch() where it is used; state_dict() keeps the position."
        )

    def __repr__(self) -> str:
        options = f"shuffle={self.shuffle!r}, seed={self.seed}" if self.shuffle else "shuffle=False"
        dropped = ", drop_remainder=True" if self.drop_remainder else ""
        return (
            f"<Loader of {len(self):,} batches of {self.batch_size:,}: {options}{dropped}, "
            f"memory={format_bytes(self.memory)}, workers={self.workers}; "
            f"{short_list(self._view.fields)}>"
        )

    # Length and position.

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.rows() // self.batch_size)

    def rows(self, every: bool = False) -> int:
        """Rows in an epoch; with `every`, also those that `drop_remainder` leaves out."""
        if self.drop_remainder and not every:
            return self._length // self.batch_size * self.batch_size
        return self._length

    @property
    def view(self) -> View:
        """The rows."""
        return self._view

    @property
    def budget(self) -> Budget:
        """How the memory is shared."""
        return self._budget

    def with_memory(self, memory: int) -> "Loader":
        """A loader of the same batches, in the same order, with another memory budget."""
        return Loader(
            self._view,
            self._collate,
            self.batch_size,
            shuffle=self.shuffle,
            seed=self.seed,
            memory=memory,
            workers=self.workers,
            sampler=self._sampler,
        )

    @property
    def cached(self) -> tuple[str, ...]:
        """The fields that stay in memory."""
        return self._budget.cached

    @property
    def epoch(self) -> int:
        """The epoch under way, or the next one to start."""
        return self._cursor.consumed.epoch

    def state_dict(self) -> dict[str, Any]:
        """The position: what was handed out so far, in a form that JSON keeps.

        Small, and its size does not depend on the data's.

        Example:

        ```python
        for i, (x, y) in enumerate(loader):
            if i == 99:
                saved = loader.state_dict()
                break
        loader.load_state_dict(saved)    # the next loop starts with batch 100
        ```
        """
        return self._state().to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a saved position: the next loop continues from there.

        Under another memory budget than the saved one, the epoch under way keeps its
        windows, so that no row is lost or repeated.

        Raises:
            StateError: If the state was saved for other data, batches or order.
            MemoryBudgetError: If this budget cannot hold the saved windows.
        """
        saved = State.from_dict(state)
        saved.check_fits(self._state())
        if saved.batch > len(self):
            raise StateError(f"The state is at batch {saved.batch} of {len(self)}.")
        self._check_capacity(saved.capacity)
        self.seed = saved.seed
        position = Position(saved.epoch, saved.batch, saved.capacity, saved.blocks_per_read)
        if saved.batch == len(self):
            position = self._cursor.usual.start_of(saved.epoch + 1)
        self._cursor.go_to(position, loaded=True)

    def _check_capacity(self, capacity: int) -> None:
        """Makes sure that this budget can hold windows of `capacity` rows."""
        others = [f.name for f in self._view.fields if f.name not in self._budget.cached]
        by_row = self.shuffle in (False, "exact") or self._view.addressable(others)
        if others:
            fits = capacity <= 2 * self._budget.capacity
        else:
            # Such windows hold no rows, only which ones they are.
            fits = capacity * INDEX_BYTES <= self.memory - len(self._view) * self._view.row_bytes
        if not fits or (capacity == 0 and not by_row):
            what = f"windows of {capacity} rows" if capacity else "all rows in memory"
            raise MemoryBudgetError(
                f"The saved epoch was under way with {what}, which memory={self.memory} cannot "
                "hold. Give the loader the memory that it had when the state was saved."
            )

    def _state(self) -> State:
        position = self._cursor.consumed  # another thread may be taking batches
        return State(
            seed=self.seed,
            epoch=position.epoch,
            batch=position.batch,
            batch_size=self.batch_size,
            drop_remainder=self.drop_remainder,
            shuffle=self.shuffle,
            capacity=position.capacity,
            blocks_per_read=position.blocks_per_read,
            length=self._length,
            blocks=self._blocks_digest,
            fingerprint=self._fingerprint,
        )

    @cached_property
    def _blocks_digest(self) -> str:
        offsets = self._view.block_offsets([field.name for field in self._view.fields])
        return blake2b(offsets.tobytes(), digest_size=8).hexdigest()

    @cached_property
    def _fingerprint(self) -> str:
        found = self._view.fingerprint()
        return found if self._sampler is None else f"{found}/{self._sampler.digest}"

    # Batches.

    def __iter__(self) -> Iterator[Batch]:
        """One epoch: the next one, or the rest of the one that `load_state_dict` went to."""
        return self.stream()

    def stream(
        self,
        *,
        epochs: int | None = 1,
        in_row_order: bool = False,
        collate: Collate | None = None,
        ahead: int = 0,
        steps: int = 1,
    ) -> Batches:
        """Batches of some epochs, one after the other.

        Args:
            epochs: How many; None for no end.
            in_row_order: Gives every row, in row order, and leaves the loader's position alone.
            collate: Turns the arrays of a batch into what is handed out; None for the loader's own.
            ahead: 1 if the consumer asks for a batch before it uses the one before.
            steps: Batches that are handed out as one.
        """
        return Batches(
            self._cursor,
            partial(self._start, in_row_order=in_row_order, collate=collate, steps=steps),
            batch_size=self.batch_size,
            rows=self.rows(every=in_row_order),
            row_bytes=self._view.row_bytes,
            timing=self._timing,
            epochs=epochs,
            in_row_order=in_row_order,
            ahead=ahead,
            steps=steps,
        )

    def gives_at_once(self, steps: int, endless: bool) -> bool:
        """Whether `steps` batches can be made as one: two such fit what is set aside for batches.

        Args:
            steps: Batches.
            endless: Whether they are counted on from epoch to epoch, so that none may be left over.
        """
        even = len(self) % steps == 0 and self._cursor.next.batch % steps == 0
        nbytes = 2 * steps * self.batch_size * self._view.row_bytes
        return (even or not endless) and nbytes <= self._budget.ahead + self._budget.spare

    def weighted(self, class_weight: Mapping[int, float]) -> Collate:
        """What turns arrays into batches with weights of classes."""
        return with_class_weight(self._collate, class_weight)

    def __getitem__(self, index: int) -> Batch:
        """Batch `index` of the current epoch, made in this thread: for inspection."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} is out of range for {len(self)} batches")
        made = batches(self._describe(self._cursor.consumed, False, None), index % len(self))
        with contextlib.closing(made):
            return next(made)

    def peek(self, collate: Collate | None = None) -> Batch:
        """A batch of the first rows, as `batch_size` and `map` make it; the position stays.

        For inspecting shapes and dtypes: the rows come in row order.
        """
        positions = np.arange(min(self.batch_size, self._length)) % len(self._view)
        arrays, stats = self._view.read_any(positions, [f.name for f in self._view.fields])
        check_rows(stats)
        return (collate or self._collate)(dict(arrays))

    def go_to(self, epoch: int, batch: int = 0) -> None:
        """Makes a batch of an epoch the next one, unless `load_state_dict` said which is."""
        cursor = self._cursor
        if not cursor.loaded and (epoch, batch) != cursor.next[:2]:
            cursor.go_to(cursor.usual._replace(epoch=epoch, batch=batch))

    def _describe(
        self, position: Position, in_row_order: bool, collate: Collate | None, steps: int = 1
    ) -> Epoch:
        shuffle = False if in_row_order else self.shuffle
        return Epoch(
            view=self._view,
            order=self._order(position, shuffle),
            cached=self._cached,
            buffers=self._buffers,
            batch_size=self.batch_size,
            rows=self.rows(every=in_row_order),
            collate=collate or self._collate,
            key=(self.seed, position.epoch),
            bad=self._bad,
            steps=steps,
            timing=self._timing,
        )

    def _order(self, position: Position, shuffle: bool | str) -> Order:
        return self._own_order or self._orders.order(position, self.seed, shuffle)

    def _start(
        self,
        position: Position,
        epochs: int | None,
        *,
        in_row_order: bool,
        collate: Collate | None,
        steps: int,
    ) -> Prefetch:
        """Starts threads that make batches from a position on, to the end of `epochs` epochs."""
        self.check_memory()
        later = itertools.count(position.epoch + 1)
        starts = map(self._cursor.usual.start_of, later)
        positions = itertools.islice(itertools.chain([position], starts), epochs)
        ahead, spare = self._budget.ahead, self._budget.spare
        if steps > 1:
            least = 2 * steps * self.batch_size * self._view.row_bytes
            ahead, spare = max(ahead, least), min(spare, ahead + spare - max(ahead, least))
        return Prefetch(
            (self._describe(p, in_row_order, collate, steps) for p in positions),
            position.batch,
            cached=self._cached,
            output=BatchQueue(self._view.fields, ahead, spare, self._ledger, steps),
            workers=self._budget.workers,
            windows=1 if position.capacity > self._budget.capacity else 2,
            timing=self._timing,
            ledger=self._ledger,
            timeout=self.timeout,
            fetches=self._budget.fetches,
            bad=self._bad,
        )

    # Reporting.

    def report(self) -> Report:
        """Where the time and the memory went since the loader was made."""
        sums = self._timing.sums()
        seconds = sums.pop("elapsed")
        return Report(
            **sums,
            seconds=seconds,
            wait_share=sums["wait_for_data"] / seconds if seconds else 0.0,
            peak_bytes=self._ledger.peak,
            budget=self._budget.total,
            workers=self._budget.workers,
            cached=self._budget.cached,
            bad=self._bad.report(),
            shuffle=vars(self.mixing),
            paths={
                name: {"path": path.path, "reason": path.reason}
                for name, path in self._view.read_paths().items()
            },
        )

    @cached_property
    def mixing(self) -> Shuffle:
        """How well `shuffle` mixes."""
        if self.shuffle is False:
            return Shuffle("none")
        if self.shuffle == "batch":
            return Shuffle("batch")
        if not self._cursor.usual.capacity:
            return Shuffle("exact", None, 1.0)
        blocks = self._order(self._cursor.usual, True).mixed(0)
        bound = 1.0 if self._view.mixed else 1 + (self.batch_size - 1) / blocks
        return Shuffle("windows", blocks, bound)


def _check_options(
    batch_size: int, shuffle: bool | str, seed: int | None, workers: int | None
) -> None:
    """Makes sure that the arguments of `Loader` can be honoured.

    Raises:
        OptionError: If one cannot.
    """
    check_integer("batch_size", batch_size, 1)
    if not any(shuffle is s or (isinstance(s, str) and shuffle == s) for s in SHUFFLES):
        raise OptionError(
            f"Expected shuffle to be True, False, 'exact' or 'batch'. Received: {shuffle!r}"
        )
    check_integer("seed", seed, 0, or_none=True)
    check_integer("workers", workers, 1, or_none=True)
