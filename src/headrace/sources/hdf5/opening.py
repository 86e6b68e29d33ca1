"""Opens HDF5 files, and explains why one cannot be opened."""

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
    AssertionError,  # h5py, of a filter with more parameters than it makes room for
)
"""What h5py raises on damaged metadata; `refusal` tells the system's errors from it."""

_NO_LOCK = re.compile(r"unable to lock file, errno = (\d+)")
_HELD_BY_OTHERS = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
"""Any other errno says that the file system knows no locks."""

_ERRNO = re.compile(r"\berrno = (\d+)")
_OF_DAMAGE = (0, errno.EINVAL, errno.EOVERFLOW, errno.EFBIG)
"""With these the system refuses places in a file that no file has."""

_LATER_VERSION = re.compile(
    r"\b(bad|wrong|unknown|incorrect|invalid) [^()]*\bversion\b|unknown message with 'fail", re.I
)
"""What libhdf5 says of a file of a later format: it knows it by version numbers above its own."""


def path_of(path: Any) -> str:
    """The path as text, from the root and without links.

    Another process, and a later read, may run in another folder, and a link may
    lead elsewhere by then.

    Raises:
        OptionError: If it is none.
    """
    if isinstance(path, (h5py.File, h5py.Group, h5py.Dataset)):
        raise OptionError(
            f"Expected the path of an HDF5 file. Received an open {path!r}. Give its path, "
            "file.filename, and close it: Headrace opens the file in each process by itself."
        )
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise OptionError(f"Expected the path of an HDF5 file. Received: {path!r}")
    return text if "://" in text else os.path.realpath(text)


def _words(error: BaseException) -> str:
    """What an error says; a KeyError would put it into quotes."""
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def open_file(path: str) -> h5py.File:
    """Opens `path` for reading.

    Raises:
        MissingFileError: If there is no file.
        NoPermissionError: If it may not be read.
        LockedFileError: If it is open for writing.
        FileFormatError: If it is no HDF5 file, or a damaged one.
    """
    size = _check_content(path)
    try:
        file = _open_with_some_lock(path)
    except OSError as error:
        raise _explain(path, size, error) from error
    if file.id.get_intent() & h5f.ACC_RDWR:
        # libhdf5 hands out the writer's own view, which may be ahead of the disk.
        file.close()
        raise LockedFileError(
            f"{path!r} is open for writing in this process. Close it first; "
            "in a notebook, look for an h5py.File that was never closed."
        )
    return file


@contextmanager
def reading(path: str) -> Iterator[h5py.File]:
    """Has `path` open for a while.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError: As `open_file`.
        FileFormatError: As `open_file`, or if libhdf5 cannot close the file for damage in it.
    """
    file = open_file(path)
    try:
        yield file
    finally:
        with damage_explained(repr(path)):
            file.close()


@contextmanager
def damage_explained(what: str) -> Iterator[None]:
    """Turns what h5py raises on damaged metadata into a FileFormatError that says where."""
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
            else f"{what} is damaged: what the file says about its contents cannot be read. "
            f"Copy or download it again, or repair it. libhdf5 says: {words}"
        ) from error


def refusal(error: BaseException) -> OSError | None:
    """What the system refused, if that is what h5py's error tells of; None if it is damage.

    h5py raises errors of many kinds, and libhdf5's words tell of the system's.
    """
    if isinstance(error, HeadraceError):
        return None
    found = _ERRNO.search(str(error))
    number = int(found[1]) if found else getattr(error, "errno", None) or 0
    return None if number in _OF_DAMAGE else OSError(number, os.strerror(number))


def _later_version() -> str:
    """What to do about a file that may be newer than libhdf5, as a predicate."""
    return (
        f"is of a later version of the HDF5 format than HDF5 {h5py.version.hdf5_version} knows, "
        f"which h5py {h5py.version.version} brings, or is damaged. Update h5py, or have the file "
        "written again where it can be read (h5repack --high=v110); if it is no newer than that, "
        "copy it again"
    )


def _check_content(path: str) -> int:
    """Makes sure that there is an HDF5 file to open; returns its size."""
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
            f"{path!r} is no HDF5 file: it looks like {looks_like(start)}. "
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
    """Opens `path` with the locking that the file system and other handles on it allow."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "flag values don't match" in str(error):
            # This process has it open already, with another locking= than the default.
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
            f"{path!r} cannot be locked ({os.strerror(number)}), and HDF5_USE_FILE_LOCKING="
            f"{os.environ.get('HDF5_USE_FILE_LOCKING')} insists on it. Set it to FALSE if "
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
            f"{path!r} is one file of a set that HDF5's drivers for families of files or for "
            "several files wrote together. Join the set first: with h5repart, or h5repack."
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
        f"{path!r} starts like an HDF5 file but cannot be opened; it is damaged, or was not closed "
        f"by the program that wrote it. libhdf5 says: {text}"
    )
