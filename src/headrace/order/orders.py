"""Orders of an epoch: which rows are read together, and how they leave.

An epoch is cut into windows. A window defines the positions that are in memory at the
same time, and the order in which they leave the window, that is, enter batches. All results
depend only on (length, blocks, seed, epoch, capacity).
"""

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headrace.order.permutation import Permutation, stream_key
from headrace.spec import Indices

Key = tuple[int | str, ...]


@dataclass(frozen=True)
class Window:
    """A part of an epoch.

    Attributes:
        start: The place in the epoch of the first row that leaves this window.
        spans: int64 array of shape `(k, 2)`: the positions read, as ascending,
            disjoint `[start, stop)` pairs.
        order: int64 array of shape `(size,)`: the i-th row to leave is row
            `order[i]` of the window; None for ascending order.
    """

    start: int
    spans: Indices
    order: Indices | None

    @property
    def size(self) -> int:
        """Number of rows that leave the window."""
        return int((self.spans[:, 1] - self.spans[:, 0]).sum())

    def positions(self) -> Indices:
        """The positions read, ascending and distinct."""
        starts, sizes = self.spans[:, 0], self.spans[:, 1] - self.spans[:, 0]
        # Differences, summed in place: for small rows, positions take more memory than the data.
        positions = np.ones(sizes.sum(), np.int64)
        positions[0] = starts[0]
        positions[np.cumsum(sizes[:-1])] = starts[1:] - self.spans[:-1, 1] + 1
        return np.cumsum(positions, out=positions)


class Order(ABC):
    """The windows of one epoch.

    Attributes:
        starts: int64 array of shape `(windows + 1,)`: the place in the epoch at which
            each window starts, then the number of rows in the epoch.
    """

    starts: Indices

    def __len__(self) -> int:
        return len(self.starts) - 1

    @abstractmethod
    def window(self, index: int) -> Window:
        """The window number `index`."""

    def mixed(self, index: int) -> int:  # noqa: ARG002 - by default
        """The effective number of equal blocks that the window `index` mixes."""
        return 1

    def find(self, place: int) -> int:
        """The number of the window that the row at `place` in the epoch leaves."""
        return int(np.searchsorted(self.starts, place, side="right")) - 1

    def rows(self) -> Indices:
        """All positions in the order of the epoch, for tests and small data."""
        parts = []
        for index in range(len(self)):
            window = self.window(index)
            positions = window.positions()
            parts.append(positions if window.order is None else positions[window.order])
        return np.concatenate(parts)


