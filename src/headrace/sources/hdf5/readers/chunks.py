"""`ChunkReader`: reads chunks, and decodes them in the calling thread."""

import itertools
import time
from collections.abc import Iterator
from functools import partial
from typing import cast

import numpy as np
import numpy.typing as npt

from headrace.errors import ReadError
from headrace.sources.base import Arrays, Read, ReadStats
from headrace.sources.file import Bytes, File
from headrace.sources.hdf5.filters.common import (
    ChunkError,
    DamagedChunkError,
    ShortChunkError,
    scratch,
)
from headrace.sources.hdf5.filters.names import bits_of, way_out
from headrace.sources.hdf5.filters.pipeline import FilterPipeline
from headrace.sources.hdf5.library import Library, damaged, located
from headrace.sources.hdf5.readers.base import DatasetReader
from headrace.sources.hdf5.readers.chunk_index import UNALLOCATED, Chunks
from headrace.sources.hdf5.readers.layout import Layout
from headrace.sources.jobs import part_of
from headrace.sources.read_ahead import ReadAhead
from headrace.spec import Indices

FETCHED_BYTES = 1 << 17
FETCHED_CHUNKS = 8
"""Small chunks are fetched together: up to 8 of the largest size, or 128 KiB, so that they stay in
the processor's cache until they are decoded."""


