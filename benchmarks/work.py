"""Records the batches of a contestant, and checks them against the file."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.data import row_checksums, row_numbers

Batch = tuple[npt.NDArray[Any], ...]
"""Arrays with the same number of rows: images, and labels and masks if the file has them."""


class WrongSamples(Exception):
    """A contestant lost, repeated or damaged samples, so its speed would be meaningless."""


class RecordedEpoch:
    """Row numbers and, optionally, labels and checksums of the batches of one epoch.

    The arrays are allocated and written to in the constructor, before the contestant's memory is
    measured.

    Attributes:
        first: `time.perf_counter()` when the first batch arrived.
    """

    def __init__(self, capacity: int, *, labels: bool = True, checksums: bool = False) -> None:
        self.first = 0.0
        self._count = 0
        self._rows = np.full(capacity, 0, np.uint64)
        self._labels = np.full(capacity, 0, np.int64) if labels else None
        self._checksums = np.full(capacity, 0, np.uint64) if checksums else None

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> npt.NDArray[np.uint64]:
        """Row numbers in the order in which they arrived."""
        return self._rows[: self._count]

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """The label of each row; None if not recorded."""
        return None if self._labels is None else self._labels[: self._count]

    @property
    def checksums(self) -> npt.NDArray[np.uint64] | None:
        """The checksum of each image; None if not recorded."""
        return None if self._checksums is None else self._checksums[: self._count]

    def clear(self) -> None:
        """Removes the recorded epoch, so that another one can be recorded."""
        self.first = 0.0
        self._count = 0

    def consume(self, batches: Iterator[Batch], limit: int | None = None) -> None:
        """Iterates over batches and records them.

        Args:
            batches: Tuples of images, labels and masks.
            limit: Batches after which to stop, None for all.

        Raises:
            WrongSamples: If there are more rows than in the file, or masks of other rows.
        """
        for batch in islice(batches, limit):
            self.first = self.first or time.perf_counter()
            images, *_ = batch
            start, stop = self._count, self._count + len(images)
            if stop > len(self._rows):
                raise WrongSamples(f"more rows came than the {len(self._rows)} of the file")
            self._rows[start:stop] = row_numbers(images)
            if self._labels is not None:
                self._labels[start:stop] = batch[1]
            if len(batch) > 2 and (row_numbers(batch[2]) != self._rows[start:stop]).any():
                raise WrongSamples("images came with masks of other rows")
            if self._checksums is not None:
                self._checksums[start:stop] = row_checksums(images)
            self._count = stop
        close = getattr(batches, "close", None)
        if close:
            close()


def check(recorded: RecordedEpoch, path: Path, whole: bool) -> None:
    """Compares a recorded epoch with the file.

    Args:
        recorded: The recorded epoch.
        path: The file that was read.
        whole: Whether every row must occur. Otherwise rows may be missing, but not repeated.

    Raises:
        WrongSamples: If a row is missing, repeated, or has other content than in the file.
    """
    with h5py.File(path, "r") as file:
        length = len(file["image"])
        labels = None if recorded.labels is None else file["label"][:]
        checksums = None if recorded.checksums is None else file["checksum"][:]
    rows = recorded.rows
    if rows.max() >= length:
        raise WrongSamples(f"row {rows.max()} was handed out, of {length} rows")
    seen = np.bincount(rows.astype(np.int64), minlength=length)
    if seen.max() > 1:
        raise WrongSamples(f"{int((seen > 1).sum())} rows came more than once")
    if whole and seen.min() < 1:
        raise WrongSamples(f"{int((seen < 1).sum())} of {length} rows never came")
    if labels is not None and (recorded.labels != labels[rows]).any():
        raise WrongSamples("images came with labels of other rows")
    if checksums is not None and (recorded.checksums != checksums[rows]).any():
        raise WrongSamples("images came with other bytes than the file's")
