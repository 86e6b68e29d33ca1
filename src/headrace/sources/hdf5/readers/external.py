"""Reads external storage: datasets whose bytes are in other files."""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from h5py import h5f

from headrace.errors import DataError
from headrace.sources.file import Bytes, File, Offsets


class Extent(NamedTuple):
    """A part of a dataset's bytes: `size` bytes at `offset` of a file."""

    path: str
    offset: int
    size: int


def external_pieces(
    dataset: h5py.Dataset, path: str, where: str, allowed: bool
) -> tuple[Extent, ...]:
    """The extents of a dataset in external storage, checked to be complete; () for others.

    The check is needed because libhdf5 reads zeros where a file is too short.

    Args:
        dataset: Any dataset.
        path: Its file.
        where: The dataset, for error messages.
        allowed: Whether external storage is allowed.

    Raises:
        DataError: If external storage is not allowed, or a file is missing or too short.
    """
    if not dataset.external:
        return ()
    if not allowed:
        raise DataError(
            f"{where} keeps its data in other files (external storage). These are not read by "
            "default, because an untrusted file could use them to read any file. Copy the data "
            "into one file with h5repack, or pass allow_external=True if you trust it."
        )
    needed = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    found = []
    for name, offset, size in dataset.external:
        size = needed if size == h5f.UNLIMITED else min(size, needed)
        piece = Extent(find_external(name, path), offset, size)
        needed -= size
        if not size:
            continue
        if not Path(piece.path).is_file():
            raise DataError(
                f"{where} keeps data in {piece.path!r}, which is missing. HDF5 looks for it in the "
                "current folder, or in the folder that HDF5_EXTFILE_PREFIX names."
            )
        there = Path(piece.path).stat().st_size
        if there < offset + size:
            raise DataError(
                f"{where} keeps {size} bytes at offset {offset} of {piece.path!r}, which has only "
                f"{there} bytes; HDF5 would read zeros. Restore the complete file."
            )
        found.append(piece)
    if needed:
        raise DataError(
            f"{where} is {needed} bytes longer than the external files that it lists. Write it "
            "again."
        )
    return tuple(found)


def find_external(name: str, path: str) -> str:
    """The path at which libhdf5 looks for an external file that the file at `path` refers to."""
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    return os.path.realpath(Path(prefix.replace("${ORIGIN}", str(Path(path).parent)), name))


class ExternalData:
    """The bytes of a dataset in external storage, read like one `File`.

    Args:
        owner: The HDF5 file of the dataset.
        pieces: File, offset and size of each part, in order.
    """

    def __init__(self, owner: File, pieces: Sequence[tuple[File, int, int]]) -> None:
        self._owner = owner
        self._pieces = pieces
        self._starts = np.cumsum([0, *(size for _, _, size in pieces)])

    def read_into(self, out: Bytes, offset: int) -> None:
        """Fills `out` with the bytes at `offset`."""
        stop = offset + out.size
        for (file, at, _), (low, high) in self._with_bounds():
            first, last = max(offset, low), min(stop, high)
            if first < last:
                file.read_into(out[first - offset : last - offset], at + first - low)

    def gather(self, offsets: Offsets, sizes: int, out: Bytes) -> None:
        """Fills `out` with the `sizes` bytes at each of `offsets`, in order."""
        rows = out.reshape(-1, sizes)
        for (file, at, _), (low, high) in self._with_bounds():
            inside = np.flatnonzero((offsets >= low) & (offsets + sizes <= high))
            if len(inside) == len(offsets):
                file.gather(offsets - low + at, sizes, out)
                return
            some = np.empty((len(inside), sizes), np.uint8)
            file.gather(offsets[inside] - low + at, sizes, some.reshape(-1))
            rows[inside] = some
        piece = np.searchsorted(self._starts, [offsets, offsets + sizes - 1], side="right")
        for row in np.flatnonzero(piece[0] != piece[1]).tolist():
            self.read_into(rows[row], int(offsets[row]))

    def announce(self, offsets: Offsets, sizes: int) -> bool:
        """Tells the system to fetch `sizes` bytes at `offsets`; see `File.announce`."""
        announced = False
        for (file, at, _), (low, high) in self._with_bounds():
            inside = offsets[(offsets >= low) & (offsets < high)]
            announced = file.announce(inside - low + at, sizes) or announced
        return announced

    def check_unchanged(self) -> None:
        """Checks that no file has changed; see `File.check_unchanged`."""
        for file in dict.fromkeys([self._owner, *(file for file, _, _ in self._pieces)]):
            file.check_unchanged()

    def _with_bounds(self) -> Iterator[tuple[tuple[File, int, int], tuple[int, int]]]:
        return zip(self._pieces, itertools.pairwise(self._starts.tolist()), strict=True)
