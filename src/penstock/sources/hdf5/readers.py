"""The three ways of reading a dataset: rows by address, chunks by address, and through h5py."""

import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from penstock.errors import ReadError
from penstock.sources.ahead import ReadAhead
from penstock.sources.base import Cost, Read
from penstock.sources.file import Bytes, File
from penstock.sources.hdf5.codecs import ChunkError, ShortChunkError, decode, scratch
from penstock.sources.hdf5.index import UNALLOCATED, Chunks
from penstock.sources.hdf5.layout import Layout
from penstock.sources.hdf5.library import Library, damaged, located
from penstock.spec import Indices

Array = npt.NDArray[Any]

JOB_BYTES = 1 << 20
"""About as much as one read produces: enough to hide the cost of handing it to a thread."""

ROW_BLOCK_BYTES = 1 << 20

RUN_BYTES = 1 << 16
"""Neighbouring rows that are read at once where single rows would keep a disk seeking: half as fast
as reading in order, or better, with many reads in flight."""

LIBRARY_BYTES = 1 << 12
"""Scattered rows are read through h5py with what lies between, at least this much at a time."""

LIBRARY_CHUNKS = 1 << 12
"""Chunks that h5py reads at once, where samples are not cut into more."""


class FieldReader(ABC):
    """Reads one field; safe in any thread.

    Args:
        layout: How the field is stored.
        file: The file, for reads by address.
        library: The file, for reads through libhdf5.
    """

    row_block_bytes = ROW_BLOCK_BYTES

    def __init__(self, layout: Layout, file: File, library: Library) -> None:
        self.layout = layout
        self.field = layout.field
        self._file = file
        self._library = library
        self._swapped = layout.stored != layout.field.dtype

    @property
    def block_rows(self) -> int:
        """Rows in one block."""
        return self.layout.chunk_rows or max(
            1, min(self.row_block_bytes // self.field.nbytes, self.layout.length)
        )

    @property
    def scratch(self) -> int:
        """The most bytes that one running read holds besides its output."""
        return 0

    @abstractmethod
    def reads(self, rows: Indices, out: Array) -> Iterator[Read]:
        """Independent reads that fill `out[i]` with row `rows[i]`; rows ascend."""

    def _pieces(self, rows: Indices) -> Iterator[tuple[int, int]]:
        """Cuts `rows` at block edges into pieces of about `JOB_BYTES`."""
        return self._cut(rows, JOB_BYTES)

    def _cut(self, rows: Indices, nbytes: int) -> Iterator[tuple[int, int]]:
        """Cuts `rows` between blocks, into pieces that read about `nbytes`."""
        stretches = rows // self._stretch(nbytes)
        cuts = [0, *(np.flatnonzero(np.diff(stretches)) + 1).tolist(), len(rows)]
        return itertools.pairwise(cuts if len(rows) else [])

    def _stretch(self, nbytes: int) -> int:
        """Rows of as many blocks as make `nbytes`, at least of one."""
        block = self.block_rows
        return block * max(1, nbytes // (block * self.field.nbytes))


class RowReader(FieldReader):
    """Uncompressed data in which every row has an address: contiguous, or whole rows in chunks."""

    @property
    def run_rows(self) -> int:
        """Rows of a run: one chunk if that is of a fitting size, else about `RUN_BYTES`."""
        height = self.layout.chunk_rows or 0
        if RUN_BYTES // 2 <= height * self.field.nbytes <= 16 * RUN_BYTES:
            return height
        return max(1, min(RUN_BYTES // self.field.nbytes, self.layout.length))

    def announce(self, rows: Indices) -> bool:
        """Has the system fetch `rows`; False if it need not or cannot."""
        return self._file.announce(self._offsets(rows), self.field.nbytes)

    def reads(self, rows: Indices, out: Array) -> Iterator[Read]:
        ahead = ReadAhead(self.announce, rows, self.field.nbytes)
        for start, stop in self._pieces(rows):
            yield partial(self._read_some, rows[start:stop], out[start:stop], ahead, start)

    def _read_some(self, rows: Indices, out: Array, ahead: ReadAhead, place: int) -> Cost:
        ahead.reach(place)
        return self.read_rows(rows, out)

    def read_rows(self, rows: Indices, out: Array) -> Cost:
        """Fills `out[i]` with row `rows[i]`, in any order."""
        began = time.perf_counter_ns()
        size = self.field.nbytes
        target = out.reshape(-1).view(np.uint8).reshape(-1, size)
        offsets = self._offsets(rows)
        breaks = np.flatnonzero(np.diff(offsets) != size) + 1
        try:
            if len(breaks) * 4 < len(rows):
                for start, stop in itertools.pairwise([0, *breaks.tolist(), len(rows)]):
                    self._file.read_into(target[start:stop].reshape(-1), int(offsets[start]))
            else:
                self._file.gather(offsets, target)
            self._file.check_unchanged()
        except ReadError as error:
            raise located(error, self.field.name, rows) from error
        if self._swapped:
            out.byteswap(inplace=True)
        return Cost(read=time.perf_counter_ns() - began, stored=target.nbytes)

    def _offsets(self, rows: Indices) -> Indices:
        size = self.field.nbytes
        if self.layout.chunks is None:
            return rows * size + self.layout.start
        chunk, inside = np.divmod(rows, self.layout.chunks.shape[0])
        offsets: Indices = self.layout.chunks.offsets[chunk, 0] + inside * size
        return offsets


class ChunkReader(FieldReader):
    """Chunks read by address and decoded in the calling thread."""

    def __init__(self, layout: Layout, file: File, library: Library) -> None:
        super().__init__(layout, file, library)
        self._chunks = cast("Chunks", layout.chunks)
        self._chunk_bytes = math.prod(self._chunks.shape) * layout.stored.itemsize
        self._places = list(self._place_chunks())
        # A chunk that holds whole rows as they leave can be decoded in place.
        self._in_place = self._chunks.shape[1:] == self.field.shape and not self._swapped

    @property
    def scratch(self) -> int:
        buffers = 1 + len(self._chunks.filters)
        return int(self._chunks.sizes.max(initial=0)) + buffers * self._chunk_bytes

    def _place_chunks(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """For each chunk in a row of them: where it goes in a sample, and what of it is inside."""
        axes = []
        for size, chunk in zip(self.field.shape, self._chunks.shape[1:], strict=True):
            starts = range(0, size, chunk)
            axes.append(
                [(slice(a, min(a + chunk, size)), slice(0, min(chunk, size - a))) for a in starts]
            )
        for combination in itertools.product(*axes):
            yield tuple(a for a, _ in combination), tuple(b for _, b in combination)

    def announce(self, rows: Indices) -> bool:
        """Has the system fetch the chunks of `rows`; False if it need not or cannot."""
        numbers = rows // self._chunks.shape[0]
        numbers = numbers[np.flatnonzero(np.diff(numbers, prepend=-1))]
        offsets, sizes = self._chunks.offsets[numbers], self._chunks.sizes[numbers]
        there = sizes > 0
        return self._file.announce(offsets[there], sizes[there])

    def reads(self, rows: Indices, out: Array) -> Iterator[Read]:
        stored = self._chunks.sizes.sum() / self.layout.length
        ahead = ReadAhead(self.announce, rows, max(1, stored))
        for start, stop in self._pieces(rows):
            yield partial(self._read_some, rows[start:stop], out[start:stop], ahead, start)

    def _read_some(self, rows: Indices, out: Array, ahead: ReadAhead, place: int) -> Cost:
        ahead.reach(place)
        numbers = rows // self._chunks.shape[0]
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        total = Cost()
        for start, stop in itertools.pairwise(cuts):
            total += self._read_chunk_row(int(numbers[start]), rows[start:stop], out[start:stop])
        try:
            self._file.check_unchanged()
        except ReadError as error:
            raise located(error, self.field.name, rows) from error
        return total

    def _read_chunk_row(self, number: int, rows: Indices, out: Array) -> Cost:
        height = self._chunks.shape[0]
        first = number * height
        whole = len(rows) == height
        wanted: slice | Indices = slice(None, len(rows)) if whole else rows - first
        if not whole and int(rows[-1] - rows[0]) == len(rows) - 1:
            wanted = slice(int(rows[0]) - first, int(rows[-1]) - first + 1)
        total = Cost()
        for k, (place, inside) in enumerate(self._places):
            try:
                if whole and self._in_place:
                    total += self._load(number, k, out.reshape(-1).view(np.uint8))
                    continue
                chunk = scratch("chunk", self._chunk_bytes)
                total += self._load(number, k, chunk)
            except ShortChunkError as error:
                raise damaged(self._file.path, self.field.name, rows, str(error)) from error
            except ChunkError:
                self._library.read(self.field.name, rows, out)
                return total + Cost(repaired=1)
            began = time.perf_counter_ns()
            values = chunk.view(self.layout.stored).reshape(self._chunks.shape)
            out[(slice(None), *place)] = values[(slice(None), *inside)][wanted]
            total += Cost(decode=time.perf_counter_ns() - began)
        return total

    def _load(self, number: int, k: int, out: Bytes) -> Cost:
        """Fills `out` with the decoded bytes of one chunk."""
        began = time.perf_counter_ns()
        offset, size = int(self._chunks.offsets[number, k]), int(self._chunks.sizes[number, k])
        if offset == UNALLOCATED:
            out.view(self.layout.stored)[:] = self.layout.fill
            return Cost(decode=time.perf_counter_ns() - began)
        mask = int(self._chunks.masks[number, k])
        if self._may_be_stored_raw(number, k, size):
            raise ChunkError("a partial edge chunk as long as a raw one may be unfiltered")
        if not size:
            raise ShortChunkError("its chunk cannot be where the index says, or not as long")
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


class LibraryReader(FieldReader):
    """Everything else, through h5py: correct, one read at a time."""

    row_block_bytes = 1 << 16

    @property
    def scratch(self) -> int:
        # What h5py returns, and the chunks that libhdf5 decodes for it.
        decoded = max((self.layout.chunk_rows or 0) * self.field.nbytes, self.layout.chunk_bytes)
        return self._stretch(LIBRARY_BYTES) * self.field.nbytes + decoded

    def reads(self, rows: Indices, out: Array) -> Iterator[Read]:
        for start, stop in self._pieces(rows):
            yield partial(self._read_some, rows[start:stop], out[start:stop])

    def _read_some(self, rows: Indices, out: Array) -> Cost:
        began = time.perf_counter_ns()
        whole = int(rows[-1] - rows[0]) == len(rows) - 1
        for start, stop in [(0, len(rows))] if whole else self._cut(rows, LIBRARY_BYTES):
            for a, b in self._few_chunks(rows[start:stop]):
                some = slice(start + a, start + b)
                self._library.read(self.field.name, rows[some], out[some])
        try:
            for source in self.layout.sources:
                source.check_unchanged()
        except ReadError as error:
            raise located(error, self.field.name, rows) from error
        return Cost(read=time.perf_counter_ns() - began, stored=out.nbytes)

    def _few_chunks(self, rows: Indices) -> Iterator[tuple[int, int]]:
        """Cuts `rows` into pieces that few chunks hold: libhdf5 takes 7 kB for each."""
        if not self.layout.chunk_shape:
            return itertools.pairwise([0, len(rows)])
        stretch = max(1, LIBRARY_CHUNKS // self.layout.chunks_beside) * self.layout.chunk_shape[0]
        cuts = (np.flatnonzero(np.diff(rows // stretch)) + 1).tolist()
        return itertools.pairwise([0, *cuts, len(rows)])
