"""Writes files atomically: they are made in a hidden folder, and then moved to their place."""

import ctypes
import errno
import os
import shutil
import warnings
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType

from headrace.errors import (
    DiskFullError,
    HeadraceError,
    MissingFileError,
    NoPermissionError,
    OptionError,
    WriteError,
)
from headrace.locks import LOCK, lock_folder, unlock
from headrace.resources import format_bytes

_NEW = "new"
_REPLACED = "replaced"
FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a full disk."""

_AT_FDCWD = -100
_EXCHANGE = 2
"""The flag of `renameat2`, from Linux' headers."""

WRITTEN = "written.json"
"""The file in which `create` records the written rows, for `resume=True`."""

ROWS = "0.raw"
"""The file in which `create` keeps the rows of the largest field of a file that grows."""


def path_to_write(path: str | os.PathLike[str]) -> Path:
    """The path of a file or folder to write, from the user's argument.

    Raises:
        OptionError: If the argument is no path.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise OptionError(f"Expected the path of a file to write. Received: {path!r}")
    return Path(text)


def staging_folder(target: Path) -> Path:
    """The staging folder of `target`: `.name.headrace` beside it, or beside a link's target."""
    place = Path(os.path.realpath(target))
    return place.parent / f".{place.name}.headrace"


class Staging:
    """A hidden folder in which the file or folder that becomes `target` is made.

    At any moment, the old target or the whole new one exists. The folder of a killed process is
    recognised by its name and its released lock, and removed when the same target is made again.

    Args:
        target: The path to make.
        overwrite: Whether an existing target may be replaced.
        resume: Whether the folder of an earlier process is used in place of removing it.
        inputs: Files that are being read, which must not be replaced.

    Attributes:
        keep: Whether the folder is kept at the end of a `with` statement without `publish`.

    Raises:
        OptionError: If the target, or rows that `create` left of it, exist and may not be replaced;
            or if an input would be replaced.
        MissingFileError: If the folder of the target does not exist.
        NoPermissionError: If it is not writable.
        LockedFileError: If the same target is being made, here or in another process.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        resume: bool = False,
        inputs: Iterable[str] = (),
    ) -> None:
        # The target of a link is replaced, not the link.
        self.target = Path(os.path.realpath(path_to_write(target)))
        self._inputs = tuple(inputs)
        with write_errors(self.target):
            check_target(self.target, overwrite, self._inputs)
        self.folder = staging_folder(self.target)
        # The suffix is kept, since some libraries choose a format by it.
        self.path = self.folder / (_NEW + self.target.suffix)
        self.keep = False
        self._overwrite = overwrite
        self._resume = resume
        self._lock: FileIO | None = None

    def __enter__(self) -> "Staging":
        with write_errors(self.target):
            self._lock = lock_folder(self.folder, self.target)
            _locks.add(self)
            try:
                self._recover()
                if self._resume:
                    self.keep = not self._is_empty()
                else:
                    self._check_left()
                    self.empty()
            except BaseException:
                self._unlock()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock, and removes the folder unless it is kept."""
        try:
            if not self.keep:
                self.remove()
        finally:
            self._unlock()

    def publish(self) -> None:
        """Flushes the file or folder at `path` to the disk, and moves it to the target.

        Once it is moved, errors no longer count: if the folder's entry cannot be flushed, there is
        a warning, and files that cannot be removed are left to the next process.

        Raises:
            OptionError: If a file that may not be replaced has appeared at the target.
            WriteError: If the operating system reports an error; the old target is unchanged.
        """
        with write_errors(self.target):
            sync_all(self.path)
            check_target(self.target, self._overwrite, self._inputs)
            if self.target.is_dir() and not self.path.is_dir():
                raise OptionError(f"{self.target} is a folder by now, and is not replaced.")
            if self.target.exists() and self.path.is_dir():
                self._exchange()
            else:
                self.path.replace(self.target)
        unconfirmed = None
        try:
            _fsync(self.target.parent)
        except OSError as error:
            unconfirmed = error
        self.remove()
        if unconfirmed is not None:
            warnings.warn(
                f"{self.target} is whole and in its place, but the system does not say that its "
                f"name is on the disk ({unconfirmed}): a power failure now might bring back what "
                "was there before.",
                stacklevel=3,
            )

    def remove(self) -> None:
        """Removes the folder with its content, and releases the lock.

        Files that cannot be removed now are removed when the same target is made again.
        """
        if self._lock is None:
            return  # it may be another process's by now
        self.keep = False
        with suppress(OSError):
            self._recover()
            self.empty()
            (self.folder / LOCK).unlink()
            # Some file systems keep a file that is open in its folder, under another name.
            self._unlock()
            self.folder.rmdir()

    def _exchange(self) -> None:
        """Swaps two paths, since a folder cannot replace another by a move."""
        if _swapped(self.path, self.target):
            return
        # The system cannot swap. If the process is killed here, `_recover` undoes the move.
        self.target.replace(self.folder / _REPLACED)
        try:
            self.path.replace(self.target)
        except BaseException:
            self._recover()
            raise

    def _recover(self) -> None:
        """Undoes the first of two moves if the second did not happen."""
        replaced = self.folder / _REPLACED
        if replaced.exists() and not self.target.exists():
            replaced.replace(self.target)

    def _check_left(self) -> None:
        """Checks that no rows of `create` would be lost, which cannot be made again."""
        # A record without rows is from a process that was killed after `publish`.
        rows = self.path.exists() or (self.folder / ROWS).exists()
        if rows and (self.folder / WRITTEN).exists() and not self._overwrite:
            raise OptionError(
                f"What create() wrote of {self.target}, before it was stopped, is still there. Say "
                "create(..., resume=True) to go on with it, or overwrite=True to discard it."
            )

    def empty(self) -> None:
        """Removes the content of the folder, except for the lock."""
        self.keep = False
        for item in self._items():
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()

    def _items(self) -> list[Path]:
        """The content of the folder, except for the lock."""
        items = self.folder.iterdir() if self.folder.is_dir() else ()
        return [item for item in items if item.name != LOCK]

    def _is_empty(self) -> bool:
        return not self._items()

    def _unlock(self) -> None:
        if self._lock is not None:
            lock, self._lock = self._lock, None
            unlock(lock)


