"""Resource limits for untrusted files."""

import math
from typing import Any

import h5py
from h5py import h5t

from headrace.errors import DataError

MOST_ROWS = 1 << 40
"""Samples; the arithmetic of an epoch counts them in pieces, and half a gigabyte counts these."""

MOST_SAMPLE_BYTES = 1 << 40
"""Bytes of one sample; no machine holds a batch of them."""

MOST_BESIDE = 1 << 16
"""Chunks that one sample is cut into; libhdf5 takes 7 kB for each while it reads the sample."""

MOST_CHUNKS = 1 << 26
"""Chunks that are looked up: their index takes a minute to read, and 900 MB."""

MOST_BLOCKS = 1 << 22
"""Blocks of rows that an epoch mixes; where there are more, several make one."""

MOST_COMPARED = 1 << 28
"""Bytes of a value; and of a chunk or a sample that is read in both ways to compare them."""

MOST_LEVELS = 32
"""Types in types, virtual datasets in virtual datasets: libhdf5 calls itself for each level, and a
thousand make it slow, ten thousand crash it."""

MOST_MAPPINGS = 1 << 17
"""Pieces of a virtual dataset; each takes a tenth of a millisecond to look at."""

MOST_GROUPS_DEEP = 1000
"""Groups in groups, and links to links."""

MOST_NAMES = 1_000_000
"""Links in a file; listing what they lead to takes some seconds."""

SUPERBLOCK_BYTES = 48
"""What every file starts with, after its user block; no samples can be there."""

_ENTRY_BYTES = 8
"""An index spends at least this on each chunk, its address; without one, chunks lie in a row."""


def most_chunks_in(file_size: int, chunk_bytes: int) -> int:
    """How many chunks of a dataset a file may have room for."""
    return min(MOST_CHUNKS, max(1 << 20, file_size // min(chunk_bytes, _ENTRY_BYTES)))


def most_stored_bytes(chunk_bytes: int) -> int:
    """The most bytes that filters make of a chunk: what they cannot compress grows by little."""
    return 2 * chunk_bytes + (1 << 20)


def check_shape(shape: tuple[int, ...], itemsize: int, where: str) -> None:
    """Makes sure that a shape can be one of samples.

    Raises:
        DataError: If there are too many, or one is too large.
    """
    if shape[0] > MOST_ROWS:
        raise DataError(
            f"{where} declares {shape[0]} samples. Expected at most {MOST_ROWS}. The file is "
            "damaged, or means to be a trap."
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
    """Makes sure that no sample is cut into too many chunks.

    Raises:
        DataError: If one is.
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
    """Makes sure that a type of an h5py dataset does not hold types in types without end.

    Raises:
        DataError: If it does.
    """
    level = [stored]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise DataError(
        f"{where} holds values of types in types, more than {MOST_LEVELS} deep. Write it again "
        "in a plainer form."
    )


def _inside(stored: Any) -> list[Any]:
    """The types that a type is made of."""
    if isinstance(stored, h5t.TypeCompoundID):
        return [stored.get_member_type(i) for i in range(stored.get_nmembers())]
    if isinstance(stored, (h5t.TypeArrayID, h5t.TypeVlenID)):
        return [stored.get_super()]
    return []
