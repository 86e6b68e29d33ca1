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
    """A group of batches in the making.

    Attributes:
        arrays: Its rows.
        blocks: The memory in which they lie.
        nbytes: Their bytes.
        rows_left: Rows that are still to come.
        seconds: Spent on it so far.
        failed: Rows `[start, stop)` that will not come, and why.
        results: What the user gets, as far as it is made.
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

    def __init__(self, making: PendingGroup) -> None:
        results = making.results
        self.results = deque(results)
        self.sizes = [
            making.nbytes // len(results)
            if isinstance(result, Failure)
            else sum(array.nbytes for array in leaves(result))
            for result in results
        ]
        self.nbytes = sum(self.sizes)
        self.seconds = making.seconds / len(results)
        self.blocks = making.blocks


class BatchQueue:
    """The groups of batches of an iterator, which take at most so many bytes.

    Not thread-safe: the caller holds a lock.

    Args:
        fields: Of a row.
        ahead: Bytes of batches that may be ready or in the making.
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
        self._making: dict[int, PendingGroup] = {}
        self._made: dict[int, ReadyGroup] = {}
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
        """Whether a group is in the making, or there is room for its batches."""
        if group in self._making or len(self._making) + len(self._made) < 2:
            return True
        if self._batch_bytes is None:
            return False
        results = batches if self._steps == 1 else 1
        return self._held + results * self._batch_bytes <= self._ahead

    def begin(self, group: int, rows: int) -> PendingGroup:
        """A group that is in the making, begun now if need be."""
        if group not in self._making:
            making = self._making[group] = PendingGroup(rows, self._memory)
            self._hold(making.nbytes)
        return self._making[group]

    def finish(self, group: int, made: ReadyGroup) -> None:
        """Notes that a group is ready."""
        self._hold(made.nbytes - self._making.pop(group).nbytes)
        self._batch_bytes = max(self._batch_bytes or 0, *made.sizes)
        self._batch_seconds = made.seconds
        self._made[group] = made

    def take(self, group: int) -> deque[Any] | None:
        """The batches of a group, which leave now; None while they are not ready."""
        # Those before counted as held until the last of them had left.
        self._let_go()
        made = self._made.pop(group, None)
        if made is None:
            return None
        self._leaving = made
        if len(made.results) == 1:
            self._let_go()
        return made.results

    def _let_go(self) -> None:
        if self._leaving is not None:
            self._hold(-self._leaving.nbytes)
            self._memory.give(self._leaving.blocks)
            self._leaving = None

    @property
    def making(self) -> bool:
        """Whether any group is in the making."""
        return bool(self._making)

    @property
    def runs_low(self) -> bool:
        """Whether half of what may be ready has left."""
        return self._held * 2 <= self._ahead or len(self._made) < 2

    def close(self) -> None:
        """Forgets everything."""
        self._hold(-self._held)
        self._making.clear()
        for made in self._made.values():
            forget_failures(made.results)
        self._made.clear()
        self._memory.clear()
        self._leaving = None

    def _hold(self, nbytes: int) -> None:
        self._held += nbytes
        self._ledger.take(nbytes)
