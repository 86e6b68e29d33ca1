"""The interface of sources: what they offer, and what they may assume of callers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt

from headrace.errors import field_not_found
from headrace.resources import empty
from headrace.spec import Column, Field, Indices

Arrays = Mapping[str, npt.NDArray[Any]]


class BadRow(NamedTuple):
    """A row that could not be read.

    Attributes:
        row: Its number, counted as the rows that were asked for are.
        reason: Why, for a person: names the file and the row, says what was expected and what
            came, and the way out.
    """

    row: int
    reason: str


class ReadStats(NamedTuple):
    """What a read cost, and which rows it could not read.

    Attributes:
        read: Nanoseconds spent fetching bytes.
        decode: Nanoseconds spent decoding and placing them.
        stored: Bytes fetched.
        repaired: Blocks that the fast path could not decode and a slower one did.
        bad: Rows that could not be read; their places in the arrays hold anything. The loader
            decides what happens then.
    """

    read: int = 0
    decode: int = 0
    stored: int = 0
    repaired: int = 0
    bad: tuple[BadRow, ...] = ()

    def __add__(self, other: "ReadStats") -> "ReadStats":  # type: ignore[override]
        return ReadStats(
            self.read + other.read,
            self.decode + other.decode,
            self.stored + other.stored,
            self.repaired + other.repaired,
            self.bad + other.bad,
        )

    def renumbered(self, number: Callable[[int], int]) -> "ReadStats":
        """The same, with other numbers for the rows that could not be read."""
        if not self.bad:
            return self
        return self._replace(bad=tuple(BadRow(number(row), why) for row, why in self.bad))


Read = Callable[[], ReadStats]
"""An independent piece of reading: may be called once, in any thread, beside the others."""


class StagedRead:
    """A read in two steps, fetching and decoding, which different threads may run.

    A loader keeps more fetches in flight than it has threads that decode, if the source says in
    `fetches` that this helps: slow disks and remote stores answer many requests at a time.

    Args:
        fetch: Waits for the bytes, and gives them: at most `Source.scratch` of them.
        decode: Takes what `fetch` gave, and places the rows.
    """

    def __init__(self, fetch: Callable[[], Any], decode: Callable[[Any], ReadStats]) -> None:
        self._fetch = fetch
        self._decode = decode
        self._fetched: tuple[Any] | None = None

    def fetch(self) -> None:
        """Fetches the bytes, which are kept until the read is called."""
        self._fetched = (self._fetch(),)

    def __call__(self) -> ReadStats:
        """Decodes; fetches first if `fetch` was not called."""
        if self._fetched is None:
            self.fetch()
        assert self._fetched is not None
        (found,), self._fetched = self._fetched, None
        return self._decode(found)


def renumbered(read: Read, number: Callable[[int], int]) -> Read:
    """The same read, with other numbers for the rows that it cannot read."""
    if isinstance(read, StagedRead):
        return StagedRead(read.fetch, lambda _: read().renumbered(number))
    return lambda: read().renumbered(number)


@dataclass(frozen=True)
class ReadPath:
    """How a field is read, and why so.

    Attributes:
        path: `"direct rows"`, `"direct chunks"` or `"h5py"`, for example.
        reason: One line for a person.
    """

    path: str
    reason: str


class Source(ABC):
    """Where samples live: one format, one location.

    A source knows its `length` and `fields`, pickles as path and index, and may be read from any
    number of threads at once. `names` says which fields a call is about.
    """

    length: int
    fields: tuple[Field, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads, as the file calls it; its fields, unless values have to be encoded."""
        return tuple(map(Column.of, self.fields))

    @abstractmethod
    def block_offsets(self, names: Sequence[str]) -> Indices:
        """The rows at which blocks start, and the length: int64, shape `(blocks + 1,)`.

        Where rows are addressable, blocks are runs of rows that a disk reads well.
        """

    def addressable(self, names: Sequence[str]) -> bool:  # noqa: ARG002 - by default
        """Whether reading one row costs about one row; `read_rows` does it then."""
        return False

    fetches: int = 0
    """How many fetches of `StagedRead`s are worth having in flight; 0 where local reads need none:
    the system reads ahead what is announced. Rows that `read_rows` reads one by one are fetched by
    the thread that needs them."""

    def in_memory(self, names: Sequence[str]) -> bool:  # noqa: ARG002 - by default
        """Whether the rows lie in this process's memory, so that no copy of them is of use."""
        return False

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002 - by default
        """The most bytes that a read holds besides its output, running or fetched."""
        return 0

    @abstractmethod
    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        """The reads that together fill `out[name][i]` with row `rows[i]`.

        Args:
            rows: Ascending, distinct row numbers, int64, shape `(k,)`.
            out: C-contiguous arrays of shape `(k, *field.shape)` in the field's dtype.

        Raises:
            ReadError: From a read that fails as a whole; names file, field and rows. Single rows
                that cannot be read are no error: the `ReadStats` name them.
        """

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:  # noqa: ARG002 - by default
        """Fills `out[name][i]` with row `rows[i]`, for rows in any order.

        Sources whose fields are addressable implement it.
        """
        raise TypeError(f"{list(out)} have no addresses: ask addressable() first.")

    def announce(self, rows: Indices, names: Sequence[str]) -> bool:  # noqa: ARG002 - by default
        """Tells the system which rows `read_rows` will read soon, for addressable fields.

        Returns:
            False if that is not needed, because they are in memory, or not possible here.
        """
        return False

    def select(self, names: Sequence[str]) -> "Source":
        """A source with `names` of the same rows, also such as this one does not read.

        Sources that could read others of their file override it.

        Raises:
            FieldNotFoundError: If there is no such field.
        """
        there = [field.name for field in self.fields]
        for name in names:
            if name not in there:
                raise field_not_found(name, there, "the data set")
        return self

    def repeated(
        self,
        names: Sequence[str],  # noqa: ARG002 - by default
        blocks_per_read: int,  # noqa: ARG002
        windows: int,  # noqa: ARG002
    ) -> float:
        """How much more is decoded because blocks of different fields do not line up.

        Args:
            names: The fields.
            blocks_per_read: Neighbouring blocks that are read together.
            windows: Windows in an epoch, at least: no block is decoded more often.

        Returns:
            Bytes decoded again for each byte that is decoded at all, on average.
        """
        return 0.0

    def blocks_of(self, names: Sequence[str], rows: Indices) -> dict[str, Indices]:  # noqa: ARG002
        """The blocks that are decoded to read `rows`, which ascend.

        Returns:
            Block numbers, ascending and distinct, for each thing that is decoded, under a name of
            its own; nothing for what is read as it is.
        """
        return {}

    def attributes(self, name: str) -> dict[str, Any]:  # noqa: ARG002 - by default
        """What is noted beside a field, such as names of classes or a unit.

        Args:
            name: A field; or, with `/` at its end, a group that fields are in. `/` is all of it.

        Returns:
            Values with a `checksum`, by their names; None for an attribute that cannot be copied.

        Raises:
            ChangedFileError: If the file was replaced.
        """
        return {}

    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """The files that reading may touch, as paths from the root; none for data in memory.

        Nothing that is written takes the place of one of them.
        """

    def opaque(self) -> bool:
        """Whether it may read files that it cannot name, as objects of other libraries do."""
        return False

    @abstractmethod
    def read_paths(self) -> dict[str, ReadPath]:
        """How each field is read."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that differs when the data differ, and not when they were moved."""


def run_reads(reads: Sequence[Read]) -> ReadStats:
    """Runs reads one after the other, and sums what they cost."""
    total = ReadStats()
    for read in reads:
        total += read()
    return total


def value_bytes(array: npt.NDArray[Any]) -> bytes:
    """The bytes of an array's values, without those that pad compound ones.

    For comparing: as numbers, a NaN differs from itself.
    """
    if array.dtype.names:
        return b"".join(value_bytes(array[name]) for name in array.dtype.names)
    return array.tobytes()


def empty_arrays(fields: Sequence[Field], rows: int) -> dict[str, npt.NDArray[Any]]:
    """Fresh arrays for `rows` rows of `fields`."""
    return {field.name: empty((rows, *field.shape), field.dtype) for field in fields}
