"""Locks on folders, which the system releases when the process ends."""

import errno
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

from headrace.errors import LockedFileError

LOCK = "lock"
"""The name of the locked file in a folder."""


def lock_folder(folder: Path, target: Path) -> FileIO:
    """Locks a folder, which is created if it does not exist; returns the locked file.

    The system releases the lock when the process ends in any way.

    Args:
        folder: The folder.
        target: The output that is made in it, for the error.

    Raises:
        LockedFileError: If another process, or this one, already holds the lock.
    """
    while True:
        try:
            folder.mkdir(exist_ok=True)
            lock = _opened(folder / LOCK)
        except BaseException:
            with suppress(OSError):  # a folder that is not empty stays
                folder.rmdir()
            raise
        if lock is None:
            continue
        try:
            _take(lock, target)
            if _is(folder / LOCK, lock):
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def _opened(path: Path) -> FileIO | None:
    """The opened lock file; None if another process has just removed the folder."""
    try:
        return FileIO(path, "a+")
    except FileNotFoundError:
        return None


def _take(lock: FileIO, target: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedFileError(
            f"{target} is being written at this moment, by another process or by a writer of this "
            "one that was not closed. Wait for it, close it, or choose another name."
        ) from None
    except OSError as error:
        # Without a lock on file systems that have none.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            raise


def unlock(lock: FileIO) -> None:
    """Releases the lock, even if a forked child has the file open."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_UN)
    except (ImportError, OSError):
        pass
    lock.close()


def _is(path: Path, file: FileIO) -> bool:
    """Whether the file at `path` is the opened one."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
