"""`RowReader`: reads rows of contiguous data and uncompressed chunks."""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from headrace.errors import ReadError
from headrace.sources.base import Arrays, Read, ReadStats
from headrace.sources.file import Bytes, File, fetch
from headrace.sources.hdf5.filters.common import scratch
from headrace.sources.hdf5.library import located
from headrace.sources.hdf5.readers.base import DatasetReader
from headrace.sources.hdf5.readers.external import ExternalData
from headrace.sources.hdf5.readers.layout import Layout
from headrace.sources.hdf5.readers.members import Array, DatasetField
from headrace.sources.jobs import part_of
from headrace.sources.read_ahead import ReadAhead
from headrace.spec import Indices

RUN_BYTES = 1 << 16
"""Bytes of adjacent rows that make a block, for disks on which single rows are slow to read. With
many reads in flight, such blocks are read at half the sequential speed or better."""

RECORD_BYTES = 1 << 18
"""Bytes of compound values that are fetched at a time before their members are extracted."""

PAGE_BYTES = 1 << 12


class RowReader(DatasetReader):
    """Reads data in which every row has a file offset.

    Args:
        layout: How the dataset is stored.
        file: Its file, or its external storage.
    """

    def __init__(self, layout: Layout, file: File | ExternalData) -> None:
        super().__init__(layout)
        self._file = file

    @property
    def addressable(self) -> bool:
        return True

    @property
    def block_rows(self) -> int:
        """Rows of a block: one chunk if that has a suitable size, else about `RUN_BYTES`."""
        height = self.layout.chunk_rows or 0
        if RUN_BYTES // 2 <= height * self.layout.row_bytes <= 16 * RUN_BYTES:
            return height
        return max(1, min(RUN_BYTES // self.layout.row_bytes, self.layout.length))

    @property
    def scratch(self) -> int:
        plain = self._alone(self.layout.columns) is not None
        return 0 if plain else max(RECORD_BYTES, self.layout.row_bytes)

    def announce(self, rows: Indices) -> bool:
        return self._file.announce(self._offsets(rows), self.layout.row_bytes)

    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        ahead = ReadAhead(self.announce, rows, self.layout.row_bytes)
        for start, stop in self._jobs(rows):
            some, arrays = rows[start:stop], part_of(out, start, stop)
            yield partial(self._read_some, some, arrays, ahead, start)

    def _read_some(self, rows: Indices, out: Arrays, ahead: ReadAhead, place: int) -> ReadStats:
        ahead.reach(place)
        return self.read_rows(rows, out)

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:
        """Fills `out[name][i]` with row `rows[i]`, in any order."""
        began = time.perf_counter_ns()
        columns = self._of(out)
        alone = self._alone(columns)
        try:
            if alone is not None:
                stored = self._read_plain(rows, alone, out[alone.field.name])
            else:
                stored = self._read_records(rows, columns, out)
            self._file.check_unchanged()
        except ReadError as error:
            raise located(error, self.layout.name, rows) from error
        return ReadStats(read=time.perf_counter_ns() - began, stored=stored)

    def _read_plain(self, rows: Indices, column: DatasetField, out: Array) -> int:
        target = out.reshape(-1).view(np.uint8)
        self._fetch(rows, 0, self.layout.row_bytes, target)
        if column.swapped:
            out.byteswap(inplace=True)
        return target.nbytes

    def _read_records(self, rows: Indices, columns: Sequence[DatasetField], out: Arrays) -> int:
        step = max(1, RECORD_BYTES // self.layout.row_bytes)
        stored = 0
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            start, stop = self._needed(some, columns)
            raw = scratch("records", len(some) * (stop - start))
            self._fetch(some, start, stop - start, raw)
            stored += raw.size
            for column in columns:
                values = column.values(raw, (len(some), *self.layout.shape[1:]), start)
                out[column.field.name][first : first + step] = values
        return stored

    def _needed(self, rows: Indices, columns: Sequence[DatasetField]) -> tuple[int, int]:
        """The range of bytes `[start, stop)` of each row that is fetched."""
        size = self.layout.row_bytes
        start = min(column.offset for column in columns)
        stop = max(column.offset + column.stored.itemsize for column in columns)
        scattered = np.count_nonzero(np.diff(rows) == 1) * 2 < len(rows)
        one_element = size == self.layout.itemsize
        # For adjacent rows, skipped bytes only save disk reads if they span whole pages.
        worth_it = scattered or size - (stop - start) >= PAGE_BYTES
        return (start, stop) if one_element and worth_it else (0, size)

    def _fetch(self, rows: Indices, start: int, size: int, target: Bytes) -> None:
        """Fills `target` with `size` bytes of each row, starting at its byte `start`."""
        fetch(self._file, self._offsets(rows) + start, size, target)

    def _offsets(self, rows: Indices) -> Indices:
        size = self.layout.row_bytes
        if self.layout.chunks is None:
            return rows * size + self.layout.start
        chunk, inside = np.divmod(rows, self.layout.chunks.shape[0])
        offsets: Indices = self.layout.chunks.offsets[chunk, 0] + inside * size
        return offsets
