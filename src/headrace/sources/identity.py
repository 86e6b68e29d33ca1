"""Detects that a file was replaced or written to since it was opened."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from headrace.forks import run_in_each_process


class Identity(NamedTuple):
    """What tells whether a file is still the one that was opened.

    Attributes:
        ctime_ns: When its content or anything of its entry changed; no program can set it back.
        entry: Permissions, owner, group, and the number of names.
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
"""Looks at a file now."""


class Original:
    """A file as it was when it was opened; tells whether its content may be another one now.

    Size and modification time tell of most changes. A program may set the time back after it wrote,
    as some that copy do, but not the time of the last change of status (ctime). That one also moves
    when the file gets other permissions, another owner or another name, which must not end a
    training: where such a thing can be seen, it is taken for the reason, and noted. What is not
    seen is a file that is written to, gets its time back, and gets other permissions or another
    name, all of it between two looks.

    Args:
        path: The file.

    Raises:
        OSError: If the system cannot look at it.
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
        """What happened to the file, as a predicate; None if its content is what it was.

        Raises:
            OSError: If the system cannot look at it.
        """
        if look() == self.identity:
            return None
        with self._lock:
            # Another thread may have noted a change meanwhile: only a new look tells.
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
        """Whether a file is at the path."""
        try:
            return look_at(self.path)[:2] == now[:2]
        except OSError:
            return False


_SET_BACK = "was changed, and its modification time set back,"


def look_at(path: str) -> Identity:
    """The identity of the file at a path now.

    Raises:
        OSError: If the system cannot look at it.
    """
    return Identity.of(Path(path).stat())
