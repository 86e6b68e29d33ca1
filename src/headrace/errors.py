"""The errors that Headrace raises, and helpers that build their messages.

Each error can be caught as `HeadraceError`, by its own class, or as the built-in
error in parentheses:

    HeadraceError
    ├── OptionError (ValueError)          an argument that cannot be honoured
    │   ├── UnknownOptionError (TypeError)  an option that a format does not have
    │   ├── MemoryBudgetError             a budget too small for one batch or one block
    │   └── ProcessesError                worker processes that cannot be started
    ├── FieldNotFoundError (KeyError)     a field that the data does not have
    ├── MissingFileError (FileNotFoundError)
    ├── NoPermissionError (PermissionError)
    ├── LockedFileError (BlockingIOError)
    ├── DataError (ValueError)            data that cannot be used
    │   ├── FileFormatError               a file of another format, or a damaged file
    │   ├── ShapeError                    scalar or empty data, or fields of unequal length
    │   ├── TypeNotSupportedError (TypeError)
    │   └── LossError                     a value that the new dtype cannot hold
    ├── ReadError (OSError)               a failed read: names file, field and rows
    │   ├── BadSampleError                a sample that its source cannot read
    │   ├── ChangedFileError              the file has been replaced since it was opened
    │   └── BatchTimeoutError (TimeoutError)  a batch that took longer than timeout=
    ├── WriteError (OSError)              a file that could not be written
    │   └── DiskFullError                 not enough space on the disk
    ├── OutOfMemoryError (MemoryError)    memory that the system refused
    ├── StateError (ValueError)           a saved position of a different loader
    └── MissingDependencyError (ImportError)
"""

import difflib
import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class HeadraceError(Exception):
    """Base class of the errors that Headrace raises deliberately."""

    def __str__(self) -> str:
        # KeyError would show the repr of the message, and OSError its errno.
        return printable(str(self.args[0])) if self.args else ""


class OptionError(HeadraceError, ValueError):
    """An argument that cannot be honoured."""


class UnknownOptionError(OptionError, TypeError):
    """An option that the file's format does not have."""


class MemoryBudgetError(OptionError):
    """A memory budget that is too small; the message says how much is enough.

    Attributes:
        least: The smallest budget, in bytes, with which the same call succeeds. None if no
            budget would help, because this process may not use that much memory.
    """

    def __init__(self, text: str, least: int | None = None) -> None:
        super().__init__(text)
        self.least = least


class ProcessesError(OptionError):
    """Worker processes (`processes=True`) cannot be started; threads can be used instead."""


class FieldNotFoundError(HeadraceError, KeyError):
    """A field name that the data does not have."""


class MissingFileError(HeadraceError, FileNotFoundError):
    """No file exists at a path."""


class NoPermissionError(HeadraceError, PermissionError):
    """A file that this process may not read."""


class LockedFileError(HeadraceError, BlockingIOError):
    """A file that another process holds open for writing."""


class DataError(HeadraceError, ValueError):
    """Data that cannot be used as it is."""


class FileFormatError(DataError):
    """A file of another format, or a damaged file."""


class ShapeError(DataError):
    """Scalar or empty data, or fields of unequal length."""


class TypeNotSupportedError(DataError, TypeError):
    """A type that has no fixed-size NumPy form, such as variable-length strings."""


class LossError(DataError):
    """A value that the new dtype cannot hold.

    Attributes:
        row: The row of the value.
        text: How the conversion would change the value.
    """

    def __init__(self, row: int, text: str) -> None:
        super().__init__(f"Row {row}: {text}")
        self.row = row
        self.text = text

    def __reduce__(self) -> tuple[type["LossError"], tuple[int, str]]:
        return LossError, (self.row, self.text)


class ReadError(HeadraceError, OSError):
    """A read that failed; the message names the file, the field and the rows."""


class BadSampleError(ReadError):
    """A sample that its source cannot read; `on_error="skip"` replaces such samples by others."""


class ChangedFileError(ReadError):
    """The file at a path has been replaced or modified since it was opened."""


class BatchTimeoutError(ReadError, TimeoutError):
    """A batch that took longer than `timeout=`; a note shows the stack of the code that hangs."""


class WriteError(HeadraceError, OSError):
    """A file that could not be written; an existing file at that path is unchanged."""


class DiskFullError(WriteError):
    """The disk does not have enough free space for the output."""


class OutOfMemoryError(HeadraceError, MemoryError):
    """Memory that the system refused; the message says how much, and how to use less."""


class StateError(HeadraceError, ValueError):
    """A saved position or packing run that does not match this loader or call."""


class MissingDependencyError(HeadraceError, ImportError):
    """An optional library is not installed; the message names the extra to install."""


