"""The files that the benchmarks read, with the row number stored in each row.

Images are smooth random colour fields with noise, in steps of 4. Like photographs, they shrink
about 1.5-fold with gzip, and contain little repetition. Counts are small 16-bit numbers, often
zero, as detectors give them; they are for filters that cannot compress such images. The first
8 bytes of a row are its number, so that the contestants' output can be checked. A row of 4 bytes
is its number.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

CHUNK_ROWS = 64
CLASSES = 10
SHAPE = (32, 32, 3)
ROW_BYTES = 32 * 32 * 3
MASK_SHAPE = (32, 32, 1)
GZIP = {"compression": "gzip", "compression_opts": 4}

_SLAB_BYTES = 4096 * ROW_BYTES
_GRID = 5
_COUNT = 6

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """How the rows of a file are stored.

    Attributes:
        name: The name in file names and records.
        title: The name in tables.
        chunk_rows: Rows in a chunk; 0 stores them contiguously.
        filters: The arguments of h5py's `create_dataset` for the filters.
        plugin: Whether h5py needs the package hdf5plugin for them.
        shape: Shape of a row.
        dtype: "uint8" for images, "uint16" for counts, "int32" for row numbers alone.
        label_rows: Labels in a chunk with gzip; 0 stores them contiguously.
        mask_rows: Masks in a chunk with gzip; 0 leaves masks out.
    """

    name: str
    title: str
    chunk_rows: int = 0
    filters: dict[str, Any] = field(default_factory=dict)
    plugin: bool = False
    shape: tuple[int, ...] = SHAPE
    dtype: str = "uint8"
    label_rows: int = 0
    mask_rows: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, without label and mask."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def fields(self) -> tuple[str, ...]:
        """The datasets that form a sample."""
        if not self.shape:
            return ("image",)
        return ("image", "label", "mask") if self.mask_rows else ("image", "label")


LAYOUTS = {
    stored.name: stored
    for stored in (
        Stored("gzip", "gzip 4, chunks of 64 images", CHUNK_ROWS, GZIP),
        Stored("chunked", "uncompressed, chunks of 64 images", CHUNK_ROWS),
        Stored("contiguous", "uncompressed, contiguous"),
    )
}
"""The files of the read benchmark."""


def image_file(folder: Path, stored: Stored, rows: int, sort: bool = False) -> Path:
    """The path of a file of rows, which is made if it does not exist.

    The file has the dataset `image (rows, *shape)`. Unless a row is a single number, it also has
    `label (rows,) int64` and `checksum (rows,) uint64` (the `row_checksums` of the images), and,
    if `stored` has masks, `mask (rows, 32, 32, 1) uint8`.

    Args:
        folder: The folder of the files.
        stored: The content of the rows, and their storage.
        rows: Number of rows.
        sort: Sort rows by label; otherwise labels are in random order. Classes have equal sizes.
    """
    path = folder / f"images-{stored.name}-{rows}{'-sorted' if sort else ''}.h5"
    return made_once(path, lambda temporary: _write(temporary, stored, rows, sort))


def made_once(path: Path, write: Callable[[Path], None]) -> Path:
    """Makes the file `path` if it does not exist: `write(temporary)`, then a rename."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def row_numbers(images: Rows) -> npt.NDArray[np.uint64]:
    """The row numbers, which are the first 8 bytes of each image, or the rows themselves."""
    if images.ndim == 1:
        return images.astype(np.uint64)
    flat = images.reshape(len(images), -1).view(np.uint8)
    return np.ascontiguousarray(flat[:, :8]).view(np.uint64).reshape(-1)


def row_checksums(images: Rows) -> npt.NDArray[np.uint64]:
    """A checksum of each image that depends on the value and position of every byte."""
    words = np.ascontiguousarray(images).reshape(len(images), -1).view(np.uint64)
    return words @ _weights(words.shape[1])


