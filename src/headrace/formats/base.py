"""The interface of a format: how its files are recognised, opened, described and read.

To add a format, subclass `Format` and `Location`, write a `Source`, and register it: one line in
`formats/table.py`, or `headrace.formats.register` from another package.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from headrace.formats.fields import with_fields
from headrace.formats.mixing import Setting
from headrace.manifest import Note
from headrace.sources import Source
from headrace.spec import Column, Structure, leaves, map_structure

HEAD_BYTES = 512
"""How many first bytes of a file `Format.recognises` is given."""


@dataclass(frozen=True)
class Description:
    """What `headrace info` shows about a file.

    Attributes:
        document: All of it as a JSON document; `headrace info --help` explains the keys.
        summary: How much there is in it, for a person: "2 datasets".
        legend: Words of the format that appear in the document, each with its meaning.
        damage: The errors of parts that cannot be read; empty if there are none.
    """

    document: dict[str, Any]
    summary: str
    legend: Mapping[str, str] = field(default_factory=dict)
    damage: tuple[str, ...] = ()

    def about(self, file: str, note: str) -> "Description":
        """A copy that names another file, and has a note behind the summary."""
        document = {**self.document, "file": file}
        return replace(self, document=document, summary=f"{self.summary}; {note}")


class Samples(NamedTuple):
    """What a location gives for x, y and sample_weight.

    Attributes:
        source: Reads the fields.
        structure: x, y and sample_weight as nests of names of fields.
    """

    source: Source
    structure: tuple[Structure, ...]


class Location(ABC):
    """One file, or one folder, of a format: what it holds and how its columns are read.

    Args:
        path: The file or folder, as the user named it.
    """

    column_word: ClassVar[str] = "column"
    """What the format calls a column, for messages: HDF5 says "dataset"."""

    format_name: ClassVar[str] = ""
    """The name of the format; the same as `Format.name`."""

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all columns, in the order of the file, found without reading data."""

    @abstractmethod
    def source(self, names: Sequence[str], end: int | None = None) -> Source:
        """A source that reads these columns, side by side.

        Args:
            names: Columns, at least one, each once.
            end: The row before which reading stops, if that is known: columns may have more rows
                than that, and not all the same number.

        Raises:
            FieldNotFoundError: If there is no such column.
            ShapeError: If the columns differ in length, and some end before `end`.
            TypeNotSupportedError: If a column holds what no source can read.
        """

    def samples(self, parts: tuple[Structure, Structure, Structure], end: int | None) -> Samples:
        """The fields that x, y and sample_weight become, and a source for them.

        Args:
            parts: x, y and sample_weight as nests of names of columns.
            end: As for `source`.

        Raises:
            As `source`; TypeNotSupportedError and DataError: If a column is no field.
        """
        names = list(dict.fromkeys(name for part in parts for name in leaves(part)))
        source = with_fields(self.source(names, end), repr(self.path))
        return Samples(source, tuple(map_structure(str, part) for part in parts))

    def unnamed_x(self, taken: Sequence[str]) -> Structure:
        """What x is if the user does not name it; None by default: the only column left.

        Args:
            taken: The columns of y and sample_weight.
        """
        del taken

    def column(self, name: str) -> Column:
        """What a column holds.

        Raises:
            DataError: If it cannot be read, with the reason.
        """
        found = self.source([name]).columns
        return next(column for column in found if column.name == name)

    def note(self) -> Note:
        """Which columns are x, y and sample_weight, where the files themselves say so."""
        return Note()

    def check_unnamed_x(self, name: str) -> None:  # noqa: B027 - any column will do by default
        """Makes sure that a column may be x although the user did not name it.

        Raises:
            FieldNotFoundError: If the user should name x; says why.
        """

    def size(self) -> int:
        """Bytes of all its files."""
        path = Path(self.path)
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path.stat().st_size

    def checksums(self, name: str) -> Any:
        """The CRC-32 of each run of `note().checksum_rows` rows of a column; None for none."""
        del name

    def legend(self) -> dict[str, str]:
        """The words of this format that a description uses, such as read paths, explained."""
        return {}

    def describe(self, setting: Setting, limit: int | None = None) -> Description | None:
        """The format's own description; None, the default, has one made from the columns.

        Args:
            setting: Memory and batch size that the advice is for.
            limit: How many columns to look at, at most; None for as many as a person reads.
        """
        del setting, limit
        return None


class Format(ABC):
    """A kind of file.

    Attributes:
        name: For messages, such as "HDF5".
        reader: The call that users write to read such files, such as "hr.from_hdf5".
        options: Names and descriptions of the options of `open` beside the path.
    """

    name: ClassVar[str]
    reader: ClassVar[str] = "hr.open"
    options: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def recognises(self, path: Path, start: bytes) -> bool:
        """Whether there is such a file, or folder, at `path`: judged by content.

        Args:
            path: A file or folder that exists.
            start: The first `HEAD_BYTES` bytes of the file; none for a folder.
        """

    @abstractmethod
    def open(self, path: str, **options: Any) -> Location:
        """The file or folder at `path`.

        Raises:
            MissingFileError, NoPermissionError, FileFormatError: If it cannot be opened. An
                error may also come when something is asked of the location.
        """

    def open_all(self, paths: Sequence[str], options: Mapping[str, Any]) -> list[Location]:
        """The locations of several files, whose rows follow each other; one each by default.

        Raises:
            As `open`.
        """
        # Each once; `open` raises the error for what is no path.
        opened = {path: self.open(path, **options) for path in paths if isinstance(path, str)}
        return [opened[p] if isinstance(p, str) else self.open(p, **options) for p in paths]

    def files(self, path: str) -> list[str]:
        """The files whose rows, one after the other, `path` stands for: itself by default."""
        return [path]
