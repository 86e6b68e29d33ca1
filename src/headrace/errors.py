"""The errors that Headrace raises.

Each one can be caught as `HeadraceError`, by its own name, or as the built-in
error that fits it:

    HeadraceError
    ├── OptionError (ValueError)          an argument that cannot be honoured
    │   ├── UnknownOptionError (TypeError)  an option that a format does not have
    │   ├── MemoryBudgetError             a budget below what one batch or one block needs
    │   └── ProcessesError                worker processes that cannot be started here
    ├── FieldNotFoundError (KeyError)     a name that the data does not have
    ├── MissingFileError (FileNotFoundError)
    ├── NoPermissionError (PermissionError)
    ├── LockedFileError (BlockingIOError)
    ├── DataError (ValueError)            data that cannot be used
    │   ├── FileFormatError               a file of another format, or a damaged one
    │   ├── ShapeError                    scalar, empty, or fields of unequal length
    │   ├── TypeNotSupportedError (TypeError)
    │   └── LossError                     a value that another dtype cannot hold
    ├── ReadError (OSError)               a read that failed: names file, field and rows
    │   ├── BadSampleError                a sample that its source could not read
    │   ├── ChangedFileError              the file is not the one that was opened
    │   └── BatchTimeoutError (TimeoutError)  a batch that took longer than timeout=
    ├── WriteError (OSError)              a file that could not be written
    │   └── DiskFullError                 no room for it
    ├── OutOfMemoryError (MemoryError)    memory that the system refused
    ├── StateError (ValueError)           a saved position that belongs to something else
    └── MissingDependencyError (ImportError)
"""

import difflib
import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class HeadraceError(Exception):
    """Base of every error that Headrace raises on purpose."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument and OSError its errno:
        # a message written for a person is shown as it was written.
        return printable(str(self.args[0])) if self.args else ""


class OptionError(HeadraceError, ValueError):
    """An argument that cannot be honoured."""


class UnknownOptionError(OptionError, TypeError):
    """There is no option of that name."""


class MemoryBudgetError(OptionError):
    """A memory budget that is too small; the message says how much is enough.

    Attributes:
        least: That, in bytes: the same call takes it, and whatever is more. None where no
            budget would help, because this process may not use as much memory.
    """

    def __init__(self, text: str, least: int | None = None) -> None:
        super().__init__(text)
        self.least = least


class ProcessesError(OptionError):
    """`processes=True` where worker processes cannot be started; threads work there."""


class FieldNotFoundError(HeadraceError, KeyError):
    """A field name that the data does not have."""


class MissingFileError(HeadraceError, FileNotFoundError):
    """A path at which there is no file."""


class NoPermissionError(HeadraceError, PermissionError):
    """A file that this process may not read."""


class LockedFileError(HeadraceError, BlockingIOError):
    """A file that another process holds open for writing."""


class DataError(HeadraceError, ValueError):
    """Data that cannot be used as it is."""


class FileFormatError(DataError):
    """A file of another format, or a damaged one."""


class ShapeError(DataError):
    """Scalar or empty data, or fields of unequal length."""


class TypeNotSupportedError(DataError, TypeError):
    """A type that has no fixed-size NumPy form, such as variable-length strings."""


class LossError(DataError):
    """A value that another dtype cannot hold.

    Attributes:
        row: Its row.
        text: What would become of it.
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
    """A sample cannot be read; `on_error="skip"` replaces such samples by others."""


class ChangedFileError(ReadError):
    """The file at a path is no longer the one that was opened."""


class BatchTimeoutError(ReadError, TimeoutError):
    """A batch that took longer than `timeout=`; a note shows where its code stands."""


class WriteError(HeadraceError, OSError):
    """A file that could not be written; what was there before is as it was."""


class DiskFullError(WriteError):
    """The disk has no room for what is written, or is to be written."""


class OutOfMemoryError(HeadraceError, MemoryError):
    """Memory that the system refused; the message says how much, and what takes less."""


class StateError(HeadraceError, ValueError):
    """A saved position that does not belong to this loader."""


class MissingDependencyError(HeadraceError, ImportError):
    """An optional library that is not installed; the message names the extra."""


def field_not_found(
    name: str, available: Iterable[str], where: str, things: str = "columns"
) -> FieldNotFoundError:
    """The error for an unknown field name, with the near ones and all that is there."""
    names = list(available)
    hint = did_you_mean(name, names)
    return FieldNotFoundError(
        f"There is no field {name!r} in {where}.{hint} {holds(names, things=things)}"
    )


def holds(names: Sequence[str], what: str = "It", things: str = "columns") -> str:
    """What a file, a group or a table holds, as a sentence."""
    return f"{what} holds: {some_of(names)}." if names else f"{what} holds no {things}."


def unequal_lengths(where: str, lengths: Mapping[str, int], more: str = "") -> ShapeError:
    """The error for fields of one file that differ in their number of rows."""
    listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
    return ShapeError(
        f"The fields of {where} have different numbers of rows: {listed}. Every sample needs a "
        "row in each; choose other fields, repair the file, or stop where the shortest ends, with "
        f"end={min(lengths.values())}.{more}"
    )


def read_error(failed: str, error: OSError) -> HeadraceError:
    """The error for a read that the system refused, with the number that it gave.

    Args:
        failed: What was tried and failed, as the beginning of a sentence: "Opening 'a.h5'".
        error: What the system said.
    """
    kind: type[HeadraceError] = ReadError
    if isinstance(error, FileNotFoundError):
        kind = MissingFileError
    elif isinstance(error, PermissionError):
        kind = NoPermissionError
    words = error.strerror or " ".join(str(error).split())
    hint = _WAYS_OUT.get(error.errno or 0, "")
    return with_number(kind(f"{failed} failed: {words}.{hint and ' '}{hint}"), error)


def with_number(made: E, cause: BaseException) -> E:
    """`made`, with the errno of what caused it, if that has one."""
    if isinstance(made, OSError) and isinstance(cause, OSError):
        made.errno = cause.errno
    return made


_WAYS_OUT = {
    errno.EIO: (
        "The disk or the network is at fault: see the system's log (dmesg), and copy the file to "
        "another disk while it can be read."
    ),
    errno.ESTALE: (
        "Its file server does not know this file any more: open the data again, and mount the "
        "folder again if that fails."
    ),
    errno.ENOTCONN: "The program that serves this folder has ended: mount the folder again.",
    errno.EMFILE: "Allow this process more open files (ulimit -n), or close some.",
    errno.ENFILE: "Too many files are open on this machine: close some.",
    errno.ENOMEM: "The system has no memory left for it: give the loader less, with memory=.",
}


def did_you_mean(
    name: str, names: Iterable[str], shown: Callable[[str], str] = repr, closeness: float = 0.5
) -> str:
    """A question that names what was probably meant, after a blank; empty if nothing is near.

    Args:
        name: What was given.
        names: What could have been.
        shown: How a name is written.
        closeness: Of the names that are near, between 0 and 1.
    """
    near = _near(name, list(names), closeness)
    return f" Did you mean {' or '.join(map(shown, near))}?" if near else ""


def some_of(names: Sequence[str]) -> str:
    """The first 20 names, and how many more there are."""
    more = f", and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def printable(text: str) -> str:
    """`text`, with all that a terminal would act upon or not show written as in Python source.

    Names come from files, and files from strangers.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _near(name: str, names: list[str], closeness: float) -> list[str]:
    """The names that may be meant, whatever the case, and also without their groups."""
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
    """Checks that an argument is an integer, NumPy's included and bool not; or None.

    Raises:
        OptionError: If it is none, or below `least`.
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
