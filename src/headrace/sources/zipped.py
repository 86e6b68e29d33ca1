"""`ZipSource`: combines the fields of several sources into one source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np

from headrace.sources.base import Arrays, Read, ReadPath, ReadStats, Source, renumbered
from headrace.spec import Field, Indices


@dataclass(frozen=True)
class Member:
    """The fields and rows that a `ZipSource` takes from one source.

    Attributes:
        source: The source.
        names: Names of its fields in the `ZipSource`, mapped to their names in `source`.
        start: The first row of the source that is used.
        stop: The row after the last one that is used; None for the end of the source.
    """

    source: Source
    names: Mapping[str, str]
    start: int = 0
    stop: int | None = None

    @property
    def length(self) -> int:
        """The number of rows that are used."""
        return (self.source.length if self.stop is None else self.stop) - self.start

    def own_row(self, row: int) -> int:
        """Converts a row number of the source to one of the `ZipSource`."""
        return row - self.start


@dataclass(frozen=True)
class _Share:
    """The requested fields of one member: names in its source, and in the `ZipSource`."""

    member: Member
    own: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)

    def of(self, out: Arrays) -> Arrays:
        """The arrays for these fields, by the names in the member's source."""
        return {own: out[given] for own, given in zip(self.own, self.given, strict=True)}

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of these fields."""
        return sum(f.nbytes for f in self.member.source.fields if f.name in self.own)


class ZipSource(Source):
    """Fields of several sources, combined into one source.

    Args:
        members: Sources with their fields and rows. All have the same number of rows, field names
            are unique, and no member uses a field of its source twice.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)
        (self.length,) = {member.length for member in members}
        there = {
            name: replace(found, name=name)
            for member in members
            for name, own in member.names.items()
            for found in member.source.fields
            if found.name == own
        }
        self.fields: tuple[Field, ...] = tuple(there.values())

    def _shares(self, names: Sequence[str] | Arrays) -> list[_Share]:
        """The fields `names`, grouped by member."""
        shares = []
        for member in self._members:
            share = _Share(member)
            for name in names:
                if name in member.names:
                    share.own.append(member.names[name])
                    share.given.append(name)
            if share.own:
                shares.append(share)
        return shares

    def block_offsets(self, names: Sequence[str]) -> Indices:
        shares = self._shares(names)
        blocky = [s for s in shares if not s.member.source.addressable(s.own)]
        largest = max(blocky or shares, key=lambda share: share.row_bytes)
        start = largest.member.start
        offsets = largest.member.source.block_offsets(largest.own)
        inside = offsets[(offsets > start) & (offsets < start + self.length)] - start
        return np.concatenate([[0], inside, [self.length]])

    @property
    def fetches(self) -> int:  # type: ignore[override]
        return max(member.source.fetches for member in self._members)

    def addressable(self, names: Sequence[str]) -> bool:
        return all(s.member.source.addressable(s.own) for s in self._shares(names))

    def in_memory(self, names: Sequence[str]) -> bool:
        return all(s.member.source.in_memory(s.own) for s in self._shares(names))

    def scratch(self, names: Sequence[str]) -> int:
        return max((s.member.source.scratch(s.own) for s in self._shares(names)), default=0)

    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        return [
            read if not s.member.start else renumbered(read, s.member.own_row)
            for s in self._shares(out)
            for read in s.member.source.reads(rows + s.member.start, s.of(out))
        ]

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:
        total = ReadStats()
        for s in self._shares(out):
            stats = s.member.source.read_rows(rows + s.member.start, s.of(out))
            total += stats.renumbered(s.member.own_row)
        return total

    def announce(self, rows: Indices, names: Sequence[str]) -> bool:
        announced = [
            s.member.source.announce(rows + s.member.start, s.own) for s in self._shares(names)
        ]
        return any(announced)

    def repeated(self, names: Sequence[str], blocks_per_read: int, windows: int) -> float:
        shares = self._shares(names)
        total = sum(s.row_bytes for s in shares)
        again = (
            s.member.source.repeated(s.own, blocks_per_read, windows) * s.row_bytes / total
            for s in shares
        )
        return sum(again)

    def blocks_of(self, names: Sequence[str], rows: Indices) -> dict[str, Indices]:
        return {
            f"{number}/{name}": blocks
            for number, s in enumerate(self._shares(names))
            for name, blocks in s.member.source.blocks_of(s.own, rows + s.member.start).items()
        }

    def files(self) -> tuple[str, ...]:
        found = [file for member in self._members for file in member.source.files()]
        return tuple(dict.fromkeys(found))

    def opaque(self) -> bool:
        return any(member.source.opaque() for member in self._members)

    def read_paths(self) -> dict[str, ReadPath]:
        return {name: paths[own] for paths, name, own in self._each_path()}

    def _each_path(self) -> Iterator[tuple[dict[str, ReadPath], str, str]]:
        for member in self._members:
            paths = member.source.read_paths()
            for name, own in member.names.items():
                yield paths, name, own

    def fingerprint(self) -> str:
        text = " ".join(
            f"{member.source.fingerprint()}/{member.start}/{sorted(member.names.items())}"
            for member in self._members
        )
        return blake2b(f"{self.length} {text}".encode(), digest_size=8).hexdigest()
