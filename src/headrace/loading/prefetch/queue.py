"""The queue of batches: in progress, ready, and handed out; bounded in bytes."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from headrace.loading.fill import Failure, forget_failures
from headrace.loading.prefetch.memory import BatchMemory, Block
from headrace.loading.timing import Ledger
from headrace.loading.window import Arrays
from headrace.spec import Field, leaves

GROUP_BYTES = 1 << 18
"""Bytes of a group of small batches, which are made together. A consumer that keeps one of them
keeps the memory of its group."""

FEW = 4
FEW_BYTES = 1 << 22
"""Larger ones too, so many of them or as many as make this: threads meet less often."""

GROUP_SECONDS = 0.005
"""What making a group may take: the first of its batches waits for the last."""


class PendingGroup:
    """A group of batches in progress.

    Attributes:
        arrays: Its rows.
        blocks: The memory in which they lie.
        nbytes: Their bytes.
        rows_left: Rows that are still to come.
        seconds: Spent on it so far.
        failed: Rows `[start, stop)` that will not come, and why.
        results: What the user gets, as far as it is there.
    """

    def __init__(self, rows: int, memory: BatchMemory) -> None:
        self.arrays: Arrays
        self.blocks: list[tuple[str, Block]]
        self.arrays, self.blocks = memory.take(rows)
        self.nbytes = sum(array.nbytes for array in self.arrays.values())
        self.rows_left = rows
        self.seconds = 0.0
        self.failed: list[tuple[int, int, Failure]] = []
        self.results: list[Any] = []


class ReadyGroup:
    """A group of batches that are ready, or failed.

    Attributes:
        results: What the user gets, or a `Failure`.
        sizes: The bytes of each.
        seconds: What making one of them took.
    """

    def __init__(self, pending: PendingGroup) -> None:
        results = pending.results
        self.results = deque(results)
        self.sizes = [
            pending.nbytes // len(results)
            if isinstance(result, Failure)
            else sum(array.nbytes for array in leaves(result))
            for result in results
        ]
        self.nbytes = sum(self.sizes)
        self.seconds = pending.seconds / len(results)
        self.blocks = pending.blocks


class BatchQueue:
    """The groups of batches of an iterator, which take at most so many bytes.

    Not thread-safe: the caller holds a lock.

    Args:
        fields: Of a row.
        ahead: Bytes of batches that may be ready or in progress.
        spare: Bytes of batches that were handed out, kept for their next use.
        ledger: Counts the bytes held.
        steps: Batches that leave as one.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        ahead: int,
        spare: int,
        ledger: Ledger,
        steps: int = 1,
    ) -> None:
        self._ahead = ahead
        self._steps = steps
        self._ledger = ledger
        self._memory = BatchMemory(fields, spare, ledger)
        self._pending: dict[int, PendingGroup] = {}
        self._ready: dict[int, ReadyGroup] = {}
        self._leaving: ReadyGroup | None = None
        self._held = 0
        # Until the first batch is made, what map functions make of it is not known.
        self._batch_bytes: int | None = None
        self._batch_seconds = 0.0

    def batches_per_group(self) -> int:
        """How many batches to make together."""
        if self._steps > 1:
            return self._steps
        if not self._batch_bytes:
            return 1
        many = min(GROUP_BYTES, self._ahead // 8) // self._batch_bytes
        few = min(FEW_BYTES, self._ahead // 3) // self._batch_bytes
        count = max(many, min(few, FEW))
        if self._batch_seconds:
            count = min(count, int(GROUP_SECONDS / self._batch_seconds))
        return max(1, count)

    def takes(self, group: int, batches: int) -> bool:
        """Whether a group is in progress, or there is room for its batches."""
        if group in self._pending or len(self._pending) + len(self._ready) < 2:
            return True
        if self._batch_bytes is None:
            return False
        results = batches if self._steps == 1 else 1
        return self._held + results * self._batch_bytes <= self._ahead

    def begin(self, group: int, rows: int) -> PendingGroup:
        """A group in progress, begun now if need be."""
        if group not in self._pending:
            pending = self._pending[group] = PendingGroup(rows, self._memory)
            self._hold(pending.nbytes)
        return self._pending[group]

    def finish(self, group: int, ready_group: ReadyGroup) -> None:
        """Notes that a group is ready."""
        self._hold(ready_group.nbytes - self._pending.pop(group).nbytes)
        self._batch_bytes = max(self._batch_bytes or 0, *ready_group.sizes)
        self._batch_seconds = ready_group.seconds
        self._ready[group] = ready_group

    def take(self, group: int) -> deque[Any] | None:
        """The batches of a group, which leave now; None while they are not ready."""
        # Those before counted as held until the last of them had left.
        self._let_go()
        ready_group = self._ready.pop(group, None)
        if ready_group is None:
            return None
        self._leaving = ready_group
        if len(ready_group.results) == 1:
            self._let_go()
        return ready_group.results

    def _let_go(self) -> None:
        if self._leaving is not None:
            self._hold(-self._leaving.nbytes)
            self._memory.give(self._leaving.blocks)
            self._leaving = None

    @property
    def pending(self) -> bool:
        """Whether any group is in progress."""
        return bool(self._pending)

    @property
    def runs_low(self) -> bool:
        """Whether half of what may be ready has left."""
        return self._held * 2 <= self._ahead or len(self._ready) < 2

    def close(self) -> None:
        """Forgets everything."""
        self._hold(-self._held)
        self._pending.clear()
        for ready_group in self._ready.values():
            forget_failures(ready_group.results)
        self._ready.clear()
        self._memory.clear()
        self._leaving = None

    def _hold(self, nbytes: int) -> None:
        self._held += nbytes
        self._ledger.take(nbytes)
