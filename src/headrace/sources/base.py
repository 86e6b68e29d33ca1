"""`Source`, the interface of data sources, and the types of its reads."""

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
        row: Its number, in the numbering of the `rows` argument of the read.
        reason: A message for users: names the file and the row, the expected and the actual
            content, and a remedy.
    """

    row: int
    reason: str


class ReadStats(NamedTuple):
    """The time and bytes that a read took, and the rows that it could not read.

    Attributes:
        read: Nanoseconds spent fetching bytes.
        decode: Nanoseconds spent decoding the bytes and copying rows to the output.
        stored: Bytes fetched.
        repaired: Blocks that the fast path could not decode but a slower path could.
        bad: Rows that could not be read. Their entries in the output arrays are undefined; the
            loader decides whether to skip them or to stop.
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
        """A copy in which `number` has mapped the numbers of the bad rows."""
        if not self.bad:
            return self
        return self._replace(bad=tuple(BadRow(number(row), why) for row, why in self.bad))


Read = Callable[[], ReadStats]
"""An independent part of a read. It may be called once, in any thread, in parallel with others."""


class StagedRead:
    """A read in two steps, fetching and decoding, which different threads may run.

    If `Source.fetches` is above 0, the loader keeps more fetches in flight than it has decoding
    threads: slow disks and remote stores serve many requests at a time.

    Args:
        fetch: Waits for the bytes and returns them: at most `Source.scratch` of them.
        decode: Takes the result of `fetch` and writes the rows to the output arrays.
    """

    def __init__(self, fetch: Callable[[], Any], decode: Callable[[Any], ReadStats]) -> None:
        self._fetch = fetch
        self._decode = decode
        self._fetched: tuple[Any] | None = None

    def fetch(self) -> None:
        """Fetches the bytes and keeps them until the read is called."""
        self._fetched = (self._fetch(),)

    def __call__(self) -> ReadStats:
        """Decodes; fetches first if `fetch` was not called."""
        if self._fetched is None:
            self.fetch()
        assert self._fetched is not None
        (found,), self._fetched = self._fetched, None
        return self._decode(found)


def renumbered(read: Read, number: Callable[[int], int]) -> Read:
    """The same read, but `number` maps the numbers of its bad rows."""
    if isinstance(read, StagedRead):
        return StagedRead(read.fetch, lambda _: read().renumbered(number))
    return lambda: read().renumbered(number)


@dataclass(frozen=True)
class ReadPath:
    """How a field is read, and the reason.

    Attributes:
        path: `"direct rows"`, `"direct chunks"` or `"h5py"`, for example.
        reason: One line of text for users.
    """

    path: str
    reason: str


class Source(ABC):
    """A data set of one format at one location.

    A source has a `length` and `fields`, pickles without its data, and may be read from any number
    of threads at once. Methods that take `names` apply to the fields of these names.
    """

    length: int
    fields: tuple[Field, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the file behind `fields`; they differ where values are encoded."""
        return tuple(map(Column.of, self.fields))

    @abstractmethod
    def block_offsets(self, names: Sequence[str]) -> Indices:
        """The first rows of the blocks, then the length: int64, shape `(blocks + 1,)`.

        For addressable rows, a block is a run of rows that is efficient to read from disk.
        """

    def addressable(self, names: Sequence[str]) -> bool:  # noqa: ARG002 - by default
        """Whether single rows can be read at about their own cost, with `read_rows`."""
        return False

    fetches: int = 0
    """How many `StagedRead.fetch` calls to keep in flight. It is 0 for local files, which the
    system reads ahead after `announce`. It does not apply to `read_rows`."""

    @property
    def reads_whole_rows(self) -> bool:
        """Whether reading one of the fields costs about as much as reading all of them.

        Then it is of no use to keep some fields in memory and to read the others again and again.
        """
        return False

    def in_memory(self, names: Sequence[str]) -> bool:  # noqa: ARG002 - by default
        """Whether the rows are in this process's memory already, so that caching is useless."""
        return False

    def scratch(self, names: Sequence[str]) -> int:  # noqa: ARG002 - by default
        """The most bytes that one read holds besides its output, while fetched or running."""
        return 0

    @abstractmethod
    def reads(self, rows: Indices, out: Arrays) -> list[Read]:
        """Independent reads that together fill `out[name][i]` with row `rows[i]`.

        Args:
            rows: Ascending, distinct row numbers, int64, shape `(k,)`.
            out: C-contiguous arrays of shape `(k, *field.shape)` in the field's dtype.

        Raises:
            ReadError: By a read that fails as a whole; names file, field and rows. Single rows
                that cannot be read raise no error: `ReadStats.bad` lists them.
        """

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:  # noqa: ARG002 - by default
        """Fills `out[name][i]` with row `rows[i]`, for rows in any order.

        Sources with addressable fields implement it.
        """
        raise TypeError(f"{list(out)} are not addressable: check addressable() first.")

    def announce(self, rows: Indices, names: Sequence[str]) -> bool:  # noqa: ARG002 - by default
        """Tells the system which rows `read_rows` will read soon, for addressable fields.

        Returns:
            False if the rows are in memory already, or the system has no such call.
        """
        return False

    def select(self, names: Sequence[str]) -> "Source":
        """A source with fields `names` and the same rows.

        Sources override it if `names` may include fields of their file that they do not read yet.

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
        """How much is decoded more than once because blocks of the fields do not align.

        Args:
            names: The fields.
            blocks_per_read: Adjacent blocks that are read together.
            windows: Lower bound of windows per epoch; no block is decoded more often than this.

        Returns:
            Bytes decoded repeatedly, divided by bytes decoded for the first time, on average.
        """
        return 0.0

    def blocks_of(self, names: Sequence[str], rows: Indices) -> dict[str, Indices]:  # noqa: ARG002
        """The blocks that are decoded to read `rows`, which are ascending.

        Returns:
            Ascending, distinct block numbers by the name of the decoded dataset. Datasets that are
            read without decoding are left out.
        """
        return {}

    def attributes(self, name: str) -> dict[str, Any]:  # noqa: ARG002 - by default
        """The attributes of a field, such as class names or a unit.

        Args:
            name: A field, or a group of fields if it ends with `/`; `/` is the root.

        Returns:
            Values with a `checksum`, by attribute name; None for one that cannot be copied.

        Raises:
            ChangedFileError: If the file was replaced.
        """
        return {}

    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """Absolute paths of the files that reads may open; none for data in memory.

        Headrace refuses to overwrite these files.
        """

    def opaque(self) -> bool:
        """Whether `files` may be incomplete, as for objects of other libraries."""
        return False

    @abstractmethod
    def read_paths(self) -> dict[str, ReadPath]:
        """How each field is read."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that depends on the data, but not on where they are stored."""


def run_reads(reads: Sequence[Read]) -> ReadStats:
    """Runs reads one after the other, and sums their statistics."""
    total = ReadStats()
    for read in reads:
        total += read()
    return total


def value_bytes(array: npt.NDArray[Any]) -> bytes:
    """The bytes of an array's values, without the padding of compound values.

    Comparisons use bytes because a NaN is not equal to itself.
    """
    if array.dtype.names:
        return b"".join(value_bytes(array[name]) for name in array.dtype.names)
    return array.tobytes()


def empty_arrays(fields: Sequence[Field], rows: int) -> dict[str, npt.NDArray[Any]]:
    """New, uninitialized arrays for `rows` rows of `fields`."""
    return {field.name: empty((rows, *field.shape), field.dtype) for field in fields}
