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
from penstock.sources.base import Cost, Read
from penstock.sources.file import Bytes, File
from penstock.sources.hdf5.decoding import ChunkError, DamagedChunkError, scratch
from penstock.sources.hdf5.filters import bits_of, way_out
from penstock.sources.hdf5.index import UNALLOCATED, Chunks
from penstock.sources.hdf5.layout import Layout
from penstock.sources.hdf5.library import Library, damaged, located
from penstock.sources.hdf5.pipeline import Pipeline
from penstock.spec import Indices

Array = npt.NDArray[Any]

JOB_BYTES = 1 << 20
"""About as much as one read produces: enough to hide the cost of handing it to a thread."""

ROW_BLOCK_BYTES = 1 << 20

LIBRARY_BYTES = 1 << 12
"""Scattered rows are read through h5py with what lies between, at least this much at a time."""


class FieldReader(ABC):
    """Reads one field; safe in any thread.

    Args:
        layout: How the field is stored.
        file: The file, for reads by address.
        library: The file, for reads through libhdf5.
    """

    row_block_bytes = ROW_BLOCK_BYTES

    asks = True
    """Whether libhdf5 may be given what this reader cannot read: it would notice the damage."""

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
        """Cuts `rows` where a stretch of whole blocks ends, of about `nbytes`."""
        stretches = rows // self._stretch(nbytes)
        cuts = [0, *(np.flatnonzero(np.diff(stretches)) + 1).tolist(), len(rows)]
        return itertools.pairwise(cuts if len(rows) else [])

    def _stretch(self, nbytes: int) -> int:
        """Rows of as many blocks as make `nbytes`, at least of one."""
        block = self.block_rows
        return block * max(1, nbytes // (block * self.field.nbytes))


class RowReader(FieldReader):
    """Uncompressed data in which every row has an address: contiguous, or whole rows in chunks."""

    def reads(self, rows: Indices, out: Array) -> Iterator[Read]:
        for start, stop in self._pieces(rows):
            yield partial(self.read_rows, rows[start:stop], out[start:stop])

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
        self._pipeline = Pipeline(self._chunks.filters, self._chunk_bytes)
        self.asks = self._pipeline.asks
        self._lacking = bits_of(layout.lacking, self._chunks.filters)
        self._places = list(self._place_chunks())
        # A chunk that holds whole rows as they leave can be decoded in place.
        self._in_place = self._chunks.shape[1:] == self.field.shape and not self._swapped

    @property
    def scratch(self) -> int:
        stored = int(self._chunks.sizes.max(initial=0))
        return stored + self._chunk_bytes + self._pipeline.scratch

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

    def reads(self, rows: Indices, out: Array) -> Iterator[Read]:
        for start, stop in self._pieces(rows):
            yield partial(self._read_some, rows[start:stop], out[start:stop])

    def _read_some(self, rows: Indices, out: Array) -> Cost:
        numbers = rows // self._chunks.shape[0]
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        self._announce(numbers[cuts[:-1]])
        total = Cost()
        for start, stop in itertools.pairwise(cuts):
            total += self._read_chunk_row(int(numbers[start]), rows[start:stop], out[start:stop])
        try:
            self._file.check_unchanged()
        except ReadError as error:
            raise located(error, self.field.name, rows) from error
        return total

    def _announce(self, numbers: Indices) -> None:
        for number in numbers[1:].tolist():
            offset = int(self._chunks.offsets[number, 0])
            if offset != UNALLOCATED:
                self._file.will_need(offset, int(self._chunks.sizes[number].sum()))

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
            except DamagedChunkError as error:
                words = self._words(first, place, error)
                raise damaged(self._file.path, self.field.name, rows, words) from error
            except ChunkError as error:
                words = self._words(first, place, error)
                self._library.read(self.field.name, rows, out, words)
                return total + Cost(repaired=1)
            began = time.perf_counter_ns()
            values = chunk.view(self.layout.stored).reshape(self._chunks.shape)
            out[(slice(None), *place)] = values[(slice(None), *inside)][wanted]
            total += Cost(decode=time.perf_counter_ns() - began)
        return total

    def _words(self, first: int, place: tuple[slice, ...], error: ChunkError) -> str:
        """What is wrong with a chunk, and what would help libhdf5 to say more."""
        words = f"the chunk at {(first, *(part.start for part in place))} {error}"
        if self.layout.lacking:
            words += f"; libhdf5 lacks a filter here. {way_out(self.layout.lacking)[:-1]}"
        return words

    def _load(self, number: int, k: int, out: Bytes) -> Cost:
        """Fills `out` with the decoded bytes of one chunk."""
        began = time.perf_counter_ns()
        offset, size = int(self._chunks.offsets[number, k]), int(self._chunks.sizes[number, k])
        if offset == UNALLOCATED:
            out.view(self.layout.stored)[:] = self.layout.fill
            return Cost(decode=time.perf_counter_ns() - began)
        mask = int(self._chunks.masks[number, k])
        if self._may_be_stored_raw(number, k, size, mask):
            raise ChunkError("lies at the edge, and may be unfiltered, as it is so long")
        stored = scratch("stored", size)
        try:
            self._file.read_into(stored, offset)
        except ReadError as error:
            raise ChunkError(f"cannot be read: {error}") from error
        between = time.perf_counter_ns()
        self._pipeline.decode(stored, mask, out)
        return Cost(between - began, time.perf_counter_ns() - between, size)

    def _may_be_stored_raw(self, number: int, k: int, size: int, mask: int) -> bool:
        """HDF5 may leave partial edge chunks unfiltered without marking them so."""
        every = (1 << len(self._chunks.filters)) - 1
        if size != self._chunk_bytes or mask & every == every:
            return False
        if self._lacking & ~mask:
            return False  # `layout` has found out, as libhdf5 can read it only if it is raw
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
        decoded = self.layout.chunk_rows or 0
        return (self._stretch(LIBRARY_BYTES) + decoded) * self.field.nbytes

    def reads(self, rows: Indices, out: Array) -> Iterator[Read]:
        for start, stop in self._pieces(rows):
            yield partial(self._read_some, rows[start:stop], out[start:stop])

    def _read_some(self, rows: Indices, out: Array) -> Cost:
        began = time.perf_counter_ns()
        if int(rows[-1] - rows[0]) == len(rows) - 1:
            self._library.read(self.field.name, rows, out)
        else:
            for start, stop in self._cut(rows, LIBRARY_BYTES):
                self._library.read(self.field.name, rows[start:stop], out[start:stop])
        try:
            for source in self.layout.sources:
                source.check_unchanged()
        except ReadError as error:
            raise located(error, self.field.name, rows) from error
        return Cost(read=time.perf_counter_ns() - began, stored=out.nbytes)
