"""Locks on folders, which the system releases when the process ends."""

import errno
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

from headrace.errors import LockedFileError

LOCK = "lock"
"""Name of the file in a folder that is locked."""


def lock_folder(folder: Path, target: Path) -> FileIO:
    """An open file whose lock says that this process works in `folder`, which is made if need be.

    The system lets go of the lock when the process ends, however it ends.

    Args:
        folder: Where the lock lies.
        target: What is made there, for the error.

    Raises:
        LockedFileError: If another process has it, or this one already.
    """
    while True:
        try:
            folder.mkdir(exist_ok=True)
            lock = _opened(folder / LOCK)
        except BaseException:
            with suppress(OSError):  # one with something in it stays
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
    """The lock, open; None if another process has just removed the folder."""
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
        # File systems without locks work without.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            raise


def unlock(lock: FileIO) -> None:
    """Lets go of the lock, also where a forked child still has it open."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_UN)
    except (ImportError, OSError):
        pass
    lock.close()


def _is(path: Path, file: FileIO) -> bool:
    """Whether the file at `path` is the one that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
