"""A source in memory whose rows may be unreadable, and whose fetches may be watched."""

from functools import partial

import numpy as np

from headrace.dataset import Dataset
from headrace.loading import SourceRows, View
from headrace.order import Span
from headrace.pipeline import Pipeline
from headrace.sources import BadRow, ReadPath, ReadStats, Source, StagedRead
from headrace.spec import Field, Spec

BLOCK = 10


class FaultySource(Source):
    """Rows that hold their number, in the fields x and y; some of them cannot be read.

    Args:
        length: How many rows.
        bad: Those that cannot be read: their x is filled with -1.
        by_row: Whether single rows can be read; else blocks of ten.
        fetch: Called with the number of a block before it is decoded; None for reads of one step.
        first: The number of the first row.
        fetches: How many fetches the source wants in flight.
    """

    def __init__(self, length, bad=(), by_row=False, fetch=None, fetches=0, first=0):
        self._first = first
        self.length = length
        self.fields = (Field("x", (2,), np.dtype("i8")), Field("y", (), np.dtype("i8")))
        self._bad = np.array(sorted(bad), np.int64)
        self._by_row = by_row
        self._fetch = fetch
        self.fetches = fetches

    def block_offsets(self, names):
        return np.append(np.arange(0, self.length, BLOCK), self.length)

    def addressable(self, names):
        return self._by_row

    def scratch(self, names):
        return 160

    def reads(self, rows, out):
        found = []
        for block in np.unique(rows // BLOCK).tolist():
            here = np.flatnonzero(rows // BLOCK == block)
            part = slice(int(here[0]), int(here[-1]) + 1)
            place = partial(self.read_rows, rows[part], {n: a[part] for n, a in out.items()})
            if self._fetch is None:
                found.append(place)
            else:
                decode = partial(self._decode, place)
                found.append(StagedRead(partial(self._fetch, block), decode))
        return found

    @staticmethod
    def _decode(place, fetched):
        del fetched
        return place()

    def read_rows(self, rows, out):
        bad = np.isin(rows, self._bad)
        if "x" in out:
            out["x"][:] = np.where(bad, -1, rows + self._first)[:, None]
        if "y" in out:
            out["y"][:] = rows + self._first
        reasons = (
            BadRow(row, f"row {row} of 'faulty' is torn: copy the file again.")
            for row in rows[bad].tolist()
        )
        return ReadStats(bad=tuple(reasons) if "x" in out else ())

    def files(self):
        return ()

    def read_paths(self):
        return {field.name: ReadPath("faulty", "for tests") for field in self.fields}

    def fingerprint(self):
        return f"faulty {self.length} {self._bad.tolist()}"


def dataset(*sources):
    """The rows of some sources, one after the other."""
    parts = tuple(SourceRows(source, Span(0, source.length)) for source in sources)
    return Dataset(Pipeline(View(parts, ("x", "y")), Spec(sources[0].fields, "x", "y")))
