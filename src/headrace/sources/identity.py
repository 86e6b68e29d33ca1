"""Detects that a file was replaced or written to since it was opened."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from headrace.forks import run_in_each_process


class Identity(NamedTuple):
    """The status of a file from which changes to it are detected.

    Attributes:
        ctime_ns: When its content or its inode last changed; programs cannot set it.
        entry: Mode, owner, group, and the number of hard links.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    entry: tuple[int, int, int, int]

    @classmethod
    def of(cls, status: os.stat_result) -> "Identity":
        """The identity of the file with this status."""
        entry = status.st_mode, status.st_uid, status.st_gid, status.st_nlink
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(status.st_dev, status.st_ino, status.st_size, *times, entry)


Look = Callable[[], Identity]
"""Returns the current identity of a file."""


class Original:
    """The identity of a file when it was opened; detects changes to its content.

    Size and modification time show most changes. A program may set the modification time back
    after it wrote, as some copy programs do, but it cannot set the time of the last status change
    (ctime). The ctime also changes with permissions, owner, links and name, and these must not
    stop a training run: if any of them differs, it is accepted as the cause, and the new identity
    is stored. One case goes undetected: between two checks, a program writes to the file, sets its
    modification time back, and also changes its permissions or name.

    Args:
        path: The file.

    Raises:
        OSError: If its status cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.identity = look_at(path)
        self._is_at_path = True
        run_in_each_process(self, Original._make_lock)

    def _make_lock(self) -> None:
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        run_in_each_process(self, Original._make_lock)

    def change(self, look: Look) -> str | None:
        """Describes how the file changed, such as "was written to"; None if its content did not.

        Raises:
            OSError: If its status cannot be read.
        """
        if look() == self.identity:
            return None
        with self._lock:
            # Another thread may have updated self.identity since the first look.
            now = look()
            change = self._change_to(now)
            is_at_path = self._leads_to(now)
            if change == _SET_BACK and is_at_path != self._is_at_path:
                change = None
            if change is None:
                self.identity, self._is_at_path = now, is_at_path
            return change

    def _change_to(self, now: Identity) -> str | None:
        then = self.identity
        if now.size != then.size:
            return f"had {then.size} bytes and now has {now.size}"
        if (now.device, now.inode) != (then.device, then.inode):
            return "was replaced by another file"
        if now.mtime_ns != then.mtime_ns:
            return "was written to"
        return _SET_BACK if now.ctime_ns != then.ctime_ns and now.entry == then.entry else None

    def _leads_to(self, now: Identity) -> bool:
        """Whether the path leads to this file."""
        try:
            return look_at(self.path)[:2] == now[:2]
        except OSError:
            return False


_SET_BACK = "was changed, and its modification time set back,"


def look_at(path: str) -> Identity:
    """The identity of the file that is at a path now.

    Raises:
        OSError: If its status cannot be read.
    """
    return Identity.of(Path(path).stat())
