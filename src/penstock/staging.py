"""Files that appear whole or not at all: made in a hidden folder beside their place, then moved."""

import ctypes
import errno
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from penstock.errors import (
    DiskFullError,
    LockedFileError,
    MissingFileError,
    NoPermissionError,
    OptionError,
    PenstockError,
    WriteError,
)
from penstock.resources import format_bytes

_LOCK = "lock"
_NEW = "new"
_REPLACED = "replaced"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_AT_FDCWD = -100
_EXCHANGE = 2
"""Of `renameat2`, as in Linux' headers."""

WRITTEN = "written.json"
"""Where `create` notes what was written, so that a process that is killed can be gone on for."""


def staging_folder(target: Path) -> Path:
    """Where `target` is made: `.name.penstock`, beside it, or beside what a link leads to."""
    place = Path(os.path.realpath(target))
    return place.parent / f".{place.name}.penstock"


class Staging:
    """A hidden folder in which the file or folder that becomes `target` is made.

    At any moment there is the old target or the whole new one. What a killed process left is
    found by its name, known to be abandoned by its lock, and removed when the same target is made
    again.

    Args:
        target: The path that is made.
        overwrite: Whether it may be there already.
        keep: Whether what was made stays when it is left without `publish`.
        resume: Whether what was left is gone on with, and not removed.

    Raises:
        OptionError: If the target is there, and may not be; or what `create` left of it.
        MissingFileError: If there is no folder to make it in.
        NoPermissionError: If that cannot be written to.
        LockedFileError: If the same target is being made, here or in another process.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        keep: bool = False,
        resume: bool = False,
    ) -> None:
        # What a link leads to is made, and not the link replaced.
        self.target = Path(os.path.realpath(target))
        check_target(self.target, overwrite)
        self.folder = staging_folder(self.target)
        # Libraries look at the suffix to choose a format.
        self.path = self.folder / (_NEW + self.target.suffix)
        self._overwrite = overwrite
        self._keep = keep
        self._resume = resume
        self._lock: int | None = None

    def __enter__(self) -> "Staging":
        with write_errors(self.target):
            self._lock = _locked(self.folder, self.target)
            _locks.add(self)
            try:
                self._recover()
                if not self._resume:
                    self._check_left()
                    self.empty()
            except BaseException:
                self._unlock()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if not self._keep:
            # What keeps it from being removed now is found again by its name.
            with suppress(OSError):
                self.remove()
        self._unlock()

    def publish(self) -> None:
        """Puts what was made at `path` in the target's place, once it is on the disk.

        Raises:
            OptionError: If something that may not be replaced has come there meanwhile.
        """
        with write_errors(self.target):
            sync_all(self.path)
            check_target(self.target, self._overwrite)
            if self.target.exists() and (self.target.is_dir() or self.path.is_dir()):
                self._exchange()
            else:
                self.path.replace(self.target)
            sync(self.target.parent)
            self.remove()

    def remove(self) -> None:
        """Removes the folder and all that is in it; the lock goes last."""
        self.empty()
        with suppress(FileNotFoundError):
            (self.folder / _LOCK).unlink()
            self.folder.rmdir()

    def _exchange(self) -> None:
        """Swaps the two; a folder cannot be moved over anything."""
        if _swapped(self.path, self.target):
            return
        # Where the system cannot swap: `_recover` undoes the first move without the second.
        self.target.replace(self.folder / _REPLACED)
        self.path.replace(self.target)

    def _recover(self) -> None:
        replaced = self.folder / _REPLACED
        if replaced.exists() and not self.target.exists():
            replaced.replace(self.target)

    def _check_left(self) -> None:
        """Makes sure that no rows are lost that nobody can make again from a data set."""
        if (self.folder / WRITTEN).exists() and not self._overwrite:
            raise OptionError(
                f"What create() wrote of {self.target}, before it was stopped, is still there. Say "
                "create(..., resume=True) to go on with it, or overwrite=True to discard it."
            )

    def empty(self) -> None:
        """Removes all that is in the folder but the lock."""
        for item in self.folder.iterdir() if self.folder.is_dir() else ():
            if item.name == _LOCK:
                continue
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()

    def _unlock(self) -> None:
        if self._lock is not None:
            _let_go(self._lock)
            self._lock = None


_locks: "weakref.WeakSet[Staging]" = weakref.WeakSet()


def _forget_locks() -> None:
    """In a forked child: the lock is the parent's, and ends with it and not with the child."""
    for staging in list(_locks):
        if staging._lock is not None:
            os.close(staging._lock)
            staging._lock = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def check_target(target: Path, overwrite: bool) -> None:
    """Makes sure that `target` may be made, before any work is done for it.

    Raises:
        OptionError, MissingFileError, NoPermissionError: As `Staging` does.
    """
    folder = target.parent
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder} to save {target.name} in.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NoPermissionError(f"The folder {folder} cannot be written to.")
    if os.path.lexists(target) and not overwrite:
        raise OptionError(
            f"{target} is there already. Say overwrite=True (--overwrite) to replace it, or choose "
            "another name or move it away."
        )


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Explains what keeps `target` from being written.

    Raises:
        DiskFullError: If there is no room.
        WriteError: If the system refuses for another reason.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, PenstockError):
            raise
        before = f" What was at {target} before is as it was." if target.exists() else ""
        if error.errno in _FULL:
            raise DiskFullError(
                f"The disk is full: {target} could not be written.{before} Make room on it, or "
                "choose another place."
            ) from error
        raise WriteError(f"{target} could not be written: {error}.{before}") from error


