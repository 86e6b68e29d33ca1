"""Expands paths, lists of paths and patterns into files."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.errors import MissingFileError, OptionError

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_NUMBERS = re.compile(r"([0-9]+)")
_MARKS = re.compile(r"[*?[]")


def find_files(paths: Any) -> list[Any]:
    """The files that `paths` names, in order.

    The order of a list is kept, and a path that it names twice is returned twice. A pattern (`*`,
    `?`, `[a-z]`, and `**` for any folders) is replaced by the files that match it, in natural
    order (2 before 10). Patterns return each file once, even if several of them match it or it
    has several names. If a file exists whose name is the pattern itself, only this file is meant.

    Args:
        paths: A path or pattern, or a list or tuple of them. Objects that are no paths are
            returned unchanged.

    Raises:
        MissingFileError: If a pattern matches no file.
        OptionError: If the list is empty.
    """
    several = isinstance(paths, (list, tuple))
    if several and not paths:
        raise OptionError("Expected at least one path. Received an empty list.")
    found: list[Any] = []
    matched: set[str] = set()
    for path in paths if several else [paths]:
        pattern = _pattern(path)
        if pattern is None:
            found.append(path)
            continue
        for match in _matches(pattern):
            real = os.path.realpath(match)
            if real not in matched:
                matched.add(real)
                found.append(match)
    return found


def _pattern(path: Any) -> str | None:
    """The path as text if it is a pattern, else None."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        return None
    if "\0" in text or "://" in text or not _MARKS.search(text) or os.path.lexists(text):
        return None
    return text


def _matches(pattern: str) -> list[str]:
    # Path.glob has other rules: it needs the folder separately, and matches hidden files.
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207
    names = [name for name in found if not Path(name).is_dir()]
    if not names:
        raise MissingFileError(f"No file matches {pattern!r}.{_instead(pattern)}")
    return sorted(names, key=_natural)


def _natural(path: str) -> tuple[Any, ...]:
    """The sort key of a path: digits compare by value; `path` itself orders 02 and 2."""
    folders = [
        [int(piece) if number % 2 else piece for number, piece in enumerate(_NUMBERS.split(part))]
        for part in Path(path).parts
    ]
    return folders, path


def _instead(pattern: str) -> str:
    """A sentence for the error message about what the pattern's folder holds."""
    path = Path(pattern)
    folder = next(parent for parent in path.parents if not _MARKS.search(str(parent)))
    if not folder.is_dir():
        return f" There is no folder {str(folder)!r}."
    names = sorted((entry.name for entry in folder.iterdir()), key=_natural)
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    return f" The folder {str(folder)!r} holds: {', '.join(names[:5]) or 'nothing'}{more}."
