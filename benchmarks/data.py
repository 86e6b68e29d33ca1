"""The files that are read: 32x32 colour images, made once, in three layouts.

Smooth random colour fields with noise, in steps of 4: gzip shrinks them about
1.5-fold, as it does photographs, and hardly any of that is repetition. The
first 8 bytes of an image are its row number, so that work can be checked.
"""

import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

CHUNK_ROWS = 64
CLASSES = 10
SHAPE = (32, 32, 3)
ROW_BYTES = 32 * 32 * 3

LAYOUTS: dict[str, dict[str, Any]] = {
    "gzip": {"chunks": (CHUNK_ROWS, *SHAPE), "compression": "gzip", "compression_opts": 4},
    "chunked": {"chunks": (CHUNK_ROWS, *SHAPE)},
    "contiguous": {},
}

_SLAB_ROWS = 4096
_GRID = 5
_WEIGHTS = np.random.default_rng(1).integers(0, 2**63, ROW_BYTES // 8, np.uint64) | np.uint64(1)

Images = npt.NDArray[np.uint8]


def image_file(folder: Path, layout: str, rows: int, sort: bool = False) -> Path:
    """The path of a file of images, made now if it is not there.

    Datasets: `image (rows, 32, 32, 3) uint8`, `label (rows,) int64`, and
    `checksum (rows,) uint64`, the `row_checksums` of the images.

    Args:
        folder: Where files are kept.
        layout: A key of `LAYOUTS`; it concerns `image` only.
        rows: Number of images.
        sort: Rows sorted by label, else in random order; classes are equally large.
    """
    path = folder / f"images-{layout}-{rows}{'-sorted' if sort else ''}.h5"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        _write(temporary, layout, rows, sort, path.name)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def row_numbers(images: Images) -> npt.NDArray[np.uint64]:
    """The row number that each image carries in its first 8 bytes."""
    flat = images.reshape(len(images), ROW_BYTES)
    return np.ascontiguousarray(flat[:, :8]).view(np.uint64).reshape(-1)


def row_checksums(images: Images) -> npt.NDArray[np.uint64]:
    """A checksum of each image that depends on every byte and its place."""
    words = np.ascontiguousarray(images).reshape(len(images), ROW_BYTES).view(np.uint64)
    return words @ _WEIGHTS


def make_images(first: int, count: int) -> Images:
    """Images number `first .. first + count - 1`; the same at every call."""
    rng = np.random.default_rng([0, first])
    corners = rng.normal(128, 40, (count, _GRID, _GRID, 3)).astype(np.float32)
    blend = _bilinear(SHAPE[0], _GRID)
    images = np.einsum("ia,nabc,jb->nijc", blend, corners, blend, optimize=True)
    images += 12 * rng.standard_normal(images.shape, dtype=np.float32)
    pixels = np.clip(np.round(images / 4) * 4, 0, 255).astype(np.uint8, order="C")
    numbers = np.arange(first, first + count, dtype=np.uint64)
    pixels.reshape(count, ROW_BYTES)[:, :8] = numbers.view(np.uint8).reshape(count, 8)
    return pixels


def make_labels(rows: int, sort: bool) -> npt.NDArray[np.int64]:
    """Class numbers below `CLASSES`, in equal parts, sorted or in random order."""
    labels = np.arange(rows) * CLASSES // rows
    return labels if sort else np.random.default_rng(2).permutation(labels)


def _bilinear(size: int, corners: int) -> npt.NDArray[np.float32]:
    """Weights of shape `(size, corners)` that spread corner values over `size` pixels."""
    place = np.linspace(0, corners - 1, size)
    distance = np.abs(place[:, None] - np.arange(corners))
    return np.clip(1 - distance, 0, 1).astype(np.float32)


def _write(path: Path, layout: str, rows: int, sort: bool, name: str) -> None:
    with h5py.File(path, "w") as file:
        image = file.create_dataset("image", (rows, *SHAPE), np.uint8, **LAYOUTS[layout])
        checksum = file.create_dataset("checksum", (rows,), np.uint64)
        file["label"] = make_labels(rows, sort)
        for first in range(0, rows, _SLAB_ROWS):
            images = make_images(first, min(_SLAB_ROWS, rows - first))
            image[first : first + len(images)] = images
            checksum[first : first + len(images)] = row_checksums(images)
            _show_progress(name, first + len(images), rows)


def _show_progress(name: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\rmaking {name}: {100 * done // total} %", end=end, file=sys.stderr, flush=True)