def free_bytes(target: Path) -> int:
    """Bytes that the disk of a target has left."""
    return shutil.disk_usage(target.parent).free


def check_room(target: Path, nbytes: int, there: int = 0) -> None:
    """Makes sure that the disk has room, before any work is done.

    Args:
        target: What is going to be written.
        nbytes: Its size, and that of what is needed besides.
        there: Bytes of it that were written already.

    Raises:
        DiskFullError: If there is not.
    """
    free = free_bytes(target)
    if nbytes - there > free:
        raise DiskFullError(
            f"Writing {target} takes {format_bytes(nbytes - there)}, and its disk has "
            f"{format_bytes(free)} left. Make room on it, or choose another place."
        )


def sync(path: Path) -> None:
    """Brings a file to the disk, or the list of what is in a folder."""
    windows = os.name == "nt"
    if windows and path.is_dir():
        return  # only files can be synced there, and only those that may be written to
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Puts a small file in the place of another: at any moment there is one of the two."""
    new = path.with_suffix(".new")
    new.write_text(text)
    sync(new)
    new.replace(path)
    sync(path.parent)


def sync_all(path: Path) -> None:
    """Brings a file to the disk, or a folder and the files in it."""
    if path.is_dir():
        for item in path.iterdir():
            sync_all(item)
    sync(path)


def _locked(folder: Path, target: Path) -> int:
    """A descriptor whose lock says that this process works in `folder`, which is made if need be.

    The system lets go of the lock when the process ends, however it ends.
    """
    while True:
        try:
            folder.mkdir(exist_ok=True)
            lock = _opened(folder / _LOCK)
        except BaseException:
            with suppress(OSError):  # one with something in it stays
                folder.rmdir()
            raise
        if lock is None:
            continue
        try:
            _take(lock, target)
            if _is(folder / _LOCK, lock):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _opened(path: Path) -> int | None:
    """A descriptor of the lock; None if another process has just removed the folder."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None


def _take(lock: int, target: Path) -> None:
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


def _let_go(lock: int) -> None:
    """Lets go of the lock, also where a forked child still has it open."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_UN)
    except (ImportError, OSError):
        pass
    os.close(lock)


def _is(path: Path, descriptor: int) -> bool:
    """Whether the file at `path` is the one that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _swapped(first: Path, second: Path) -> bool:
    """Swaps two paths in one step; False where the system has no such step."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return bool(call(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE) == 0)
