"""`View`: selected rows of one or more sources, one after the other."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.order import STEP, Marks, Permutation, Selection, stream_key
from headrace.resources import open_files
from headrace.sources import (
    Arrays,
    Read,
    ReadPath,
    ReadStats,
    Source,
    empty_arrays,
    renumbered,
    run_reads,
)
from headrace.spec import Field, Indices

Item = TypeVar("Item")

FEW_CODES = 8
"""Up to so many codes, rows are compared with each; beyond, they are sorted by code."""

Codes = npt.NDArray[np.integer[Any]]
"""A small number for each row: of its class, or of the part that it goes to."""


@dataclass(frozen=True)
class SourceRows:
    """Some rows of one source."""

    source: Source
    selection: Selection


class DecodedBlocks:
    """Sets of block numbers, in a byte for each block: which were decoded before."""

    def __init__(self) -> None:
        self._marks: dict[tuple[int, str], npt.NDArray[np.bool_]] = {}

    def note(self, key: tuple[int, str], blocks: Indices) -> int:
        """Adds blocks to a set; returns how many of them were in it."""
        marks = self._marks.get(key, np.zeros(0, np.bool_))
        if blocks[-1] >= len(marks):
            marks = np.append(marks, np.zeros(int(blocks[-1]) + 1 - len(marks), np.bool_))
            self._marks[key] = marks
        again = int(np.count_nonzero(marks[blocks]))
        marks[blocks] = True
        return again


@dataclass(frozen=True)
class View:
    """Rows addressed by position `0 .. len - 1`, over one or more sources of equal fields.

    Attributes:
        parts: The rows.
        names: The fields that are read.
        mixed: Whether the rows are known to lie in a random order already.
    """

    parts: tuple[SourceRows, ...]
    names: tuple[str, ...]
    mixed: bool = False

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return sum(field.nbytes for field in self.fields)

    @cached_property
    def _offsets(self) -> Indices:
        """The position at which each part starts, and the length."""
        return np.cumsum([0, *(len(part.selection) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields of a row."""
        there = {field.name: field for field in self.parts[0].source.fields}
        return tuple(there[name] for name in self.names)

    def block_offsets(self, names: Sequence[str], blocks_per_read: int = 1) -> Indices:
        """The positions at which blocks start, and the length; blocks without rows left out.

        Args:
            names: The fields.
            blocks_per_read: How many neighbouring blocks of a source make one here.
        """
        found = []
        for part, offset, _ in self._zip_parts(self.parts):
            offsets = part.source.block_offsets(names)
            offsets = np.append(offsets[:-1:blocks_per_read], offsets[-1])
            found.append(part.selection.rank(offsets) + offset)
        # They ascend already; `np.unique` would take a second for a million.
        joined = np.concatenate([[0], *found])
        return joined[np.diff(joined, prepend=-1) > 0]

    def repeated(self, names: Sequence[str], blocks_per_read: int, windows: int) -> float:
        """Bytes decoded again for each byte decoded, on average; see `Source.repeated`."""
        total = sum(
            part.source.repeated(names, blocks_per_read, windows) * len(part.selection)
            for part in self.parts
        )
        return total / len(self)

    def note_blocks(self, positions: Indices, names: Sequence[str], seen: DecodedBlocks) -> int:
        """Notes the blocks that rows at ascending `positions` are decoded from.

        Returns how many of them are in `seen` already.
        """
        cuts = np.searchsorted(positions, self._offsets).tolist()
        again = 0
        for number, (part, offset, (a, b)) in enumerate(self._zip_parts(itertools.pairwise(cuts))):
            if a == b:
                continue
            rows = part.selection.ascending(positions[a:b] - offset)
            for name, blocks in part.source.blocks_of(names, rows).items():
                again += seen.note((number, name), blocks)
        return again

    def announce(self, positions: Indices, names: Sequence[str]) -> bool:
        """Tells the system which rows `read_rows` will read soon; False if that is of no use."""
        if len(self.parts) == 1:
            part = self.parts[0]
            return part.source.announce(part.selection.rows(positions), names)
        owner = np.searchsorted(self._offsets, positions, side="right") - 1
        announced = [
            self.parts[number].source.announce(
                self.parts[number].selection.rows(
                    positions[owner == number] - self._offsets[number]
                ),
                names,
            )
            for number in np.unique(owner).tolist()
        ]
        return any(announced)

    @cached_property
    def _addressable(self) -> frozenset[str]:
        return frozenset(
            name
            for name in self.names
            if all(part.source.addressable([name]) for part in self.parts)
        )

    def addressable(self, names: Sequence[str]) -> bool:
        """Whether reading one row costs about one row."""
        return self._addressable.issuperset(names)

    @cached_property
    def in_memory(self) -> frozenset[str]:
        """The fields that lie in this process's memory already."""
        return frozenset(
            name for name in self.names if all(part.source.in_memory([name]) for part in self.parts)
        )

    @property
    def reads_whole_rows(self) -> bool:
        """Whether reading one field costs as much as all; see `Source.reads_whole_rows`."""
        return any(part.source.reads_whole_rows for part in self.parts)

    @property
    def fetches(self) -> int:
        """How many fetches are worth having in flight; see `Source.fetches`."""
        return max(part.source.fetches for part in self.parts)

    def scratch(self, names: Sequence[str]) -> int:
        """The most bytes that one running read holds besides its output."""
        return max(part.source.scratch(names) for part in self.parts)

    def read_paths(self) -> dict[str, ReadPath]:
        """How each field is read."""
        found = [part.source.read_paths() for part in self.parts]
        return {name: _summary([paths[name] for paths in found]) for name in self.names}

    @property
    def _sources(self) -> list[Source]:
        """Each source once."""
        return list({id(part.source): part.source for part in self.parts}.values())

    def files(self) -> tuple[str, ...]:
        """The files that the sources name."""
        return tuple(dict.fromkeys(file for source in self._sources for file in source.files()))

    def inputs(self) -> tuple[str, ...]:
        """All files that reading may touch, none of which may be replaced.

        Where a source cannot name its files, these are all that this process has open.
        """
        opaque = any(source.opaque() for source in self._sources)
        return (*self.files(), *(open_files() if opaque else ()))

    def fingerprint(self) -> str:
        """A short text that differs when the rows differ."""
        text = " ".join(f"{p.source.fingerprint()}/{p.selection.digest()}" for p in self.parts)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def reads(self, positions: Indices, out: Arrays) -> list[Read]:
        """The reads that fill `out[name][i]` with the row at `positions[i]`, which ascend."""
        cuts = np.searchsorted(positions, self._offsets).tolist()
        found: list[Read] = []
        for part, offset, (a, b) in self._zip_parts(itertools.pairwise(cuts)):
            if a < b:
                here = positions[a:b] - offset if offset else positions[a:b]
                rows = part.selection.ascending(here)
                reads = part.source.reads(rows, {name: o[a:b] for name, o in out.items()})
                found += [renumbered(read, partial(_position, part, offset)) for read in reads]
        return found

    def read_rows(self, positions: Indices, out: Arrays) -> ReadStats:
        """Fills `out[name][i]` with the row at `positions[i]`, in any order."""
        if len(self.parts) == 1:
            part = self.parts[0]
            stats = part.source.read_rows(part.selection.rows(positions), out)
            return stats.renumbered(partial(_position, part, 0))
        total = ReadStats()
        owner = np.searchsorted(self._offsets, positions, side="right") - 1
        order = np.argsort(owner, kind="stable")
        numbers, starts = np.unique(owner[order], return_index=True)
        fields = [field for field in self.fields if field.name in out]
        for number, here in zip(numbers.tolist(), np.split(order, starts[1:]), strict=False):
            part = self.parts[number]
            rows = part.selection.rows(positions[here] - self._offsets[number])
            some = empty_arrays(fields, len(here))
            stats = part.source.read_rows(rows, some)
            total += stats.renumbered(partial(_position, part, int(self._offsets[number])))
            for name, values in some.items():
                out[name][here] = values
        return total

    def read_any(self, positions: Indices, names: Sequence[str]) -> tuple[Arrays, ReadStats]:
        """Reads rows in any order, also twice, each block once; and what it cost.

        Rows that cannot be read are named by the `ReadStats`; `check_rows` makes an error of them.
        """
        wanted, place = np.unique(positions, return_inverse=True)
        arrays = empty_arrays([f for f in self.fields if f.name in names], len(wanted))
        cost = run_reads(self.reads(wanted, arrays))
        if np.array_equal(wanted, positions):
            return arrays, cost
        return {name: array[place] for name, array in arrays.items()}, cost

    def part(self, start: int, stop: int) -> "View":
        """The rows at positions `start .. stop - 1`."""
        parts = []
        for part, offset, _ in self._zip_parts(self.parts):
            low, high = max(start - offset, 0), min(stop - offset, len(part.selection))
            if low < high:
                parts.append(SourceRows(part.source, part.selection.part(low, high)))
        return replace(self, parts=tuple(parts) or (self._nothing(),))

    def columns(self, names: Sequence[str]) -> list["View"]:
        """Other fields of the same rows, in one view for each run of sources that agree in them.

        Fields that the data set does not read may differ in width from file to file.

        Raises:
            FieldNotFoundError: If a source has no such field.
        """
        opened: dict[int, Source] = {}
        parts = []
        for part in self.parts:
            if id(part.source) not in opened:
                opened[id(part.source)] = part.source.select(names)
            parts.append(SourceRows(opened[id(part.source)], part.selection))

        def form(part: SourceRows) -> list[Field]:
            return [field for field in part.source.fields if field.name in names]

        groups = itertools.groupby(parts, form)
        return [View(tuple(group), tuple(dict.fromkeys(names))) for _, group in groups]

    def divide(self, runs: Iterable[Codes], count: int) -> list["View"]:
        """Parts of the rows, which keep their order in each.

        Args:
            runs: For the next rows, and the next, the number of the part that each belongs
                to: integers of any kind, shape `(k,)`; a row of any other number is left out.
            count: Number of parts.
        """
        marks: list[dict[int, Marks]] = [{} for _ in self.parts]
        start = 0
        for codes in runs:
            stop = start + len(codes)
            for number, low, high in self._within(start, stop):
                selection, offset = self.parts[number].selection, int(self._offsets[number])
                rows = selection.run(low - offset, high - offset)
                for code, chosen in _sorted_out(rows, codes[low - start : high - start], count):
                    if code not in marks[number]:
                        marks[number][code] = selection.marks()
                    marks[number][code].add(chosen)
            start = stop
        return [self._chosen([made.pop(code, None) for made in marks]) for code in range(count)]

    def _within(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The parts that positions lie in: number, first and last position plus one."""
        first = int(np.searchsorted(self._offsets, start, side="right")) - 1
        for number in range(first, len(self.parts)):
            low, high = self._offsets[number : number + 2].tolist()
            if low >= stop:
                break
            if max(low, start) < min(high, stop):
                yield number, max(low, start), min(high, stop)

    def _chosen(self, marks: Iterable[Marks | None]) -> "View":
        """The rows that were marked in each part."""
        parts = [
            SourceRows(part.source, made.selection())
            for part, made in zip(self.parts, marks, strict=True)
            if made is not None
        ]
        return replace(self, parts=tuple(parts) or (self._nothing(),))

    def random_parts(self, bounds: Sequence[int], seed: int) -> list["View"]:
        """Cuts the rows at random; rows keep their order within a part.

        Part i gets those whose place in a permutation is in `[bounds[i], bounds[i + 1])`.
        """
        places = Permutation(len(self), stream_key(seed, "split"))

        def codes() -> Iterator[Codes]:
            for start in range(0, len(self), STEP):
                here = places(np.arange(start, min(start + STEP, len(self))))
                yield np.searchsorted(bounds, here, side="right") - 1

        return self.divide(codes(), len(bounds) - 1)

    def _nothing(self) -> SourceRows:
        return SourceRows(self.parts[0].source, self.parts[0].selection.part(0, 0))

    def _zip_parts(self, items: Iterable[Item]) -> Iterator[tuple[SourceRows, int, Item]]:
        return zip(self.parts, self._offsets.tolist(), items, strict=False)


def _position(part: SourceRows, offset: int, row: int) -> int:
    """The position of a row of a source whose first selected row is at `offset`."""
    return int(part.selection.rank(np.array([row]))[0]) + offset


def _sorted_out(rows: Indices, codes: Codes, count: int) -> Iterator[tuple[int, Indices]]:
    """The rows of each code below `count` that has any."""
    if count <= FEW_CODES:
        chosen = ((code, rows[codes == code]) for code in range(count))
        yield from ((code, some) for code, some in chosen if len(some))
        return
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    for code, here in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        if 0 <= code < count:
            yield code, rows[here]


def _summary(paths: Sequence[ReadPath]) -> ReadPath:
    """The read paths of several sources as one, the most frequent first."""
    counts = Counter(paths).most_common()
    if len(counts) == 1:
        return paths[0]
    ways = dict.fromkeys(path.path for path, _ in counts)
    reasons = [f"{path.reason} ({count} of {len(paths)} sources)" for path, count in counts[:3]]
    more = [f"and {len(counts) - 3} other reasons"] if len(counts) > 3 else []
    return ReadPath(" and ".join(ways), "; ".join(reasons + more))
