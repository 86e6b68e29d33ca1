"""`DatasetReader`, the base of readers, and `LibraryReader`, which uses h5py."""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from headrace.errors import ReadError
from headrace.sources.base import Arrays, Read, ReadStats
from headrace.sources.hdf5.library import Library, located
from headrace.sources.hdf5.readers.layout import Layout
from headrace.sources.hdf5.readers.members import DatasetField
from headrace.sources.jobs import JOB_BYTES, block_ends, cut_jobs, part_of
from headrace.spec import Indices

LIBRARY_BYTES = 1 << 12
"""Bytes of a stretch of rows that is read through h5py as a whole, including unwanted rows."""

LIBRARY_BLOCK_BYTES = 1 << 16
LIBRARY_CHUNKS = 1 << 12
"""Most chunks per read through h5py, unless a single sample is spread over more."""


class DatasetReader(ABC):
    """Reads the columns of one dataset; safe in any thread.

    Args:
        layout: How the dataset is stored.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._columns = {column.field.name: column for column in layout.columns}

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory during a read."""
        return self.layout.row_bytes

    @property
    @abstractmethod
    def block_rows(self) -> int:
        """Rows in one block."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.layout.length // self.block_rows)

    def block_offsets(self) -> Indices:
        """The rows at which blocks start, and the length."""
        return np.append(np.arange(0, self.layout.length, self.block_rows), self.layout.length)

    def blocks_of(self, rows: Indices) -> Indices:
        """The numbers of the blocks that hold `rows` (ascending): ascending and distinct."""
        first = np.append(0, block_ends(rows, self.block_rows)[:-1]) if len(rows) else rows
        return rows[first] // self.block_rows

    @property
    def addressable(self) -> bool:
        """Whether single rows can be read at about their own cost."""
        return False

    @property
    def scratch(self) -> int:
        """The most bytes that one running read holds besides its output."""
        return 0

    def announce(self, rows: Indices) -> bool:  # noqa: ARG002 - by default
        """Tells the system to fetch `rows`; returns False if it need not or cannot."""
        return False

    @abstractmethod
    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        """Independent reads that fill `out[name][i]` with row `rows[i]`; rows are ascending."""

    def _of(self, out: Arrays) -> list[DatasetField]:
        """The columns of the arrays in `out`."""
        return [self._columns[name] for name in out]

    def _alone(self, columns: Sequence[DatasetField]) -> DatasetField | None:
        """The only column, if its values differ from the stored elements at most in byte order."""
        return columns[0] if len(columns) == 1 and columns[0].plain else None

    def _jobs(self, rows: Indices) -> Iterator[tuple[int, int]]:
        """Cuts `rows` at block edges into jobs `[start, stop)`."""
        return cut_jobs(rows, self.row_bytes, self.block_rows)


class LibraryReader(DatasetReader):
    """Reads through h5py whatever cannot be read directly; h5py allows one read at a time.

    Args:
        layout: How the dataset is stored.
        library: Its file.
    """

    def __init__(self, layout: Layout, library: Library) -> None:
        super().__init__(layout)
        self._library = library

    @property
    def row_bytes(self) -> int:
        # libhdf5 may convert stored values to a larger type.
        return max(self.layout.row_bytes, sum(c.field.nbytes for c in self.layout.columns))

    @property
    def block_rows(self) -> int:
        return self.layout.chunk_rows or max(
            1, min(LIBRARY_BLOCK_BYTES // self.row_bytes, self.layout.length)
        )

    @property
    def scratch(self) -> int:
        # The array that h5py returns, and the chunks that libhdf5 decodes for it.
        alone = self._alone(self.layout.columns)
        in_place = alone is not None and not alone.swapped
        rows = self._stretch(LIBRARY_BYTES if in_place else JOB_BYTES)
        decoded = (self.layout.chunk_rows or 0) * self.row_bytes
        return rows * self.row_bytes + max(decoded, self.layout.chunk_bytes)

    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        for start, stop in self._cut(rows, JOB_BYTES):
            yield partial(self._read_some, rows[start:stop], part_of(out, start, stop))

    def _read_some(self, rows: Indices, out: Arrays) -> ReadStats:
        began = time.perf_counter_ns()
        name, columns = self.layout.name, self._of(out)
        whole = int(rows[-1] - rows[0]) == len(rows) - 1
        for start, stop in [(0, len(rows))] if whole else self._cut(rows, LIBRARY_BYTES):
            for a, b in self._few_chunks(rows[start:stop]):
                some = slice(start + a, start + b)
                self._library.read(name, columns, rows[some], part_of(out, some.start, some.stop))
        try:
            for source in self.layout.sources:
                source.check_unchanged()
        except ReadError as error:
            raise located(error, name, rows) from error
        stored = sum(array.nbytes for array in out.values())
        return ReadStats(read=time.perf_counter_ns() - began, stored=stored)

    def _few_chunks(self, rows: Indices) -> Iterator[tuple[int, int]]:
        """Cuts `rows` to pieces of few chunks each: libhdf5 allocates 7 kB per chunk."""
        if not self.layout.chunk_shape:
            return itertools.pairwise([0, len(rows)])
        stretch = max(1, LIBRARY_CHUNKS // self.layout.chunks_beside) * self.layout.chunk_shape[0]
        cuts = (np.flatnonzero(np.diff(rows // stretch)) + 1).tolist()
        return itertools.pairwise([0, *cuts, len(rows)])

    def _cut(self, rows: Indices, nbytes: int) -> Iterator[tuple[int, int]]:
        """Cuts `rows` at the edges of stretches of whole blocks, of about `nbytes` each."""
        stretches = rows // self._stretch(nbytes)
        cuts = [0, *(np.flatnonzero(np.diff(stretches)) + 1).tolist(), len(rows)]
        return itertools.pairwise(cuts if len(rows) else [])

    def _stretch(self, nbytes: int) -> int:
        """The rows of as many whole blocks as fit in `nbytes`, at least of one block."""
        block = self.block_rows
        return block * max(1, nbytes // (block * self.row_bytes))
