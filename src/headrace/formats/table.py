"""The table of formats, and the search for the format of a file."""

import importlib.metadata
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace.errors import (
    FileFormatError,
    OptionError,
    UnknownOptionError,
    did_you_mean,
    some_of,
)
from headrace.formats.base import HEAD_BYTES, Format, Location
from headrace.formats.csv import CSV
from headrace.formats.hdf5 import HDF5
from headrace.formats.numpy import NumPy
from headrace.formats.parquet import Parquet
from headrace.formats.shards import Shards
from headrace.sources.file import opening_error
from headrace.sources.signatures import looks_like

FORMATS: list[Format] = [Shards(), HDF5(), NumPy(), Parquet(), CSV()]
"""All formats, in the order in which `recognises` is called."""

_PLUGINS = "headrace.formats"
"""The group of entry points under which other packages offer formats."""

_loaded_plugins: set[str] = set()


def register(new: Format) -> None:
    """Adds a format: `open` and all commands know it from now on, in this process.

    A package offers its formats to every process, and to the command line, by an entry point of
    the group `headrace.formats` that leads to an instance.

    Args:
        new: The format; it replaces one of the same name.

    Example:

    ```python
    from headrace.formats import FORMATS, register

    register(FORMATS[-1])
    ```
    """
    if not isinstance(new, Format):
        raise OptionError(f"Expected an instance of headrace.formats.Format. Received: {new!r}")
    FORMATS[:] = [known for known in FORMATS if known.name != new.name] + [new]


def format_of(path: str | os.PathLike[str]) -> Format:
    """The format of the file or folder at `path`.

    Raises:
        MissingFileError, NoPermissionError: If there is nothing there, or it may not be read.
        FileFormatError: If it is of no format in the table; says what it looks like.
    """
    place = Path(path)
    try:
        start = b""
        if not place.is_dir():
            if not place.is_file() and place.exists():
                raise FileFormatError(f"{str(path)!r} is a device or a pipe. Expected a file.")
            with place.open("rb") as file:
                start = file.read(HEAD_BYTES)
        found = _first_that_recognises(place, start)
    except (OSError, ValueError) as error:
        if isinstance(error, (FileFormatError, OptionError)):
            raise
        if isinstance(error, ValueError):
            raise OptionError(f"Expected the path of a file. Received: {path!r}") from None
        raise opening_error(str(path), error) from None
    if found is None:
        there = some_of([known.name for known in FORMATS])
        if place.is_dir():
            raise FileFormatError(
                f"{str(path)!r} is a folder of no format that Headrace reads ({there})."
                f"{_inside(place)}"
            )
        raise FileFormatError(
            f"{str(path)!r} is of no format that Headrace reads ({there}): it looks like "
            f"{looks_like(start)}."
        )
    return found


def _first_that_recognises(path: Path, start: bytes) -> Format | None:
    for known in FORMATS:
        if known.recognises(path, start):
            return known
    for plugin in importlib.metadata.entry_points(group=_PLUGINS):
        if plugin.name not in _loaded_plugins:
            _loaded_plugins.add(plugin.name)
            register(plugin.load())
            if FORMATS[-1].recognises(path, start):
                return FORMATS[-1]
    return None


def _inside(folder: Path) -> str:
    """The first files in a folder, for an error message."""
    try:
        names = sorted(item.name for item in folder.iterdir())
    except OSError:
        return ""
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    shown = f"{', '.join(names[:5])}{more}" if names else "nothing"
    return f" It holds: {shown}. Name the files in it, with a pattern such as 'folder/*.h5'."


def open_location(path: str | os.PathLike[str], **options: Any) -> Location:
    """What `path` leads to, opened by its format.

    Raises:
        UnknownOptionError: If the format has no such option; and as `format_of`.
    """
    return open_as(format_of(path), os.fspath(path), options)


def open_as(known: Format, path: str, options: dict[str, Any]) -> Location:
    """A file of a known format, opened with options that the format has.

    Raises:
        UnknownOptionError: If it has no such option.
    """
    check_options(known, options)
    return known.open(path, **options)


def check_options(known: Format, options: Iterable[str]) -> None:
    """Makes sure that a format has some options.

    Raises:
        UnknownOptionError: If it has no such option.
    """
    for name in options:
        if name not in known.options:
            there = some_of(list(known.options)) if known.options else "none"
            raise UnknownOptionError(
                f"{known.name} files have no option {name!r}."
                f"{did_you_mean(name, known.options)} There are: {there}."
            )