class RowOrder(Order):
    """An order of single rows: row order, a uniform permutation, or a permutation of batches.

    Its windows only limit the arithmetic to `step` rows at a time.

    Args:
        n: Number of rows.
        key: The seed and the epoch; None for row order.
        batch_size: If not 1, rows stay together in batches of this size, and
            batches are permuted; a smaller last batch stays last.
        step: Rows per window.
    """

    def __init__(self, n: int, key: Key | None, batch_size: int = 1, step: int = 1 << 14) -> None:
        self.n = n
        self.batch_size = batch_size
        self.starts = np.append(np.arange(0, n, step), n)
        self._permutation = key and Permutation(n // batch_size, stream_key(*key, "rows"))

    @property
    def by_itself(self) -> bool:
        """Whether single rows are permuted, and not whole batches."""
        return self._permutation is not None and self.batch_size == 1

    def window(self, index: int) -> Window:
        start, stop = self.starts[index : index + 2].tolist()
        return Window(start, np.array([[start, stop]]), None)

    def places(self, start: int, stop: int) -> Indices:
        """The positions at places `start .. stop - 1` of the epoch, int64."""
        places = np.arange(start, stop)
        if not self._permutation:
            return places
        if self.batch_size == 1:
            return self._permutation(places)
        whole = self._permutation.n * self.batch_size
        batch, inside = np.divmod(places, self.batch_size)
        moved = self._permutation(np.where(places < whole, batch, 0)) * self.batch_size + inside
        return np.where(places < whole, moved, places)

    def rows(self) -> Indices:
        # In pieces, so that temporary arrays stay in the processor's cache.
        rows = np.empty(self.n, np.int64)
        for start, stop in itertools.pairwise(self.starts.tolist()):
            rows[start:stop] = self.places(start, stop)
        return rows


class SequentialOrder(Order):
    """Blocks in row order; a window holds as many blocks as fit in `capacity` rows.

    Args:
        offsets: int64 array of shape `(blocks + 1,)`: the block starts, then the length.
        capacity: Rows that a window may hold, at least the largest block.
    """

    def __init__(self, offsets: Indices, capacity: int) -> None:
        cuts = _cuts(np.diff(offsets), capacity)
        self.starts = offsets[cuts]

    def window(self, index: int) -> Window:
        start, stop = self.starts[index : index + 2].tolist()
        return Window(start, np.array([[start, stop]]), None)


class WindowOrder(Order):
    """Random blocks mixed in windows: the shuffle for data that is read block by block.

    The blocks are permuted, and a window holds as many of them as fit in `capacity`; the
    rows of each window leave it in the order of a second permutation.

    Args:
        offsets: int64 array of shape `(blocks + 1,)`: the block starts, then the length.
        key: The seed and the epoch.
        capacity: Rows that a window may hold, at least the largest block.
        unit: The number of adjacent rows that stay together (1 for single rows); every block
            except the last holds a multiple of it.
    """

    def __init__(self, offsets: Indices, key: Key, capacity: int, unit: int = 1) -> None:
        self._block_offsets = offsets
        self._key = key
        self._unit = unit
        self._capacity = capacity

    @cached_property
    def _blocks(self) -> Indices:
        """Block numbers in the order of the epoch."""
        count = len(self._block_offsets) - 1
        ragged = self._unit > 1 and (self._block_offsets[-1] - self._block_offsets[0]) % self._unit
        # The block with a smaller last batch stays last.
        moving = count - 1 if ragged else count
        blocks = np.arange(count)
        blocks[:moving] = Permutation(moving, stream_key(*self._key, "blocks"))(blocks[:moving])
        return blocks

    @cached_property
    def _window_cuts(self) -> Indices:
        return _cuts(np.diff(self._block_offsets)[self._blocks], self._capacity)

    @cached_property
    def starts(self) -> Indices:  # type: ignore[override]
        ends = np.cumsum(np.diff(self._block_offsets)[self._blocks])
        return np.concatenate([[0], ends])[self._window_cuts]

    def blocks(self, index: int) -> Indices:
        """The blocks of window `index`, ascending."""
        return np.sort(self._blocks[self._window_cuts[index] : self._window_cuts[index + 1]])

    def mixed(self, index: int) -> int:
        return len(self.blocks(index))

    def sizes(self, index: int) -> Indices:
        """The rows of each block of window `index`."""
        blocks = self.blocks(index)
        return self._block_offsets[blocks + 1] - self._block_offsets[blocks]

    def window(self, index: int) -> Window:
        blocks = self.blocks(index)
        # Adjacent blocks are read as one span.
        first = np.flatnonzero(np.diff(blocks, prepend=-2) != 1)
        last = np.append(first[1:], len(blocks)) - 1
        spans = np.stack(
            [self._block_offsets[blocks[first]], self._block_offsets[blocks[last] + 1]], axis=1
        )
        start, stop = self.starts[index : index + 2].tolist()
        size = stop - start
        inside = RowOrder(size, (*self._key, "window", index), self._unit)
        return Window(start, spans, inside.rows())


def _cuts(sizes: Indices, capacity: int) -> Indices:
    """Divides a sequence of blocks into windows of about equal size, of at most `capacity` rows.

    Windows have equal sizes, because a small last window would mix badly.
    """
    ends = np.cumsum(sizes)
    total, largest = int(ends[-1]), int(sizes.max())
    if total <= capacity:
        return np.array([0, len(sizes)])
    room = capacity - largest
    if room < largest:
        return np.arange(len(sizes) + 1)
    count = -(-total // room)
    targets = np.arange(1, count) * total // count
    inner = np.searchsorted(ends, targets, side="left") + 1
    return np.unique(np.concatenate([[0], inner, [len(sizes)]]))


def batch_offsets(offsets: Indices, batch_size: int, capacity: int) -> Indices:
    """Block offsets at multiples of the batch size, for an order that keeps batches together.

    If `capacity` allows, a block spans about four blocks of the source, so that few blocks of the
    source are read twice.
    """
    length = int(offsets[-1])
    wanted = min(4 * int(np.diff(offsets).max()), capacity // 2)
    size = max(wanted // batch_size, 1) * batch_size
    whole = length // batch_size * batch_size
    return np.unique(np.concatenate([np.arange(0, whole, size), [whole, length]]))