def field_not_found(
    name: str, available: Iterable[str], where: str, things: str = "columns"
) -> FieldNotFoundError:
    """The error for an unknown field name; suggests similar names, lists the known ones."""
    names = list(available)
    hint = did_you_mean(name, names)
    return FieldNotFoundError(
        f"There is no field {name!r} in {where}.{hint} {holds(names, things=things)}"
    )


def holds(names: Sequence[str], what: str = "It", things: str = "columns") -> str:
    """A sentence that lists the contents of a file, a group or a table."""
    return f"{what} holds: {some_of(names)}." if names else f"{what} holds no {things}."


def unequal_lengths(where: str, lengths: Mapping[str, int], more: str = "") -> ShapeError:
    """The error for fields of one file that differ in their number of rows."""
    listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
    return ShapeError(
        f"The fields of {where} have different numbers of rows: {listed}. Every sample needs a "
        "row in each; choose other fields, repair the file, or use only as many rows as the "
        f"shortest field has, with end={min(lengths.values())}.{more}"
    )


def read_error(failed: str, error: OSError) -> HeadraceError:
    """The error for a read that failed with an OSError, with the same errno.

    Args:
        failed: The operation that failed, as the subject of a sentence: "Opening 'a.h5'".
        error: The system's error.
    """
    kind: type[HeadraceError] = ReadError
    if isinstance(error, FileNotFoundError):
        kind = MissingFileError
    elif isinstance(error, PermissionError):
        kind = NoPermissionError
    words = error.strerror or " ".join(str(error).split())
    hint = _HINTS.get(error.errno or 0, "")
    return with_number(kind(f"{failed} failed: {words}.{hint and ' '}{hint}"), error)


def with_number(made: E, cause: BaseException) -> E:
    """Copies the errno of `cause` to `made`, if both are an OSError; returns `made`."""
    if isinstance(made, OSError) and isinstance(cause, OSError):
        made.errno = cause.errno
    return made


_HINTS = {
    errno.EIO: (
        "The disk or the network failed: see the system's log (dmesg), and copy the file to "
        "another disk while it can still be read."
    ),
    errno.ESTALE: (
        "The file server does not know this file any more: open the data again; if that fails, "
        "mount the folder again."
    ),
    errno.ENOTCONN: "The program that serves this folder has ended: mount the folder again.",
    errno.EMFILE: "Allow this process more open files (ulimit -n), or close some.",
    errno.ENFILE: "Too many files are open on this machine: close some.",
    errno.ENOMEM: "The system has no memory left: give the loader a smaller budget with memory=.",
}


def did_you_mean(
    name: str, names: Iterable[str], shown: Callable[[str], str] = repr, closeness: float = 0.5
) -> str:
    """A question that suggests similar names, with a leading space; empty if there are none.

    Args:
        name: The unknown name.
        names: The known names.
        shown: Formats a name.
        closeness: The least similarity of a suggested name, between 0 and 1.
    """
    near = _near(name, list(names), closeness)
    return f" Did you mean {' or '.join(map(shown, near))}?" if near else ""


def some_of(names: Sequence[str]) -> str:
    """The first 20 names, and the number of the others."""
    more = f", and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def printable(text: str) -> str:
    """`text` with control and other unprintable characters escaped as in Python source.

    Names from an untrusted file could otherwise send control sequences to the terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _near(name: str, names: list[str], closeness: float) -> list[str]:
    """Up to 3 similar names, compared without case, with and without their groups."""
    forms: dict[str, list[str]] = {}
    for other in names:
        for form in {other.lower(), other.lower().rsplit("/", 1)[-1]}:
            forms.setdefault(form, []).append(other)
    wanted = name.lower()
    close = [wanted] if wanted in forms else difflib.get_close_matches(wanted, forms, 3, closeness)
    return list(dict.fromkeys(other for form in close for other in forms[form]))[:3]


def check_integer(
    name: str, value: object, least: int | None = None, *, or_none: bool = False
) -> None:
    """Checks that an argument is an integer (of Python or NumPy, but no bool), or None if allowed.

    Raises:
        OptionError: If it is not, or is below `least`.
    """
    if or_none and value is None:
        return
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not integer or (least is not None and value < least):  # type: ignore[operator]
        bound = "" if least is None else f" >= {least}"
        none = " or None" if or_none else ""
        raise OptionError(f"Expected {name} to be an integer{bound}{none}. Received: {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Checks that an argument is a number of seconds above 0, or None.

    Raises:
        OptionError: If it is neither.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value < float("inf")):  # type: ignore[operator]
        raise OptionError(
            f"Expected {name} to be a number of seconds above 0, or None for no limit. "
            f"Received: {value!r}"
        )
