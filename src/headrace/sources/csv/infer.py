"""Finds out what the columns of CSV files hold, from a sample of their rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.sources.csv.dialect import Dialect
from headrace.sources.csv.parse import to_bool, to_date, to_float, to_int
from headrace.sources.csv.ranges import rows_of

_TESTS: dict[str, Callable[[str], object]] = {
    "int": to_int,
    "float": to_float,
    "bool": to_bool,
    "date": to_date,
}
WIDER = {
    frozenset(("int", "float")): "float",
}
"""What holds the values of two kinds; text holds those of any."""

LARGEST_INT = 1 << 63


@dataclass(frozen=True)
class Found:
    """What a sample shows of a column.

    Attributes:
        kind: One of `KINDS`; None if all values are missing.
        missing: Whether values are missing.
    """

    kind: str | None = None
    missing: bool = False

    def __or__(self, other: "Found") -> "Found":
        """What both samples show."""
        missing = self.missing or other.missing
        if self.kind == other.kind or other.kind is None:
            return Found(self.kind, missing)
        if self.kind is None:
            return Found(other.kind, missing)
        return Found(WIDER.get(frozenset((self.kind, other.kind)), "text"), missing)


def kinds_in(text: bytes, names: Sequence[str], dialect: Dialect) -> dict[str, Found]:
    """What the columns hold, by some rows; rows of another number of values are left out.

    Args:
        text: Whole rows.
        names: The columns.
        dialect: How the text is written.
    """
    columns: list[set[str]] = [set() for _ in names]
    for start, end, _ in rows_of(text, dialect):
        raw = text[start:end].removesuffix(b"\r").decode(dialect.encoding, "replace")
        (record,) = dialect.reader([raw])
        if len(record) == len(names):
            for seen, value in zip(columns, record, strict=True):
                seen.add(value)
    return {name: _kind_of(seen, dialect) for name, seen in zip(names, columns, strict=True)}


def _kind_of(values: set[str], dialect: Dialect) -> Found:
    na = frozenset(dialect.na)
    there = {value.strip() for value in values} - na
    missing = len(there) < len({value.strip() for value in values})
    if not there:
        return Found(None, missing)
    numbers = there
    if dialect.thousands is not None:
        numbers = {value.replace(dialect.thousands, "") for value in numbers}
    if dialect.decimal != ".":
        numbers = {value.replace(dialect.decimal, ".") for value in numbers}
    for kind, convert in _TESTS.items():
        if _all(numbers if kind in ("int", "float") else there, convert):
            # A float would keep the first digits of such a number alone.
            if kind == "float" and any(_is_large_int(value) for value in numbers):
                return Found("text", missing)
            return Found(kind, missing)
    return Found("text", missing)


def _is_large_int(value: str) -> bool:
    digits = value.lstrip("+-")
    return digits.isdigit() and int(digits) >= LARGEST_INT


def _all(values: set[str], convert: Callable[[str], object]) -> bool:
    try:
        for value in values:
            convert(value)
    except (ValueError, OverflowError):
        return False
    return True
