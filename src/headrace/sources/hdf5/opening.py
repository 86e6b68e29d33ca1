"""Opens HDF5 files, and turns failures into errors that explain them."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
from h5py import h5f

from headrace.errors import (
    FileFormatError,
    HeadraceError,
    LockedFileError,
    OptionError,
    read_error,
)
from headrace.sources.file import opening_error
from headrace.sources.signatures import HEAD_BYTES, hdf5_offset, looks_like

_SUPERBLOCK_AND_DRIVER = 512

_SUFFIXES = (".h5", ".hdf5", ".he5", ".nc")

DAMAGE = (
    *(OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError),
    AssertionError,  # raised by h5py for a filter with too many parameters
)
"""Exceptions that h5py raises on damaged metadata; `refusal` separates the system's errors."""

_NO_LOCK = re.compile(r"unable to lock file, errno = (\d+)")
_HELD_BY_OTHERS = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
"""Errnos of a lock that another handle holds; others mean that the file system has no locks."""

_ERRNO = re.compile(r"\berrno = (\d+)")
_OF_DAMAGE = (0, errno.EINVAL, errno.EOVERFLOW, errno.EFBIG)
"""Errnos of reads at impossible offsets, which come from damaged metadata."""

_LATER_VERSION = re.compile(
    r"\b(bad|wrong|unknown|incorrect|invalid) [^()]*\bversion\b|unknown message with 'fail", re.I
)
"""Matches libhdf5's messages about a version number that it does not know."""


def path_of(path: Any) -> str:
    """The absolute path, as text, with symbolic links resolved.

    Worker processes and later reads may run in another current folder, and links may change.

    Raises:
        OptionError: If `path` is not a path.
    """
    if isinstance(path, (h5py.File, h5py.Group, h5py.Dataset)):
        raise OptionError(
            f"Expected the path of an HDF5 file. Received an open {path!r}. Pass its path, "
            "file.filename, and close it: Headrace opens the file itself, in each process."
        )
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise OptionError(f"Expected the path of an HDF5 file. Received: {path!r}")
    return text if "://" in text else os.path.realpath(text)


def _words(error: BaseException) -> str:
    """The message of an error; `str` of a KeyError would add quotes."""
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def open_file(path: str) -> h5py.File:
    """Opens `path` for reading.

    Raises:
        MissingFileError: If there is no file.
        NoPermissionError: If it may not be read.
        LockedFileError: If it is open for writing.
        FileFormatError: If it is not an HDF5 file, or is damaged.
    """
    size = _check_content(path)
    try:
        file = _open_with_some_lock(path)
    except OSError as error:
        raise _explain(path, size, error) from error
    if file.id.get_intent() & h5f.ACC_RDWR:
        # libhdf5 returned the writer's handle, whose data may not be on disk yet.
        file.close()
        raise LockedFileError(
            f"{path!r} is open for writing in this process. Close it first; "
            "in a notebook, look for an h5py.File that was never closed."
        )
    return file


@contextmanager
def reading(path: str) -> Iterator[h5py.File]:
    """A context in which the file at `path` is open for reading.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError: As `open_file`.
        FileFormatError: As `open_file`, or if libhdf5 cannot close the file because of damage.
    """
    file = open_file(path)
    try:
        yield file
    finally:
        with damage_explained(repr(path)):
            file.close()


