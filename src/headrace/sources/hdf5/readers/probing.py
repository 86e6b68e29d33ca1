"""Compares direct reading with h5py on a small part of a dataset."""

from collections.abc import Iterator
from enum import Enum

import h5py
import numpy as np

from headrace.errors import ChangedFileError, ReadError
from headrace.sources.base import Arrays, ReadStats, empty_arrays, run_reads, value_bytes
from headrace.sources.hdf5.filters.common import DamagedChunkError
from headrace.sources.hdf5.library import fill
from headrace.sources.hdf5.limits import MOST_COMPARED
from headrace.sources.hdf5.opening import refusal
from headrace.sources.hdf5.readers.base import DatasetReader
from headrace.sources.hdf5.readers.chunk_index import UNALLOCATED
from headrace.sources.hdf5.readers.layout import Layout
from headrace.sources.hdf5.readers.virtual import VirtualReader
from headrace.spec import Indices

DAMAGED = "its first chunks are damaged"
"""The reason for reading a field through h5py whose first rows could not be read."""

_PROBES = 4
"""Chunks that are tried until one can be read; if none can, the field is read through h5py."""

_PROBE_BYTES = 16 << 20


class _Found(Enum):
    """The result of reading some rows directly and through h5py."""

    SAME = "the same values"
    OTHER = "reading it directly gave other values"
    REPAIRED = "the first could only be read by libhdf5"
    DAMAGE = "values from libhdf5 alone, which makes some up"
    NOTHING = "libhdf5 cannot read it"


def doubt(reader: DatasetReader, dataset: h5py.Dataset) -> str | None:
    """Why a direct reader must not be used; None if it reads the same values as h5py."""
    if max(reader.layout.row_bytes, reader.layout.chunk_bytes) > MOST_COMPARED:
        return None  # comparing would take twice the memory, which a small file may inflate
    several = isinstance(reader, VirtualReader)
    why: str | None = DAMAGED
    for rows in reader.probes() if isinstance(reader, VirtualReader) else _written(reader.layout):
        found = _compare(reader, dataset, rows)
        if found in (_Found.OTHER, _Found.REPAIRED):
            return f"{reader.layout.path.reason}: {found.value}"
        if found is not _Found.NOTHING:
            why = None
        if found is _Found.SAME and not several:
            break
    for rows in _unwritten(reader.layout) if why is None else ():
        found = _compare(reader, dataset, rows)
        if found in (_Found.OTHER, _Found.NOTHING):
            return f"{reader.layout.path.reason}: where nothing was written, {found.value}"
    return why


def _compare(reader: DatasetReader, dataset: h5py.Dataset, rows: Indices) -> _Found:
    """Reads rows directly and through h5py, and compares the values."""
    columns = reader.layout.columns
    ours = empty_arrays([column.field for column in columns], len(rows))
    cost = _try(reader, rows, ours)
    if isinstance(cost, DamagedChunkError):
        # libhdf5 might return arbitrary values, or allocate unbounded memory.
        return _Found.DAMAGE
    if reader.layout.lacking:
        return _Found.NOTHING if cost is None else _Found.SAME
    theirs = empty_arrays([column.field for column in columns], len(rows))
    try:
        fill(dataset, columns, rows, theirs)
    except (OSError, RuntimeError) as error:
        if refusal(error):
            raise
        return _Found.NOTHING
    if cost is None:
        return _Found.DAMAGE
    if cost.repaired:
        return _Found.REPAIRED
    same = all(value_bytes(ours[name]) == value_bytes(theirs[name]) for name in ours)
    return _Found.SAME if same else _Found.OTHER


def _try(reader: DatasetReader, rows: Indices, out: Arrays) -> ReadStats | DamagedChunkError | None:
    """Fills `out` with rows, and returns the statistics, or the damage that prevents it.

    Returns None if the rows cannot be read for another reason, so that libhdf5 should be tried.
    """
    try:
        return run_reads(list(reader.reads(rows, out)))
    except ChangedFileError:
        raise
    except ReadError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, DamagedChunkError):
            cause = cause.__cause__
        return cause


def _written(layout: Layout) -> Iterator[Indices]:
    """Rows of the first chunks that were written, or the first rows."""
    starts = [0]
    if layout.chunks is not None:
        written = np.flatnonzero((layout.chunks.offsets != UNALLOCATED).any(axis=1))[:_PROBES]
        starts = (written * layout.chunks.shape[0]).tolist() or starts
    for start in starts:
        yield _rows(layout, start)


def _unwritten(layout: Layout) -> Iterator[Indices]:
    """Rows of the first chunk that was never written, if there is one."""
    if layout.chunks is not None:
        unwritten = (layout.chunks.offsets == UNALLOCATED).any(axis=1)
        if unwritten.any():
            yield _rows(layout, int(unwritten.argmax()) * layout.chunks.shape[0])


def _rows(layout: Layout, start: int) -> Indices:
    few = max(1, _PROBE_BYTES // layout.row_bytes)
    return np.arange(start, min(start + min(layout.chunk_rows or 16, few), layout.length))