def make_images(first: int, count: int, shape: tuple[int, ...] = SHAPE) -> Rows:
    """The images `first` to `first + count - 1`, the same in every call."""
    height, width, channels = shape
    rng = np.random.default_rng([0, first])
    corners = rng.normal(128, 40, (count, _GRID, _GRID, channels)).astype(np.float32)
    down, along = _bilinear(height, _GRID), _bilinear(width, _GRID)
    images = np.einsum("ia,nabc,jb->nijc", down, corners, along, optimize=True)
    images += 12 * rng.standard_normal(images.shape, dtype=np.float32)
    pixels = np.clip(np.round(images / 4) * 4, 0, 255).astype(np.uint8, order="C")
    return _numbered(pixels, first)


def make_counts(first: int, count: int, shape: tuple[int, ...]) -> Rows:
    """The counts `first` to `first + count - 1`, with a random mean for each row."""
    rng = np.random.default_rng([1, first])
    brightness = rng.exponential(_COUNT, (count, *(1 for _ in shape)))
    return _numbered(rng.poisson(brightness, (count, *shape)).astype(np.uint16), first)


def make_labels(rows: int, sort: bool) -> npt.NDArray[np.int64]:
    """Class numbers below `CLASSES`, equally frequent, sorted or in random order."""
    labels = np.arange(rows) * CLASSES // rows
    return labels if sort else np.random.default_rng(2).permutation(labels)


def _make_rows(stored: Stored, first: int, count: int) -> Rows:
    if stored.dtype == "int32":
        return np.arange(first, first + count, dtype=np.int32)
    make = make_counts if stored.dtype == "uint16" else make_images
    return make(first, count, stored.shape)


def _numbered(rows: Rows, first: int) -> Rows:
    numbers = np.arange(first, first + len(rows), dtype=np.uint64)
    bytes_of = rows.reshape(len(rows), -1).view(np.uint8)
    bytes_of[:, :8] = numbers.view(np.uint8).reshape(len(rows), 8)
    return rows


def _bilinear(size: int, corners: int) -> npt.NDArray[np.float32]:
    """Weights of shape `(size, corners)` that spread corner values over `size` pixels."""
    place = np.linspace(0, corners - 1, size)
    distance = np.abs(place[:, None] - np.arange(corners))
    return np.clip(1 - distance, 0, 1).astype(np.float32)


@cache
def _weights(words: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng(1).integers(0, 2**63, words, np.uint64) | np.uint64(1)


def _write(path: Path, stored: Stored, rows: int, sort: bool) -> None:
    if stored.plugin:
        import hdf5plugin  # noqa: F401 - registers its filters with h5py

    slab = max(1, _SLAB_BYTES // stored.row_bytes)
    if stored.chunk_rows:
        # Whole chunks, so that no chunk is written twice.
        slab = max(1, slab // stored.chunk_rows) * stored.chunk_rows
    with h5py.File(path, "w") as file:
        shape = (rows, *stored.shape)
        image = _create(file, "image", shape, stored.dtype, stored.chunk_rows, stored.filters)
        if "label" in stored.fields:
            label = _create(file, "label", (rows,), np.int64, stored.label_rows, GZIP)
            label[:] = make_labels(rows, sort)
            checksum = file.create_dataset("checksum", (rows,), np.uint64)
        if "mask" in stored.fields:
            mask = _create(file, "mask", (rows, *MASK_SHAPE), np.uint8, stored.mask_rows, GZIP)
        for first in range(0, rows, slab):
            images = _make_rows(stored, first, min(slab, rows - first))
            part = slice(first, first + len(images))
            image[part] = images
            if "label" in stored.fields:
                checksum[part] = row_checksums(images)
            if "mask" in stored.fields:
                mask[part] = make_images(first, len(images), MASK_SHAPE)
            show_progress(path, part.stop, rows)


def show_progress(path: Path, done: int, total: int) -> None:
    """Prints the progress of making a file, if stderr is a terminal."""
    if sys.stderr.isatty():
        name = path.name.split(".")[0]
        end = "\n" if done == total else ""
        print(f"\rmaking {name}: {100 * done // total} %", end=end, file=sys.stderr, flush=True)


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, chunk_rows: int, filters: Any
) -> h5py.Dataset:
    if not chunk_rows:
        return file.create_dataset(name, shape, dtype)
    chunks = (min(chunk_rows, shape[0]), *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunks, **filters)
