"""Memory of batches, reused once nothing refers to it.

Fresh memory costs a page fault for every page of it: about a tenth of the time that it takes to
decode gzip into it. An array keeps its block of memory alive, whether the consumer refers to it, a
view, or a framework that uses the same memory. So a block that only `BatchMemory` refers to is
free, and a block with other references is never touched.
"""

import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.loading.timing import Ledger
from headrace.resources import empty
from headrace.sources import empty_arrays
from headrace.spec import Field

Array = npt.NDArray[Any]

ALIGNMENT = 64
"""Bytes. JAX on the CPU copies arrays that begin elsewhere."""

SMALLEST = 1 << 14
"""Bytes. The allocator has smaller pieces at hand without page faults."""


class Block:
    """A block of memory in which arrays are placed."""

    __slots__ = ("bytes", "size", "start")

    def __init__(self, size: int) -> None:
        self.bytes: npt.NDArray[np.uint8] = empty(size + ALIGNMENT, np.uint8)
        self.start = -self.bytes.ctypes.data % ALIGNMENT
        self.size = size

    def array(self, rows: int, field: Field) -> Array:
        """An array of `rows` rows of a field, in this memory."""
        return np.ndarray((rows, *field.shape), field.dtype, self.bytes, self.start)

    def references(self) -> int:
        """How often its memory is referred to, by arrays in it and by itself."""
        return sys.getrefcount(self.bytes)


_ALONE = Block(1).references()


def _counts() -> bool:
    """Whether the number of references can be relied on."""
    block = Block(1)
    array = block.array(1, Field("probe", (), np.dtype(np.uint8)))
    held = block.references()
    del array
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    return bool(locked and held == _ALONE + 1 and block.references() == _ALONE)


_COUNTS = _counts()


class BatchMemory:
    """Arrays for batches, in memory that is used again.

    Not thread-safe: the caller holds a lock.

    Args:
        fields: Of a row.
        limit: Bytes that may wait for their next use.
        ledger: Counts them.
    """

    def __init__(self, fields: Sequence[Field], limit: int, ledger: Ledger) -> None:
        self._fields = fields
        self._limit = limit if _COUNTS else 0
        self._ledger = ledger
        self._waiting: deque[tuple[str, Block]] = deque()
        self._held = 0

    def take(self, rows: int) -> tuple[dict[str, Array], list[tuple[str, Block]]]:
        """Arrays for `rows` rows, and the blocks to `give` back once they are handed out."""
        arrays: dict[str, Array] = {}
        blocks = []
        for field in self._fields:
            size = rows * field.nbytes
            if size < SMALLEST or not self._limit:
                arrays |= empty_arrays([field], rows)
                continue
            block = self._find(field.name, size) or Block(size)
            blocks.append((field.name, block))
            arrays[field.name] = block.array(rows, field)
        return arrays, blocks

    def _find(self, name: str, size: int) -> Block | None:
        """A block of this size that nothing refers to: the last one given, for the caches."""
        for i in range(len(self._waiting) - 1, -1, -1):
            owner, block = self._waiting[i]
            if owner == name and block.size == size and block.references() == _ALONE:
                del self._waiting[i]
                self._held -= size
                self._ledger.give(size)
                return block
        return None

    def give(self, blocks: list[tuple[str, Block]]) -> None:
        """Takes blocks back, which may still be referred to; forgets the oldest ones."""
        for name, block in blocks:
            if block.size > self._limit:
                continue
            self._waiting.append((name, block))
            self._held += block.size
            self._ledger.take(block.size)
        while self._held > self._limit:
            self._forget()

    def clear(self) -> None:
        """Forgets all blocks."""
        while self._waiting:
            self._forget()

    def _forget(self) -> None:
        _, block = self._waiting.popleft()
        self._held -= block.size
        self._ledger.give(block.size)
