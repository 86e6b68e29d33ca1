"""A file as h5py sees it."""

import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from penstock.errors import MissingFileError, PenstockError, ReadError
from penstock.sources.file import File, Identity
from penstock.sources.hdf5.opening import open_file
from penstock.spec import Indices

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A fork waits for a read that is under way: the child gets the lock free, and libhdf5 at rest.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


class Library:
    """Reads through h5py: opened once for each process, used by one thread at a time.

    Args:
        file: The file.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._handle: tuple[int, h5py.File] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_file": self._file, "_handle": None}

    def read(self, name: str, rows: Indices, out: npt.NDArray[Any]) -> None:
        """Fills `out[i]` with row `rows[i]`; rows ascend and lie close together.

        Raises:
            ReadError: With libhdf5's words, if it cannot read them.
        """
        try:
            with _lock:
                _fill(self._open()[name], rows, out)
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            # A change explains more than what libhdf5 stumbled over.
            self._check_unchanged(name, rows)
            if isinstance(error, PenstockError):
                raise located(error, name, rows) from error
            raise damaged(self._file.path, name, rows, f"libhdf5 says: {error}") from error
        self._check_unchanged(name, rows)

    def _check_unchanged(self, name: str, rows: Indices) -> None:
        try:
            self._file.check_unchanged()
        except PenstockError as error:
            raise located(error, name, rows) from error

    def _open(self) -> h5py.File:
        # After a fork the parent's handle must not be used: libhdf5's state went along with it.
        if self._handle is None or self._handle[0] != os.getpid():
            opened = open_file(self._file.path)
            self.check_same(opened)
            self._handle = (os.getpid(), opened)
        return self._handle[1]

    def check_same(self, opened: h5py.File) -> None:
        """Makes sure that h5py opened the file that `File` describes.

        Raises:
            ChangedFileError: If it is another one.
        """
        if opened.driver == "sec2":
            status = os.fstat(opened.id.get_vfd_handle())
        else:
            status = Path(self._file.path).stat()
        self._file.check_same(Identity.of(status))


def _fill(dataset: h5py.Dataset, rows: Indices, out: npt.NDArray[Any]) -> None:
    first, stop = int(rows[0]), int(rows[-1]) + 1
    if len(rows) == stop - first and dataset.dtype.subdtype is None:
        # Where nothing was written and nothing is to be filled in, libhdf5 leaves what there was.
        out.reshape(-1).view(np.uint8).fill(0)
        dataset.read_direct(out, np.s_[first:stop])
    else:
        out[...] = dataset[first:stop][rows - first]


def damaged(path: str, name: str, rows: Indices, words: str) -> ReadError:
    """The error for rows that nobody can read."""
    return ReadError(
        f"Rows {int(rows[0])} to {int(rows[-1])} of {name!r} in {path!r} cannot be read; the file "
        f"is damaged there: {words}. "
        "Copy the file again, or leave these rows out with start= and end=."
    )


def located(error: PenstockError, name: str, rows: npt.NDArray[np.int64]) -> PenstockError:
    """`error`, with the field and the rows that were asked for."""
    if isinstance(error, MissingFileError):
        return error
    low, high = int(rows.min()), int(rows.max())
    kind = type(error) if isinstance(error, ReadError) else ReadError
    return kind(f"Reading rows {low} to {high} of {name!r} failed: {error}")
