"""Checks and writes the file that a trained model is saved to."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import OptionError
from headrace.staging import Staging, check_target

SUFFIX = ".keras"


def check_output(path: Path, inputs: Iterable[str] = ()) -> None:
    """Raises what would keep a model from being saved to `path`, before hours of training.

    Args:
        path: The file.
        inputs: Files that are read for it.

    Raises:
        OptionError: If the name does not end in `.keras`, or is that of a folder or of an input.
        MissingFileError: If the folder is missing.
        NoPermissionError: If the folder cannot be written to.
    """
    if path.suffix != SUFFIX:
        raise OptionError(f"A model is saved to a name that ends in {SUFFIX}. Received: {path}")
    if path.is_dir():
        raise OptionError(f"{path} is a folder: name a file to save the model to.")
    check_target(path, overwrite=True, inputs=inputs)


@contextmanager
def published(path: Path, inputs: Iterable[str] = ()) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends without an error.

    At any moment `path` holds the old file or the whole new one.

    Args:
        path: The file.
        inputs: Files that are read for it, none of which is replaced.
    """
    with Staging(path, inputs=inputs) as staging:
        yield staging.path
        staging.publish()
