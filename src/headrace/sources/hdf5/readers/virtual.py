"""`VirtualReader`: reads virtual datasets with the readers of their sources."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple, cast

import numpy as np

from headrace.errors import ReadError
from headrace.sources.base import Arrays, Read, ReadPath, ReadStats, empty_arrays
from headrace.sources.file import File
from headrace.sources.hdf5.library import located
from headrace.sources.hdf5.readers.base import DatasetReader
from headrace.sources.hdf5.readers.layout import Layout
from headrace.sources.hdf5.readers.rows import RUN_BYTES, RowReader
from headrace.sources.jobs import part_of
from headrace.spec import Indices

_SLOWEST_FIRST = ("h5py", "direct chunks", "direct rows")

_PROBES = 16
"""Boundaries between sources at which a virtual dataset is compared with h5py's result."""


class Run(NamedTuple):
    """Rows `start .. stop - 1` of a virtual dataset that come from one source.

    Attributes:
        start: First row in the virtual dataset.
        stop: The row after the last one.
        reader: The reader of the source; None for rows that no source is mapped to.
        first: The row of the source that is mapped to `start`.
        height: Rows of the source that are stacked to one row; None if rows have the same shape.
    """

    start: int
    stop: int
    reader: DatasetReader | None = None
    first: int = 0
    height: int | None = None

    def inside(self, rows: Indices, out: Arrays) -> tuple[Indices, Arrays]:
        """Converts rows of the virtual dataset, and their arrays, to those of the source."""
        if self.height is None:
            return rows - self.start + self.first, out
        first = (rows - self.start) * self.height + self.first
        every = (first[:, np.newaxis] + np.arange(self.height)).reshape(-1)
        return every, {name: a.reshape(-1, *a.shape[2:]) for name, a in out.items()}

    def block_offsets(self, inside: Indices) -> Indices:
        """Converts block offsets of the source; adds the ends of the run."""
        offsets = -(-(inside - self.first) // (self.height or 1)) + self.start
        within = offsets[(offsets > self.start) & (offsets < self.stop)]
        return np.concatenate([[self.start], within, [self.stop]])


class VirtualReader(DatasetReader):
    """Reads each row of a virtual dataset with the reader of its source.

    Args:
        layout: The layout of the virtual dataset.
        file: The file of the virtual dataset.
        runs: Runs that cover its rows in order and without gaps.
    """

    def __init__(self, layout: Layout, file: File, runs: Sequence[Run]) -> None:
        super().__init__(replace(layout, path=_path(runs)))
        self._file = file
        self.runs = runs
        self._starts = np.array([run.start for run in runs], np.int64)

    @property
    def addressable(self) -> bool:
        return all(run.reader is None or run.reader.addressable for run in self.runs)

    @property
    def scratch(self) -> int:
        return max((run.reader.scratch for run in self.runs if run.reader), default=0)

    @property
    def block_rows(self) -> int:
        return max(1, self.layout.length // self.blocks)

    def blocks_of(self, rows: Indices) -> Indices:
        return np.unique(np.searchsorted(self._block_offsets, rows, side="right") - 1)

    @cached_property
    def _block_offsets(self) -> Indices:
        return self.block_offsets()

    @property
    def blocks(self) -> int:
        return sum(run.reader.blocks if run.reader else self._steps(run) for run in self.runs)

    def block_offsets(self) -> Indices:
        found = []
        for run in self.runs:
            if run.reader is None:
                steps = self._steps(run) + 1
                found.append(np.linspace(run.start, run.stop, steps, dtype=np.int64))
            else:
                found.append(run.block_offsets(run.reader.block_offsets()))
        return np.unique(np.concatenate(found))

    def _steps(self, run: Run) -> int:
        """The number of blocks of a run that no source is mapped to."""
        return -(-(run.stop - run.start) * self.layout.row_bytes // RUN_BYTES)

    def probes(self) -> Iterator[Indices]:
        """Rows to compare with h5py: those at boundaries between runs, and the last one."""
        length = self.layout.length
        some = self._starts[:: -(-len(self._starts) // _PROBES)]
        for edge in [*some.tolist(), length]:
            yield np.arange(max(0, edge - 1), min(edge + 1, length))

    def reads(self, rows: Indices, out: Arrays) -> Iterator[Read]:
        cuts = np.searchsorted(rows, np.append(self._starts, self.layout.length)).tolist()
        for run, (start, stop) in zip(self.runs, itertools.pairwise(cuts), strict=True):
            if start == stop:
                continue
            some, arrays = rows[start:stop], part_of(out, start, stop)
            if run.reader is None:
                yield partial(self._fill, arrays)
                continue
            for read in run.reader.reads(*run.inside(some, arrays)):
                yield partial(self._read, read, some)

    def announce(self, rows: Indices) -> bool:
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        announced = False
        for number in np.unique(owner).tolist():
            run = self.runs[number]
            if run.reader is not None:
                inside, _ = run.inside(rows[owner == number], {})
                announced = run.reader.announce(inside) or announced
        return announced

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:
        """Fills `out[name][i]` with row `rows[i]`, in any order, if all runs are addressable."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(owner, kind="stable")
        numbers, starts = np.unique(owner[order], return_index=True)
        if len(numbers) == 1:
            return self._read_rows_of(self.runs[numbers[0]], rows, out)
        fields = [self._columns[name].field for name in out]
        total = ReadStats()
        for number, here in zip(numbers.tolist(), np.split(order, starts[1:]), strict=False):
            some = empty_arrays(fields, len(here))
            total += self._read_rows_of(self.runs[number], rows[here], some)
            for name, values in some.items():
                out[name][here] = values
        return total

    def _read_rows_of(self, run: Run, rows: Indices, out: Arrays) -> ReadStats:
        if run.reader is None:
            return self._fill(out)
        reader = cast("RowReader | VirtualReader", run.reader)
        return self._read(partial(reader.read_rows, *run.inside(rows, out)), rows)

    def _read(self, read: Read, rows: Indices) -> ReadStats:
        try:
            cost = read()
            self._file.check_unchanged()
        except ReadError as error:
            raise located(error, self.layout.name, rows) from error
        return cost

    def _fill(self, out: Arrays) -> ReadStats:
        for name, array in out.items():
            array[...] = self._columns[name].fill
        return ReadStats()


def _path(runs: Sequence[Run]) -> ReadPath:
    """The slowest read path of the sources, with a reason."""
    readers = list({id(run.reader): run.reader for run in runs if run.reader}.values())
    if not readers:
        return ReadPath("direct rows", "virtual dataset without sources")
    found = [reader.layout.path.path for reader in readers]
    way = next(way for way in _SLOWEST_FIRST if way in found)
    reason = _innermost(readers[found.index(way)]).reason
    sources = f"virtual dataset of {len(found)} source{'s' * (len(found) != 1)}"
    if way == "h5py":
        return ReadPath(way, f"{sources}, {found.count(way)} of them by h5py: {reason}")
    return ReadPath(way, f"{sources}, read by address: {reason}")


def _innermost(reader: DatasetReader) -> ReadPath:
    """The read path of the first source, looked up through nested virtual datasets."""
    while isinstance(reader, VirtualReader):
        inside = next((run.reader for run in reader.runs if run.reader), None)
        if inside is None:
            break
        reader = inside
    return reader.layout.path
