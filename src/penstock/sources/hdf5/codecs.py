"""Undoes a chunk's filters, outside libhdf5 and without the GIL."""

import threading
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from penstock.sources.hdf5.index import Filters

Bytes = npt.NDArray[np.uint8]

DEFLATE = 1
SHUFFLE = 2

_deflate_decode: Any = imagecodecs.deflate_decode
"""Takes arrays too, which its type hints leave out."""

_FEW_PLANES = 32

_local = threading.local()


class ChunkError(Exception):
    """A chunk that could not be decoded; libhdf5 is asked next."""


class ShortChunkError(ChunkError):
    """A chunk that decodes to too few bytes: libhdf5 would fill up with what is in memory."""


def scratch(use: str, size: int) -> Bytes:
    """This thread's buffer for `use`, of `size` bytes; its content is lost at the next call."""
    buffer: Bytes | None = getattr(_local, use, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(_local, use, buffer)
    return buffer[:size]


def decode(data: Bytes, filters: Filters, mask: int, out: Bytes) -> None:
    """Fills `out` with the decoded bytes of a chunk.

    Args:
        data: The stored bytes.
        filters: `(id, parameters)` in the order in which they were applied.
        mask: Bit i says that filter i was skipped for this chunk.
        out: uint8, exactly as long as a decoded chunk.

    Raises:
        ShortChunkError: If they hold too little.
        ChunkError: If they are not a valid chunk for another reason.
    """
    steps = [step for i, step in enumerate(filters) if not mask >> i & 1]
    for i, (code, parameters) in reversed(list(enumerate(steps))):
        if code == DEFLATE:
            # Every filter before gzip keeps the length, so gzip's output is a whole chunk.
            target = out if i == 0 else scratch("inflated", out.size)
            data = _inflate(data, target)
        elif code == SHUFFLE:
            target = out if i == 0 else scratch("unshuffled", data.size)
            data = _unshuffle(data, parameters[0], target)
        else:
            raise ChunkError(f"filter {code} is not decoded here")
    _check_size(data.size, out.size)
    if not steps:
        out[:] = data


def _check_size(size: int, expected: int) -> None:
    if size < expected:
        raise ShortChunkError(f"the chunk holds {size} bytes instead of {expected}")
    if size > expected:
        raise ChunkError(f"the chunk holds {size} bytes instead of {expected}")


def _inflate(data: Bytes, out: Bytes) -> Bytes:
    try:
        decoded = _deflate_decode(data, out=out)
    except (RuntimeError, ValueError) as error:  # imagecodecs' own are RuntimeErrors
        raise ChunkError(str(error)) from error
    _check_size(len(decoded), out.size)
    return out


def _unshuffle(data: Bytes, item: int, out: Bytes) -> Bytes:
    """Byte k of every element lies together in `data`; leftover bytes pass through."""
    _check_size(data.size, out.size)
    count = data.size // item
    whole = count * item
    values, planes = out[:whole].reshape(count, item), data[:whole].reshape(item, count)
    if item <= _FEW_PLANES:
        # Four times as fast as one transposed copy.
        for k in range(item):
            values[:, k] = planes[k]
    else:
        values[:] = planes.T
    out[whole:] = data[whole:]
    return out
