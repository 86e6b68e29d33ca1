"""The set of row numbers that were written, in at most one bit for each row."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from headrace.spec import Indices

PAGE = 1 << 16
"""Rows in a page: their bits form one integer."""

_FULL = (1 << PAGE) - 1


class RowSet:
    """A set of row numbers.

    A page of 65,536 rows takes no memory of its own if all or none of them are in the set, and 8 kB
    otherwise.

    Attributes:
        stop: One more than the last row.
    """

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}
        self.stop = 0

    def copy(self) -> "RowSet":
        """A copy of the set."""
        new = RowSet()
        new._pages = dict(self._pages)
        new.stop = self.stop
        return new

    def add(self, start: int, stop: int) -> None:
        """Adds the rows `start` to `stop - 1`."""
        if start >= stop:
            return
        for page in range(start // PAGE, -(-stop // PAGE)):
            first = max(start - page * PAGE, 0)
            last = min(stop - page * PAGE, PAGE)
            self._set(page, ((1 << (last - first)) - 1) << first)
        self.stop = max(self.stop, stop)

    def add_rows(self, rows: Indices) -> None:
        """Adds rows, in any order; they may repeat."""
        rows = np.unique(rows)
        if not len(rows):
            return
        starts = np.flatnonzero(np.diff(rows // PAGE, prepend=-1))
        for some in np.split(rows, starts[1:]):
            flags = np.zeros(PAGE, np.bool_)
            flags[some % PAGE] = True
            bits = np.packbits(flags, bitorder="little").tobytes()
            self._set(int(some[0]) // PAGE, int.from_bytes(bits, "little"))
        self.stop = max(self.stop, int(rows[-1]) + 1)

    def _set(self, page: int, bits: int) -> None:
        bits |= self._pages.get(page, 0)
        self._pages[page] = _FULL if bits == _FULL else bits

    def count(self) -> int:
        """The number of rows in the set."""
        return sum(bits.bit_count() for bits in self._pages.values())

    def gaps(self, length: int) -> Iterator[range]:
        """The runs of rows below `length` that are not in the set, ascending."""
        run = range(0)
        for start, stop in self._gaps_of_pages(length):
            if run.stop == start:
                run = range(run.start, stop)
                continue
            if run:
                yield run
            run = range(start, stop)
        if run:
            yield run

    def _gaps_of_pages(self, length: int) -> Iterator[tuple[int, int]]:
        for page in range(-(-length // PAGE)):
            start, size = page * PAGE, min(PAGE, length - page * PAGE)
            bits = self._pages.get(page, 0)
            if bits == 0:
                yield start, start + size
            elif bits is not _FULL:
                raw = np.frombuffer(bits.to_bytes(PAGE // 8, "little"), np.uint8)
                flags = np.unpackbits(raw, bitorder="little")[:size]
                edges = np.flatnonzero(np.diff(flags, prepend=1, append=1)) + start
                yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)

    def to_json(self) -> dict[str, Any]:
        """The set as JSON-compatible data."""
        full = np.array(sorted(p for p, bits in self._pages.items() if bits is _FULL), np.int64)
        starts = np.flatnonzero(np.diff(full, prepend=-2) != 1)
        runs = [[int(run[0]), int(run[-1]) + 1] for run in np.split(full, starts[1:]) if len(run)]
        partial = {str(p): f"{bits:x}" for p, bits in self._pages.items() if bits is not _FULL}
        return {"full": runs, "partial": partial}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "RowSet":
        """The set that `to_json` returned."""
        new = cls()
        for start, stop in document["full"]:
            new._pages |= dict.fromkeys(range(start, stop), _FULL)
        new._pages |= {int(p): int(bits, 16) for p, bits in document["partial"].items()}
        for page, bits in new._pages.items():
            new.stop = max(new.stop, page * PAGE + bits.bit_length())
        return new
