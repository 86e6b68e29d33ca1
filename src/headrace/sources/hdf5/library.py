"""`Library`: reads a file through h5py, where direct reads are not possible."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5s, h5t
from h5py._objects import phil

from headrace.errors import (
    FileFormatError,
    HeadraceError,
    MissingFileError,
    ReadError,
    read_error,
    with_number,
)
from headrace.resources import empty
from headrace.sources.base import Arrays, empty_arrays
from headrace.sources.file import File
from headrace.sources.hdf5.filters.names import import_plugins, plugins_imported
from headrace.sources.hdf5.opening import damage_explained, open_file, refusal
from headrace.sources.hdf5.readers.members import DatasetField, fills, follow, memory_dtype
from headrace.sources.identity import Identity, look_at
from headrace.sources.open_files import Pool, next_use
from headrace.spec import Indices

# With h5py's own lock, a thread inside h5py never waits for a second lock.
_pool = Pool(1 / 8, phil)


class Library:
    """Reads a file through h5py, which one thread at a time may do.

    Each process opens the file for itself.

    Args:
        file: The file.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._handle: tuple[int, h5py.File] | None = None
        self._with_plugins = False
        self.last_use = 0

    def __getstate__(self) -> dict[str, Any]:
        with_plugins = self._with_plugins or plugins_imported()
        return {
            "_file": self._file,
            "_handle": None,
            "_with_plugins": with_plugins,
            "last_use": 0,
        }

    def read(
        self,
        name: str,
        columns: Sequence[DatasetField],
        rows: Indices,
        out: Arrays,
        doubt: str = "",
    ) -> None:
        """Fills `out[column.field.name][i]` with row `rows[i]` of a dataset.

        Args:
            name: The dataset.
            columns: What is read of it.
            rows: Ascending and close together: the rows between them are read as well.
            out: Arrays for each column.
            doubt: Why direct reading failed, for the error message.

        Raises:
            ReadError: If libhdf5 cannot read them; includes its message.
        """
        try:
            with _pool.lock:
                fill(self._open()[name], columns, rows, out)
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            # If the file has changed, that explains more than libhdf5's error.
            self._check_unchanged(name, rows)
            if isinstance(error, HeadraceError):
                raise located(error, name, rows) from error
            if refused := refusal(error):
                read = f"Reading rows {int(rows[0])} to {int(rows[-1])} of {name!r}"
                raise read_error(f"{read} in {self._file.path!r}", refused) from error
            words = f"{doubt}; libhdf5 says" if doubt else "libhdf5 says"
            raise damaged(self._file.path, name, rows, f"{words}: {error}") from error
        self._check_unchanged(name, rows)

    def _check_unchanged(self, name: str, rows: Indices) -> None:
        try:
            self._file.check_unchanged()
        except HeadraceError as error:
            raise located(error, name, rows) from error

    def _open(self) -> h5py.File:
        self.last_use = next_use()
        # A forked child must not use the parent's handle, whose state in libhdf5 it has copied.
        if self._handle is None or self._handle[0] != os.getpid():
            if self._with_plugins:
                import_plugins()
            _pool.add(self)
            opened = open_file(self._file.path)
            self.check_same(opened)
            self._handle = (os.getpid(), opened)
        return self._handle[1]

    def close(self) -> None:
        """Closes the file; the next read opens it again."""
        with _pool.lock:
            if self._handle is not None and self._handle[0] == os.getpid():
                # The caller may only be making room for another file: damage in this one is
                # not its error.
                with suppress(FileFormatError), damage_explained(self._file.path):
                    self._handle[1].close()
            self._handle = None

    def check_same(self, opened: h5py.File) -> None:
        """Checks that h5py opened the same file as `File`.

        Raises:
            ChangedFileError: If it is another file.
        """
        # On Windows, libhdf5's descriptors belong to another C library.
        if opened.driver == "sec2" and os.name == "posix":
            descriptor = opened.id.get_vfd_handle()
            self._file.check_same(lambda: Identity.of(os.fstat(descriptor)))
        else:
            self._file.check_same(lambda: look_at(self._file.path))


def fill(
    dataset: h5py.Dataset, columns: Sequence[DatasetField], rows: Indices, out: Arrays
) -> None:
    """Fills `out` as `Library.read` does, from an open dataset."""
    first, count = int(rows[0]), int(rows[-1] - rows[0]) + 1
    if len(rows) == count:
        _fill_run(dataset, columns, first, count, out)
        return
    whole = empty_arrays([column.field for column in columns], count)
    _fill_run(dataset, columns, first, count, whole)
    for name, values in whole.items():
        out[name][...] = values[rows - first]


def _fill_run(
    dataset: h5py.Dataset, columns: Sequence[DatasetField], first: int, count: int, out: Arrays
) -> None:
    """Reads all columns in one call, so that each chunk is decoded once."""
    kind = dataset.id.get_type()
    memory = memory_dtype(kind, [column.members for column in columns])
    block = (count, *dataset.shape[1:])
    first_column = columns[0]
    in_place = len(columns) == 1 and not first_column.members and not first_column.swapped
    values = out[first_column.field.name] if in_place else empty(block, memory)
    # libhdf5 may leave gaps unwritten in virtual datasets whose sources overlap.
    if dataset.is_virtual or not fills(dataset.id.get_create_plist()):
        values.reshape(-1).view(np.uint8)[:] = 0
    space = dataset.id.get_space()
    space.select_hyperslab((first, *(0 for _ in block[1:])), block)
    dataset.id.read(h5s.create_simple(block), space, values, mtype=h5t.py_create(memory))
    if not in_place:
        for column in columns:
            out[column.field.name][...] = follow(values, column.members)


def damaged(path: str, name: str, rows: Indices, words: str) -> ReadError:
    """The error for rows that neither the direct path nor libhdf5 can read."""
    return ReadError(
        f"Rows {int(rows[0])} to {int(rows[-1])} of {name!r} in {path!r} cannot be read; the file "
        f"is damaged there: {words}. "
        "Copy the file again, or leave these rows out with start= and end=."
    )


def located(error: HeadraceError, name: str, rows: npt.NDArray[np.int64]) -> HeadraceError:
    """A copy of `error` whose message names the field and the rows of the read."""
    if isinstance(error, MissingFileError):
        return error
    low, high = int(rows.min()), int(rows.max())
    kind = type(error) if isinstance(error, ReadError) else ReadError
    return with_number(kind(f"Reading rows {low} to {high} of {name!r} failed: {error}"), error)
