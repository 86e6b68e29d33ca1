"""Resource limits for untrusted files."""

import math
from typing import Any

import h5py
from h5py import h5t

from headrace.errors import DataError

MOST_ROWS = 1 << 40
"""Most samples in a data set. An epoch keeps 8 bytes per 16,384 of them: 0.5 GB here."""

MOST_SAMPLE_BYTES = 1 << 40
"""Most bytes of one sample. No machine has memory for a batch of larger ones."""

MOST_BESIDE = 1 << 16
"""Most chunks that hold parts of one sample. libhdf5 allocates 7 kB for each during a read."""

MOST_CHUNKS = 1 << 26
"""Most chunks in a dataset. The index of this many takes a minute to read, and 900 MB."""

MOST_BLOCKS = 1 << 22
"""Most blocks that the order of an epoch shuffles. Above it, adjacent blocks are merged."""

MOST_COMPARED = 1 << 28
"""Most bytes of one value. Larger chunks and samples are not compared with h5py's result."""

MOST_LEVELS = 32
"""Deepest nesting of types, and of virtual datasets. libhdf5 recurses once per level: a thousand
levels make it slow, and ten thousand crash it."""

MOST_MAPPINGS = 1 << 17
"""Most mappings of a virtual dataset. Checking one takes a tenth of a millisecond."""

MOST_GROUPS_DEEP = 1000
"""Deepest nesting of groups, and most groups on the way to one name."""

MOST_NAMES = 1_000_000
"""Most links of a file that are listed. Listing this many takes some seconds."""

SUPERBLOCK_BYTES = 48
"""Size of the smallest superblock, which follows the user block; it cannot hold samples."""

_ENTRY_BYTES = 8
"""Fewest bytes of an index per chunk: its address. Without an index, chunks are contiguous."""


def most_chunks_in(file_size: int, chunk_bytes: int) -> int:
    """An upper bound of the chunks of a dataset, from the size of its file."""
    return min(MOST_CHUNKS, max(1 << 20, file_size // min(chunk_bytes, _ENTRY_BYTES)))


def most_stored_bytes(chunk_bytes: int) -> int:
    """The most bytes of a filtered chunk: filters make incompressible data only little larger."""
    return 2 * chunk_bytes + (1 << 20)


def check_shape(shape: tuple[int, ...], itemsize: int, where: str) -> None:
    """Checks that a dataset's shape is within the limits of a data set.

    Raises:
        DataError: If there are too many samples, or a value or sample is too large.
    """
    if shape[0] > MOST_ROWS:
        raise DataError(
            f"{where} declares {shape[0]} samples. Expected at most {MOST_ROWS}. The file is "
            "damaged, or was made to exhaust memory. Copy it again, or use another file."
        )
    if itemsize > MOST_COMPARED:
        raise DataError(
            f"{where} holds values of {itemsize} bytes each. Expected at most {MOST_COMPARED}. "
            "Store arrays of numbers instead."
        )
    sample = math.prod(shape[1:]) * itemsize
    if sample > MOST_SAMPLE_BYTES:
        raise DataError(
            f"{where} declares samples of {sample} bytes, of shape {shape[1:]}. Expected at most "
            f"{MOST_SAMPLE_BYTES}: the first axis runs over samples. Reshape the data."
        )


def check_chunks(dataset: h5py.Dataset, where: str) -> None:
    """Checks that a sample is not spread over too many chunks.

    Raises:
        DataError: If it is.
    """
    beside = math.prod(
        -(-n // c) for n, c in zip(dataset.shape[1:], dataset.chunks[1:], strict=True)
    )
    if beside > MOST_BESIDE:
        raise DataError(
            f"{where} cuts each sample, of shape {dataset.shape[1:]}, into {beside} chunks. "
            f"Expected at most {MOST_BESIDE}. Write it again in larger chunks, for example with "
            "h5repack -l."
        )


def check_type(stored: Any, where: str) -> None:
    """Checks that an h5t type is nested at most `MOST_LEVELS` deep.

    Raises:
        DataError: If it is nested deeper.
    """
    level = [stored]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise DataError(
        f"{where} has a type that is nested more than {MOST_LEVELS} levels deep. Write it again "
        "with a simpler type."
    )


def _inside(stored: Any) -> list[Any]:
    """The types of the members, or of the elements, of a type."""
    if isinstance(stored, h5t.TypeCompoundID):
        return [stored.get_member_type(i) for i in range(stored.get_nmembers())]
    if isinstance(stored, (h5t.TypeArrayID, h5t.TypeVlenID)):
        return [stored.get_super()]
    return []