_locks: "weakref.WeakSet[Staging]" = weakref.WeakSet()


def _forget_locks() -> None:
    """In a forked child: forgets locks, which belong to the parent."""
    for staging in list(_locks):
        if staging._lock is not None:
            staging._lock.close()
            staging._lock = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def check_target(target: Path, overwrite: bool, inputs: Iterable[str] = ()) -> None:
    """Checks that `target` may be made, before any work is done.

    Raises:
        OptionError, MissingFileError, NoPermissionError: As `Staging` does.
    """
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    folder = target.parent
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder} to save {target.name} in.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NoPermissionError(f"The folder {folder} cannot be written to.")
    check_no_input(target, inputs)
    if os.path.lexists(target) and not overwrite:
        raise OptionError(
            f"{target} is there already. Say overwrite=True to replace it, or choose "
            "another name or move it away."
        )
    if target.exists() and not target.is_file() and not target.is_dir():
        raise OptionError(
            f"{target} is a device, a pipe or a socket, and is not replaced. Choose another name."
        )


def check_no_input(target: Path, inputs: Iterable[str]) -> None:
    """Checks that making `target` would not replace or remove one of its inputs.

    Files are compared by device and inode, so that links are recognised.

    Raises:
        OptionError: If it would.
    """
    left = staging_folder(target)
    places = [target, *left.rglob("*")]
    if target.is_dir():
        places += target.iterdir()
    lost = {_number_of(place): place for place in places}
    for file in inputs:
        number = _number_of(file)
        if number is None or number not in lost:
            continue
        what = "be replaced"
        if lost[number].is_relative_to(left):
            what = f"be removed: {left} is where {target} is made"
        elif lost[number] != target:
            what = f"be replaced together with the folder {target}"
        raise OptionError(
            f"{file} is a file that is read, or may be, and would {what}. Write to another name, "
            "and rename it once it is there."
        )


def _number_of(path: str | Path) -> tuple[int, int] | None:
    """The device and inode of a file; None if it does not exist."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Turns the system's errors of writing `target` into errors that explain them.

    Raises:
        DiskFullError: If the disk is full.
        WriteError: If the operating system reports another error.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, HeadraceError):
            raise
        before = f" What was at {target} before is as it was." if os.path.exists(target) else ""  # noqa: PTH110 - never raises
        if error.errno in FULL:
            raise DiskFullError(
                f"The disk is full: {target} could not be written.{before} Make room on it, or "
                "choose another place."
            ) from error
        raise WriteError(f"{target} could not be written: {error}.{before}") from error


def free_bytes(target: Path) -> int:
    """The free bytes of the disk of a target.

    Raises:
        WriteError: If they cannot be determined.
    """
    with write_errors(target):
        return shutil.disk_usage(target.parent).free


def check_room(target: Path, nbytes: int, there: int = 0) -> None:
    """Checks that the disk has room, before any work is done.

    Args:
        target: The output.
        nbytes: Its size, with temporary files.
        there: Bytes of it that are already written.

    Raises:
        DiskFullError: If there is not enough room.
    """
    free = free_bytes(target)
    if nbytes - there > free:
        raise DiskFullError(
            f"Writing {target} takes {format_bytes(nbytes - there)}, and its disk has "
            f"{format_bytes(free)} left. Make room on it, or choose another place."
        )


def sync(path: Path) -> None:
    """Flushes a file to the disk, or the entries of a folder if the system can."""
    try:
        _fsync(path)
    except OSError as error:
        # Not every file system can flush folders; `publish` warns.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _fsync(path: Path) -> None:
    windows = os.name == "nt"
    if windows and path.is_dir():
        return  # only writable files can be flushed there
    if not path.is_dir():
        with path.open("r+b" if windows else "rb", buffering=0) as file:
            os.fsync(file.fileno())
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Replaces a small file atomically."""
    new = path.with_suffix(".new")
    new.write_text(text)
    sync(new)
    new.replace(path)
    sync(path.parent)


def sync_all(path: Path) -> None:
    """Flushes a file, or a folder with its files, to the disk."""
    if path.is_dir():
        for item in path.iterdir():
            sync_all(item)
    sync(path)


def _swapped(first: Path, second: Path) -> bool:
    """Swaps two paths atomically; returns False if the system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return bool(call(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE) == 0)
