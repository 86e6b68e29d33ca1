"""What a contestant handed out, and the check that it is the work it was asked for."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.data import Images, row_checksums, row_numbers

Batch = tuple[Images, npt.NDArray[np.int64]]


class WrongWork(Exception):
    """A contestant lost, repeated or damaged samples: its figure would mean nothing."""


class Handed:
    """Row numbers, labels and, if asked for, checksums of the batches of one epoch.

    The arrays are made and touched at once, so that they don't count as memory of a
    contestant's that was watched from then on.

    Attributes:
        first: `time.perf_counter()` when the first batch was there.
    """

    def __init__(self, capacity: int, checksums: bool = False) -> None:
        self.first = 0.0
        self._count = 0
        self._rows = np.full(capacity, 0, np.uint64)
        self._labels = np.full(capacity, 0, np.int64)
        self._checksums = np.full(capacity, 0, np.uint64) if checksums else None

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> npt.NDArray[np.uint64]:
        """Row numbers in the order in which they came."""
        return self._rows[: self._count]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The label that came with each row."""
        return self._labels[: self._count]

    @property
    def checksums(self) -> npt.NDArray[np.uint64] | None:
        """The checksum of each image, if it was asked for."""
        return None if self._checksums is None else self._checksums[: self._count]

    def consume(self, batches: Iterator[Batch], limit: int | None = None) -> None:
        """Takes batches as a training step would, and notes what came.

        Args:
            batches: `(images, labels)` pairs.
            limit: Batches after which to stop, None for all.

        Raises:
            WrongWork: If more rows come than there are.
        """
        for images, labels in islice(batches, limit):
            self.first = self.first or time.perf_counter()
            start, stop = self._count, self._count + len(images)
            if stop > len(self._rows):
                raise WrongWork(f"more rows came than the {len(self._rows)} of the file")
            self._rows[start:stop] = row_numbers(images)
            self._labels[start:stop] = labels
            if self._checksums is not None:
                self._checksums[start:stop] = row_checksums(images)
            self._count = stop
        close = getattr(batches, "close", None)
        if close:
            close()


def check(handed: Handed, path: Path, whole: bool) -> None:
    """Compares what was handed out with the file.

    Args:
        handed: One epoch.
        path: The file that was read.
        whole: Whether every row must be there; else only none twice.

    Raises:
        WrongWork: If a row is missing, came twice, or came with other content.
    """
    with h5py.File(path, "r") as file:
        labels, checksums = file["label"][:], file["checksum"][:]
    rows = handed.rows
    if rows.max() >= len(labels):
        raise WrongWork(f"row {rows.max()} was handed out, of {len(labels)} rows")
    seen = np.bincount(rows.astype(np.int64), minlength=len(labels))
    if seen.max() > 1:
        raise WrongWork(f"{int((seen > 1).sum())} rows came more than once")
    if whole and seen.min() < 1:
        raise WrongWork(f"{int((seen < 1).sum())} of {len(labels)} rows never came")
    if (handed.labels != labels[rows]).any():
        raise WrongWork("images came with labels of other rows")
    if handed.checksums is not None and (handed.checksums != checksums[rows]).any():
        raise WrongWork("images came with other bytes than the file's")