class _Stored:
    """The stored bytes of some chunks, fetched a few at a time, in ascending order.

    Args:
        file: Their file.
        chunks: The index of their dataset.
        numbers: The rows of chunks to fetch. Chunk `i` of this object is chunk
            `i % chunks.per_row` of row `numbers[i // chunks.per_row]`.
        room: Bytes to fetch at a time, unless a single chunk is larger.

    Attributes:
        offsets: File offset of each chunk, or `UNALLOCATED`.
        masks: Filter mask of each chunk: bit i is set if filter i was skipped.
        nanoseconds: Time spent fetching.
        nbytes: Bytes fetched.
    """

    def __init__(self, file: File, chunks: Chunks, numbers: Indices, room: int) -> None:
        self._file = file
        self._room = room
        self.offsets: list[int] = chunks.offsets[numbers].reshape(-1).tolist()
        self._sizes: list[int] = chunks.sizes[numbers].reshape(-1).tolist()
        self.masks: list[int] = chunks.masks[numbers].reshape(-1).tolist()
        self._first = self._stop = 0
        self._pieces: list[Bytes | ChunkError] = []
        self.nanoseconds = self.nbytes = 0

    def get(self, i: int) -> Bytes:
        """The stored bytes of chunk `i`, valid until the next call.

        Raises:
            ChunkError: If they cannot be read.
        """
        if i >= self._stop:
            began = time.perf_counter_ns()
            self._fetch(i)
            self.nanoseconds += time.perf_counter_ns() - began
        piece = self._pieces[i - self._first]
        if isinstance(piece, ChunkError):
            raise piece
        return piece

    def _fetch(self, first: int) -> None:
        stop, room = first + 1, self._room - self._sizes[first]
        while stop < len(self._sizes) and self._sizes[stop] <= room:
            room -= self._sizes[stop]
            stop += 1
        sizes = self._sizes[first:stop]
        ends = list(itertools.accumulate(sizes))
        buffer = scratch("stored", ends[-1])
        self.nbytes += ends[-1]
        pieces = [buffer[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        self._first, self._stop, self._pieces = first, stop, [*pieces]
        if len(sizes) > 1:
            try:
                # A chunk without an offset has no bytes, so any valid offset works for it.
                offsets = np.maximum(self.offsets[first:stop], 0)
                self._file.gather(offsets, np.array(sizes), buffer)
                return
            except ReadError:
                pass  # reading them one by one below finds out which one failed
        for i, (piece, offset) in enumerate(zip(pieces, self.offsets[first:stop], strict=True)):
            try:
                if len(piece):
                    self._file.read_into(piece, offset)
            except ReadError as error:
                self._pieces[i] = ChunkError(f"cannot be read: {error}")


class ChunkReader(DatasetReader):
    """Reads chunks of any shape whose filters Headrace can decode.

    Args:
        layout: How the dataset is stored.
        file: Its file.
        library: The same file, for chunks that only libhdf5 can decode.
    """

    def __init__(self, layout: Layout, file: File, library: Library) -> None:
        super().__init__(layout)
        self._file = file
        self._library = library
        self._chunks = cast("Chunks", layout.chunks)
        self._pipeline = FilterPipeline(self._chunks.filters, layout.chunk_bytes)
        # Some writers store only the existing rows of the last chunk.
        height = self._chunks.shape[0]
        self._last_bytes = layout.chunk_bytes // height * (layout.length % height)
        self._last_pipeline = FilterPipeline(self._chunks.filters, self._last_bytes)
        self._places = list(self._place_chunks())
        largest = int(self._chunks.sizes.max(initial=1))
        self._room = max(largest, min(FETCHED_BYTES, FETCHED_CHUNKS * largest))
        doubts = _maybe_raw(layout, self._chunks)
        self._doubts = doubts if doubts.any() else None

    @property
    def block_rows(self) -> int:
        return self._chunks.shape[0]

    @property
    def scratch(self) -> int:
        return self._room + self.layout.chunk_bytes + self._pipeline.scratch

    def _place_chunks(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """For each chunk in a row of chunks: its slices in a sample, and the slices of it to use.

        The two differ for chunks that extend beyond the edge of a sample.
        """
        axes = []
        for size, chunk in zip(self.layout.shape[1:], self._chunks.shape[1:], strict=True):
            starts = range(0, size, chunk)
            axes.append(
                [(slice(a, min(a + chunk, size)), slice(0, min(chunk, size - a))) for a in starts]
            )
        for combination in itertools.product(*axes):
            yield tuple(a for a, _ in combination), tuple(b for _, b in combination)

    def announce(self, rows: Indices) -> bool:
        numbers = self.blocks_of(rows)
        offsets, sizes = self._chunks.offsets[numbers], self._chunks.sizes[numbers]
        there = sizes > 0
        return self._file.announce(offsets[there], sizes[there])

    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        stored = self._chunks.sizes.sum(dtype=np.int64) / self.layout.length
        ahead = ReadAhead(self.announce, rows, max(1, stored))
        for start, stop in self._jobs(rows):
            some, arrays = rows[start:stop], part_of(out, start, stop)
            yield partial(self._read_some, some, arrays, ahead, start)

    def _read_some(self, rows: Indices, out: Arrays, ahead: ReadAhead, place: int) -> ReadStats:
        ahead.reach(place)
        began = time.perf_counter_ns()
        height, row_bytes = self._chunks.shape[0], self.layout.row_bytes
        chunk_bytes = self.layout.chunk_bytes
        numbers = rows // height
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        numbers = numbers[bounds[:-1]]
        stored = _Stored(self._file, self._chunks, numbers, self._room)
        target = self._target(out)
        repaired = 0
        for i, (number, (a, b)) in enumerate(
            zip(numbers.tolist(), itertools.pairwise(bounds), strict=True)
        ):
            try:
                if target is not None and b - a == height and stored.offsets[i] != UNALLOCATED:
                    at = a * row_bytes
                    self._load(stored, i, number, target[at : at + chunk_bytes])
                else:
                    self._assemble(stored, i, number, rows[a:b], part_of(out, a, b))
            except ChunkError as error:
                self._ask_library(number, rows[a:b], part_of(out, a, b), error)
                repaired += 1
        try:
            self._file.check_unchanged()
        except ReadError as error:
            raise located(error, self.layout.name, rows) from error
        took = time.perf_counter_ns() - began
        return ReadStats(stored.nanoseconds, took - stored.nanoseconds, stored.nbytes, repaired)

    def _target(self, out: Arrays) -> Bytes | None:
        """The array into which whole chunks can be decoded directly; None if there is none."""
        alone = self._alone(self._of(out))
        fits = self._chunks.shape[1:] == self.layout.shape[1:]
        if alone is None or alone.swapped or not fits:
            return None
        return out[alone.field.name].reshape(-1).view(np.uint8)

    def _load(self, stored: _Stored, i: int, number: int, out: Bytes) -> None:
        """Fills `out` with the decoded bytes of chunk `i` of `stored`."""
        k = i % self._chunks.per_row
        try:
            if self._doubts is not None and self._doubts[number, k]:
                raise ChunkError("is at the edge and has the size of an unfiltered chunk")
            self._pipeline.decode(stored.get(i), stored.masks[i], out)
        except ChunkError as error:
            if not isinstance(error, ShortChunkError) or not self._ends(stored, i, number, out):
                error.beside = k
                raise

    def _ends(self, stored: _Stored, i: int, number: int, out: Bytes) -> bool:
        """Decodes a last chunk that stores only existing rows; returns whether it is one."""
        if not self._last_bytes or number != self.blocks - 1:
            return False
        try:
            front = out[: self._last_bytes]
            self._last_pipeline.decode(stored.get(i), stored.masks[i], front)
        except ChunkError:
            return False
        return True

    def _assemble(self, stored: _Stored, i: int, number: int, rows: Indices, out: Arrays) -> None:
        """Fills `out` with `rows` from row `number` of chunks, which is row `i` of `stored`."""
        columns = self._of(out)
        wanted = self._wanted(number, rows)
        for k, (place, inside) in enumerate(self._places, i * self._chunks.per_row):
            if stored.offsets[k] == UNALLOCATED:
                for column in columns:
                    out[column.field.name][(slice(None), *place)] = column.fill
                continue
            chunk = scratch("chunk", self.layout.chunk_bytes)
            self._load(stored, k, number, chunk)
            for column in columns:
                values = column.values(chunk, self._chunks.shape)[(slice(None), *inside)]
                out[column.field.name][(slice(None), *place)] = values[wanted]

    def _wanted(self, number: int, rows: Indices) -> slice | Indices:
        """The positions of `rows` within row `number` of chunks."""
        first = number * self._chunks.shape[0]
        if int(rows[-1] - rows[0]) == len(rows) - 1:
            return slice(int(rows[0]) - first, int(rows[-1]) - first + 1)
        return rows - first

    def _ask_library(self, number: int, rows: Indices, out: Arrays, error: ChunkError) -> None:
        """Reads rows through libhdf5 after decoding them directly has failed."""
        start = self._chunks.start(number, error.beside, self.layout.shape)
        words = f"the chunk at {start} {error}"
        if self.layout.lacking:
            words += f"; libhdf5 lacks a filter here. {way_out(self.layout.lacking)[:-1]}"
        if not isinstance(error, DamagedChunkError):
            self._library.read(self.layout.name, self._of(out), rows, out, words)
            return
        try:
            self._file.check_unchanged()
        except ReadError as change:
            # If the file has changed, that explains the damage.
            raise located(change, self.layout.name, rows) from change
        raise damaged(self._file.path, self.layout.name, rows, words) from error


def _maybe_raw(layout: Layout, chunks: Chunks) -> npt.NDArray[np.bool_]:
    """Which chunks may be stored without filters although their masks do not say so.

    A dataset option makes HDF5 store partial edge chunks unfiltered. If libhdf5 lacks a filter,
    `layout` has already determined whether that is the case, and set the masks.
    """
    every = (1 << len(chunks.filters)) - 1
    lacking = bits_of(layout.lacking, chunks.filters)
    filtered = chunks.masks & every != every
    known = ~chunks.masks & lacking != 0
    whole = chunks.sizes == layout.chunk_bytes
    doubts: npt.NDArray[np.bool_] = whole & filtered & ~known
    return doubts & chunks.partial(layout.shape) if doubts.any() else doubts