@contextmanager
def damage_explained(what: str) -> Iterator[None]:
    """Turns h5py's exceptions on damaged metadata into a FileFormatError that names `what`."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, HeadraceError):
            raise
        if refused := refusal(error):
            raise read_error(f"Reading {what}", refused) from error
        words = _words(error)
        raise FileFormatError(
            f"{what} {_later_version()}. libhdf5 says: {words}"
            if _LATER_VERSION.search(words)
            else f"{what} is damaged: its metadata cannot be read. "
            f"Copy or download it again, or repair it. libhdf5 says: {words}"
        ) from error


def refusal(error: BaseException) -> OSError | None:
    """The system's error behind an exception of h5py; None if the file is damaged instead.

    h5py raises exceptions of many types; the errno is often only in libhdf5's message.
    """
    if isinstance(error, HeadraceError):
        return None
    found = _ERRNO.search(str(error))
    number = int(found[1]) if found else getattr(error, "errno", None) or 0
    return None if number in _OF_DAMAGE else OSError(number, os.strerror(number))


def _later_version() -> str:
    """The predicate of a message about a file that may be newer than libhdf5."""
    return (
        f"is of a later version of the HDF5 format than HDF5 {h5py.version.hdf5_version} knows, "
        f"which h5py {h5py.version.version} includes, or is damaged. Update h5py, or "
        "convert the file with a newer HDF5 (h5repack --high=v110). If the file is not that new, "
        "copy it again"
    )


def _check_content(path: str) -> int:
    """Checks that the path leads to an HDF5 file; returns its size."""
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise FileFormatError(
                f"{path!r} is a folder. Expected the path of one HDF5 file.{_inside(path)}"
            )
        if not stat.S_ISREG(status.st_mode):
            raise FileFormatError(f"{path!r} is a device or a pipe. Expected an HDF5 file.")
        with Path(path).open("rb") as file:
            start = file.read(HEAD_BYTES)
        found = hdf5_offset(path, start)
    except OSError as error:
        raise opening_error(path, error) from None
    if found is None:
        raise FileFormatError(
            f"{path!r} is not an HDF5 file: it looks like {looks_like(start)}. "
            "Expected a file that h5py can open."
        )
    return status.st_size


def _is_one_of_a_set(path: str) -> bool:
    with Path(path).open("rb") as file:
        start = file.read(_SUPERBLOCK_AND_DRIVER)
    return any(driver in start for driver in (b"NCSAfami", b"NCSAmult"))


def _inside(path: str) -> str:
    """The HDF5 files in a folder, for an error message."""
    try:
        names = sorted(p.name for p in Path(path).iterdir() if p.suffix in _SUFFIXES)
    except OSError:
        return ""
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    return f" It holds: {', '.join(names[:5])}{more}." if names else ""


def _open_with_some_lock(path: str) -> h5py.File:
    """Opens `path` with the locking that its file system and its open handles allow."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "flag values don't match" in str(error):
            # This process has it open already with a locking= that differs from the default.
            return _open_like_the_others(path)
        number = _why_no_lock(error)
        if number is None or number in _HELD_BY_OTHERS:
            raise
        return h5py.File(path, "r", locking=False)


def _why_no_lock(error: OSError) -> int | None:
    """The errno with which a lock was refused; None if something else failed."""
    found = _NO_LOCK.search(str(error))
    return int(found[1]) if found else None


def _open_like_the_others(path: str) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        return h5py.File(path, "r", locking=True)


def _explain(path: str, size: int, error: OSError) -> Exception:
    text = str(error)
    number = _why_no_lock(error)
    if number is not None and number not in _HELD_BY_OTHERS:
        return LockedFileError(
            f"{path!r} cannot be locked ({os.strerror(number)}), but HDF5_USE_FILE_LOCKING="
            f"{os.environ.get('HDF5_USE_FILE_LOCKING')} requires a lock. Set it to FALSE if "
            "nothing writes to the file."
        )
    if number is not None:
        return LockedFileError(
            f"{path!r} is locked: another process has it open for writing. Wait until it is "
            "closed, or set HDF5_USE_FILE_LOCKING=FALSE if nothing writes to it."
        )
    if "already open for write" in text:
        return LockedFileError(
            f"{path!r} is marked as open for writing: a program writes to it, or ended without "
            "closing it. Wait until it is closed, or clear the mark with 'h5clear -s'."
        )
    if _is_one_of_a_set(path):
        return FileFormatError(
            f"{path!r} is one of several files that HDF5's family or multi driver wrote together. "
            "Join them first: with h5repart, or h5repack."
        )
    if "truncated" in text:
        return FileFormatError(
            f"{path!r} is truncated: it has {size} bytes and its header expects more "
            f"({text.split('(', 1)[-1].rstrip(')')}). Copy or download it again."
        )
    if refused := refusal(error):
        return opening_error(path, refused)
    if _LATER_VERSION.search(text):
        return FileFormatError(f"{path!r} {_later_version()}. libhdf5 says: {text}")
    return FileFormatError(
        f"{path!r} starts like an HDF5 file but cannot be opened; it is damaged, or the program "
        f"that wrote it did not close it. libhdf5 says: {text}"
    )
