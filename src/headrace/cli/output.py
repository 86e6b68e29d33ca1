"""Checks and atomically writes the file of a trained model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import OptionError
from headrace.staging import Staging, check_target

SUFFIX = ".keras"


def check_output(path: Path, inputs: Iterable[str] = ()) -> None:
    """Checks, before hours of training, that a model can be saved to `path`.

    Args:
        path: The file to write.
        inputs: Files that are read, none of which may be replaced.

    Raises:
        OptionError: If the name does not end in `.keras`, or `path` is a folder or an input.
        MissingFileError: If the folder is missing.
        NoPermissionError: If the folder cannot be written to.
    """
    if path.suffix != SUFFIX:
        raise OptionError(
            f"Expected a file name that ends in {SUFFIX} for the model. Received: {path}"
        )
    if path.is_dir():
        raise OptionError(f"{path} is a folder: name a file to save the model to.")
    check_target(path, overwrite=True, inputs=inputs)


@contextmanager
def published(path: Path, inputs: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary path to write to, renamed to `path` when the block ends without an error.

    At any time `path` is either the old file or the complete new file.

    Args:
        path: The file to write.
        inputs: Files that are read, none of which may be replaced.
    """
    with Staging(path, inputs=inputs) as staging:
        yield staging.path
        staging.publish()
