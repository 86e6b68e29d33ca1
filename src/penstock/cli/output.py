"""The file that a trained model is saved to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import OptionError
from penstock.staging import Staging, check_target

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
    check_target(path, overwrite=True)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends without an error.

    At any moment `path` holds the old file or the whole new one.
    """
    with Staging(path) as staging:
        yield staging.path
        staging.publish()
