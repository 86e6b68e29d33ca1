"""The three ways of reading a dataset: rows by address, chunks by address, and through h5py."""

import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import numpy as np

from penstock.errors import ReadError
from penstock.sources.base import Arrays, Cost, Read
from penstock.sources.file import Bytes, File
from penstock.sources.hdf5.codecs import ChunkError, ShortChunkError, decode, scratch
from penstock.sources.hdf5.columns import Array, Column
from penstock.sources.hdf5.external import ExternalData
from penstock.sources.hdf5.index import UNALLOCATED, Chunks
from penstock.sources.hdf5.layout import Layout
from penstock.sources.hdf5.library import Library, damaged, located
from penstock.spec import Indices

JOB_BYTES = 1 << 20
"""About as much as one read produces: enough to hide the cost of handing it to a thread."""

ROW_BLOCK_BYTES = 1 << 20

RECORD_BYTES = 1 << 18
"""Compound values are fetched as they are stored, this much at a time, to pick members of them."""

PAGE_BYTES = 1 << 12

LIBRARY_BYTES = 1 << 12
"""Scattered rows are read through h5py with what lies between, at least this much at a time."""


class DatasetReader(ABC):
    """Reads the columns of one dataset; safe in any thread.

    Args:
        layout: How the dataset is stored.
    """

    row_block_bytes = ROW_BLOCK_BYTES

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._columns = {column.field.name: column for column in layout.columns}

    @property
    def row_bytes(self) -> int:
        """Bytes of a row while it is read."""
        return self.layout.row_bytes

    @property
    def block_rows(self) -> int:
        """Rows in one block."""
        return self.layout.chunk_rows or max(
            1, min(self.row_block_bytes // self.row_bytes, self.layout.length)
        )

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.layout.length // self.block_rows)

    def edges(self) -> Indices:
        """The rows at which blocks start, and the length."""
        return np.append(np.arange(0, self.layout.length, self.block_rows), self.layout.length)

    @property
    def addressable(self) -> bool:
        """Whether reading one row costs about one row."""
        return False

    @property
    def scratch(self) -> int:
        """The most bytes that one running read holds besides its output."""
        return 0

    @abstractmethod
    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        """Independent reads that fill `out[name][i]` with row `rows[i]`; rows ascend."""

    def _of(self, out: Arrays) -> list[Column]:
        """The columns that are asked for."""
        return [self._columns[name] for name in out]

    def _alone(self, columns: Sequence[Column]) -> Column | None:
        """The only column, if its values are the stored elements but for their byte order."""
        return columns[0] if len(columns) == 1 and columns[0].plain else None

    def _pieces(self, rows: Indices, out: Arrays) -> Iterator[tuple[Indices, Arrays]]:
        """Cuts `rows` at block edges into pieces of about `JOB_BYTES`."""
        return self._cut(rows, out, JOB_BYTES)

    def _cut(self, rows: Indices, out: Arrays, nbytes: int) -> Iterator[tuple[Indices, Arrays]]:
        """Cuts `rows` where a stretch of whole blocks ends, of about `nbytes`."""
        stretches = rows // self._stretch(nbytes)
        cuts = [0, *(np.flatnonzero(np.diff(stretches)) + 1).tolist(), len(rows)]
        for start, stop in itertools.pairwise(cuts if len(rows) else []):
            yield rows[start:stop], part_of(out, start, stop)

    def _stretch(self, nbytes: int) -> int:
        """Rows of as many blocks as make `nbytes`, at least of one."""
        block = self.block_rows
        return block * max(1, nbytes // (block * self.row_bytes))


def part_of(out: Arrays, start: int, stop: int) -> Arrays:
    """Rows `start .. stop - 1` of arrays."""
    return {name: array[start:stop] for name, array in out.items()}


class RowReader(DatasetReader):
    """Uncompressed data in which every row has an address: contiguous, or whole rows in chunks.

    Args:
        layout: How the dataset is stored.
        file: Its file, or the files in which its bytes lie.
    """

    def __init__(self, layout: Layout, file: File | ExternalData) -> None:
        super().__init__(layout)
        self._file = file

    @property
    def addressable(self) -> bool:
        return True

    @property
    def scratch(self) -> int:
        plain = self._alone(self.layout.columns) is not None
        return 0 if plain else max(RECORD_BYTES, self.layout.row_bytes)

    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        for some, arrays in self._pieces(rows, out):
            yield partial(self.read_rows, some, arrays)

    def read_rows(self, rows: Indices, out: Arrays) -> Cost:
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
        return Cost(read=time.perf_counter_ns() - began, stored=stored)

    def _read_plain(self, rows: Indices, column: Column, out: Array) -> int:
        target = out.reshape(-1).view(np.uint8).reshape(-1, self.layout.row_bytes)
        self._fetch(rows, 0, target)
        if column.swapped:
            out.byteswap(inplace=True)
        return target.nbytes

    def _read_records(self, rows: Indices, columns: Sequence[Column], out: Arrays) -> int:
        size = self.layout.row_bytes
        step = max(1, RECORD_BYTES // size)
        stored = 0
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            start, stop = self._needed(some, columns)
            raw = scratch("records", len(some) * (stop - start))
            self._fetch(some, start, raw.reshape(len(some), -1))
            stored += raw.size
            for column in columns:
                values = column.values(raw, (len(some), *self.layout.shape[1:]), start)
                out[column.field.name][first : first + step] = values
        return stored

    def _needed(self, rows: Indices, columns: Sequence[Column]) -> tuple[int, int]:
        """The first byte of a row that is fetched, and the byte before which to stop."""
        size = self.layout.row_bytes
        start = min(column.offset for column in columns)
        stop = max(column.offset + column.stored.itemsize for column in columns)
        scattered = np.count_nonzero(np.diff(rows) == 1) * 2 < len(rows)
        one_element = size == self.layout.itemsize
        # What lies between neighbours comes from the disk with them, unless it fills pages.
        worth_it = scattered or size - (stop - start) >= PAGE_BYTES
        return (start, stop) if one_element and worth_it else (0, size)

    def _fetch(self, rows: Indices, start: int, target: Bytes) -> None:
        """Fills `target[i]` with the bytes of row `rows[i]` from byte `start` of it on."""
        offsets = self._offsets(rows) + start
        size = target.shape[1]
        breaks = np.flatnonzero(np.diff(offsets) != size) + 1
        if len(breaks) * 4 < len(rows):
            for first, last in itertools.pairwise([0, *breaks.tolist(), len(rows)]):
                self._file.read_into(target[first:last].reshape(-1), int(offsets[first]))
        else:
            self._file.gather(offsets, target)

    def _offsets(self, rows: Indices) -> Indices:
        size = self.layout.row_bytes
        if self.layout.chunks is None:
            return rows * size + self.layout.start
        chunk, inside = np.divmod(rows, self.layout.chunks.shape[0])
        offsets: Indices = self.layout.chunks.offsets[chunk, 0] + inside * size
        return offsets


class ChunkReader(DatasetReader):
    """Chunks read by address and decoded in the calling thread.

    Args:
        layout: How the dataset is stored.
        file: Its file.
        library: The same file, for chunks that cannot be decoded here.
    """

    def __init__(self, layout: Layout, file: File, library: Library) -> None:
        super().__init__(layout)
        self._file = file
        self._library = library
        self._chunks = cast("Chunks", layout.chunks)
        self._chunk_bytes = math.prod(self._chunks.shape) * layout.itemsize
        self._places = list(self._place_chunks())

    @property
    def scratch(self) -> int:
        buffers = 1 + len(self._chunks.filters)
        return int(self._chunks.sizes.max(initial=0)) + buffers * self._chunk_bytes

    def _place_chunks(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """For each chunk in a row of them: where it goes in a sample, and what of it is inside."""
        axes = []
        for size, chunk in zip(self.layout.shape[1:], self._chunks.shape[1:], strict=True):
            starts = range(0, size, chunk)
            axes.append(
                [(slice(a, min(a + chunk, size)), slice(0, min(chunk, size - a))) for a in starts]
            )
        for combination in itertools.product(*axes):
            yield tuple(a for a, _ in combination), tuple(b for _, b in combination)

    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        for some, arrays in self._pieces(rows, out):
            yield partial(self._read_some, some, arrays)

    def _read_some(self, rows: Indices, out: Arrays) -> Cost:
        numbers = rows // self._chunks.shape[0]
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        self._announce(numbers[cuts[:-1]])
        total = Cost()
        for start, stop in itertools.pairwise(cuts):
            arrays = part_of(out, start, stop)
            total += self._read_chunk_row(int(numbers[start]), rows[start:stop], arrays)
        try:
            self._file.check_unchanged()
        except ReadError as error:
            raise located(error, self.layout.name, rows) from error
        return total

    def _announce(self, numbers: Indices) -> None:
        for number in numbers[1:].tolist():
            offset = int(self._chunks.offsets[number, 0])
            if offset != UNALLOCATED:
                self._file.will_need(offset, int(self._chunks.sizes[number].sum()))

    def _read_chunk_row(self, number: int, rows: Indices, out: Arrays) -> Cost:
        columns = self._of(out)
        wanted = self._wanted(number, rows)
        in_place = self._in_place(rows, columns)
        total = Cost()
        for k, (place, inside) in enumerate(self._places):
            if self._chunks.offsets[number, k] == UNALLOCATED:
                for column in columns:
                    out[column.field.name][(slice(None), *place)] = column.fill
                continue
            try:
                if in_place is not None:
                    target = out[in_place.field.name].reshape(-1).view(np.uint8)
                    total += self._load(number, k, target)
                    continue
                chunk = scratch("chunk", self._chunk_bytes)
                total += self._load(number, k, chunk)
            except ShortChunkError as error:
                raise damaged(self._file.path, self.layout.name, rows, str(error)) from error
            except ChunkError:
                self._library.read(self.layout.name, columns, rows, out)
                return total + Cost(repaired=1)
            began = time.perf_counter_ns()
            for column in columns:
                values = column.values(chunk, self._chunks.shape)[(slice(None), *inside)]
                out[column.field.name][(slice(None), *place)] = values[wanted]
            total += Cost(decode=time.perf_counter_ns() - began)
        return total

    def _wanted(self, number: int, rows: Indices) -> slice | Indices:
        """The rows within chunk row `number`."""
        first = number * self._chunks.shape[0]
        if int(rows[-1] - rows[0]) == len(rows) - 1:
            return slice(int(rows[0]) - first, int(rows[-1]) - first + 1)
        return rows - first

    def _in_place(self, rows: Indices, columns: Sequence[Column]) -> Column | None:
        """The column whose array a chunk can be decoded into: as it leaves, and all of it."""
        alone = self._alone(columns)
        whole = len(rows) == self._chunks.shape[0] and len(self._places) == 1
        fits = whole and self._chunks.shape[1:] == self.layout.shape[1:]
        return alone if alone is not None and fits and not alone.swapped else None

    def _load(self, number: int, k: int, out: Bytes) -> Cost:
        """Fills `out` with the decoded bytes of one chunk."""
        began = time.perf_counter_ns()
        offset, size = int(self._chunks.offsets[number, k]), int(self._chunks.sizes[number, k])
        mask = int(self._chunks.masks[number, k])
        if self._may_be_stored_raw(number, k, size):
            raise ChunkError("a partial edge chunk as long as a raw one may be unfiltered")
        stored = scratch("stored", size)
        try:
            self._file.read_into(stored, offset)
        except ReadError as error:
            raise ChunkError(str(error)) from error
        between = time.perf_counter_ns()
        decode(stored, self._chunks.filters, mask, out)
        return Cost(between - began, time.perf_counter_ns() - between, size)

    def _may_be_stored_raw(self, number: int, k: int, size: int) -> bool:
        """HDF5 may leave partial edge chunks unfiltered without marking them so."""
        if size != self._chunk_bytes or not self._chunks.filters:
            return False
        height = self._chunks.shape[0]
        _, inside = self._places[k]
        kept = tuple(part.stop for part in inside)
        return kept != self._chunks.shape[1:] or (number + 1) * height > self.layout.length


class LibraryReader(DatasetReader):
    """Everything else, through h5py: correct, one read at a time.

    Args:
        layout: How the dataset is stored.
        library: Its file.
    """

    row_block_bytes = 1 << 16

    def __init__(self, layout: Layout, library: Library) -> None:
        super().__init__(layout)
        self._library = library

    @property
    def row_bytes(self) -> int:
        # libhdf5 may make larger numbers of what is stored.
        return max(self.layout.row_bytes, sum(c.field.nbytes for c in self.layout.columns))

    @property
    def scratch(self) -> int:
        # What h5py returns, and the chunks that libhdf5 decodes for it.
        alone = self._alone(self.layout.columns)
        in_place = alone is not None and not alone.swapped
        rows = self._stretch(LIBRARY_BYTES if in_place else JOB_BYTES)
        return (rows + (self.layout.chunk_rows or 0)) * self.row_bytes

    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        for some, arrays in self._pieces(rows, out):
            yield partial(self._read_some, some, arrays)

    def _read_some(self, rows: Indices, out: Arrays) -> Cost:
        began = time.perf_counter_ns()
        name, columns = self.layout.name, self._of(out)
        if int(rows[-1] - rows[0]) == len(rows) - 1:
            self._library.read(name, columns, rows, out)
        else:
            for some, arrays in self._cut(rows, out, LIBRARY_BYTES):
                self._library.read(name, columns, some, arrays)
        try:
            for source in self.layout.sources:
                source.check_unchanged()
        except ReadError as error:
            raise located(error, name, rows) from error
        stored = sum(array.nbytes for array in out.values())
        return Cost(read=time.perf_counter_ns() - began, stored=stored)
