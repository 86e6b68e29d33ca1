"""`Dialect`: how the text of CSV files is written."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from headrace.errors import FileFormatError, OptionError

NA = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""What counts as a missing value: the list of `pandas.read_csv`."""

DELIMITERS = ",\t;|"
"""The delimiters that are recognised; the first one wins where several fit."""

_BOMS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_ONE_BYTE = ("utf-8", "ascii", "latin", "iso8859", "iso-8859", "cp125", "windows-125", "koi8")
"""How the names of encodings begin in which delimiters, quotes and line ends are ASCII."""


@dataclass(frozen=True)
class Dialect:
    r"""How the text of CSV files is written.

    Attributes:
        delimiter: The character between two values.
        quote: The character around values that hold delimiters or line ends, doubled inside them;
            None where quotes are ordinary characters.
        comment: A character that makes the rest of its line a comment; None for none.
        decimal: The decimal point.
        thousands: The separator of thousands in numbers; None for none.
        encoding: The encoding, as Python names it.
        newline: What ends a line: `b"\n"` (also of files with `b"\r\n"`), or `b"\r"`.
        na: What counts as a missing value.
        names: The columns of files without a header; None where the first line names them.
        skip: Lines in front of the header, or of the first row.
    """

    delimiter: str = ","
    quote: str | None = '"'
    comment: str | None = None
    decimal: str = "."
    thousands: str | None = None
    encoding: str = "utf-8"
    newline: bytes = b"\n"
    na: tuple[str, ...] = NA
    names: tuple[str, ...] | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        for name in ("delimiter", "quote", "comment", "decimal", "thousands"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or len(value.encode()) != 1):
                raise OptionError(
                    f"Expected {name}= to be one ASCII character. Received: {value!r}"
                )
        if self.decimal == self.thousands or self.delimiter in (self.quote, self.comment):
            raise OptionError(
                "Expected decimal= and thousands=, and delimiter=, quote= and comment=, to be "
                f"different characters. Received: {self}"
            )
        try:
            "".encode(self.encoding)
        except LookupError:
            raise OptionError(
                f"Expected encoding= to be one that Python knows. Received: {self.encoding!r}"
            ) from None

    @property
    def is_ascii_like(self) -> bool:
        """Whether bytes below 128 are ASCII characters, so that rows can be cut before decoding."""
        return self.encoding.lower().replace("_", "-").startswith(_ONE_BYTE)

    def reader(self, lines: Sequence[str]) -> Iterator[list[str]]:
        """Python's own reader of records, which defines what the values of a record are."""
        quote = self.quote
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=quote,
            quoting=csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL,
            strict=False,
        )


def detected(known: Dialect, head: bytes, delimiter: str | None) -> tuple[Dialect, int]:
    """The dialect of a file, with what its first bytes show, and how many bytes its BOM has.

    Args:
        known: What the user said.
        head: The first bytes of the file.
        delimiter: The delimiter, if the user said it; None to find it out.
    """
    bom = 0
    for mark, encoding in _BOMS.items():
        if head.startswith(mark):
            known, bom = replace(known, encoding=encoding), len(mark)
            break
    text = head[bom:].decode(known.encoding if bom < 3 else "utf-8", errors="replace")
    if "\r" in text and "\n" not in text:
        known = replace(known, newline=b"\r")
    if delimiter is None:
        delimiter = _delimiter(text, known)
    return replace(known, delimiter=delimiter), bom


def _delimiter(text: str, known: Dialect) -> str:
    """The delimiter that cuts the first lines into the same number of values, more than one."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[known.skip :]
    if len(lines) > 1:
        lines = lines[:-1]  # the last one may be cut off
    lines = [line for line in lines if line and not _is_comment(line, known)][:50]
    best, most = ",", 1
    for candidate in DELIMITERS:
        if candidate in (known.quote, known.comment) or (
            candidate == "," and known.decimal == "," and len(DELIMITERS) > 1
        ):
            continue
        counts = {len(r) for r in replace(known, delimiter=candidate).reader(lines) if r}
        if len(counts) == 1 and (count := counts.pop()) > most:
            best, most = candidate, count
    return best


def _is_comment(line: str, known: Dialect) -> bool:
    return known.comment is not None and line.startswith(known.comment)


def names_of(record: Sequence[str], path: str) -> tuple[str, ...]:
    """The names of columns in a header, without blanks around them.

    Raises:
        FileFormatError: If two columns have one name.
    """
    names = [value.strip() or f"Unnamed: {i}" for i, value in enumerate(record)]
    twice = sorted(name for name, group in itertools.groupby(sorted(names)) if len([*group]) > 1)
    if twice:
        raise FileFormatError(
            f"The header of {path!r} names {twice[0]!r} more than once. Give names= with a name "
            "for each column, and skip=1 to leave the header out."
        )
    return tuple(names)
