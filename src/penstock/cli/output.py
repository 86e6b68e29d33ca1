"""The file that a trained model is saved to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import MissingFileError, NoPermissionError, OptionError

SUFFIX = ".keras"


def check_output(path: Path) -> None:
    """Raises what would keep a model from being saved to `path`, before hours of training.

    Raises:
        OptionError: If the name does not end in `.keras`, or is a folder's.
        MissingFileError: If the folder is missing.
        NoPermissionError: If the folder cannot be written to.
    """
    if path.suffix != SUFFIX:
        raise OptionError(f"A model is saved to a name that ends in {SUFFIX}. Received: {path}")
    if path.is_dir():
        raise OptionError(f"{path} is a folder: name a file to save the model to.")
    folder = path.parent
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder} to save {path.name} in.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NoPermissionError(f"The folder {folder} cannot be written to.")


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends without an error.

    At any moment `path` holds the old file or the whole new one: the new one is written
    in the same folder, brought to the disk, and renamed.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield part
        _sync(part)
        part.replace(path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    windows = os.name == "nt"
    if windows and path.is_dir():
        return  # only files can be synced there, and only those that may be written to
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
