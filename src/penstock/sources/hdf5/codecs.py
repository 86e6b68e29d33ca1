"""Undoes a chunk's filters, outside libhdf5 and without the GIL."""

import threading

import imagecodecs
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

DEFLATE = 1
SHUFFLE = 2

_local = threading.local()


class ChunkError(Exception):
    """A chunk that could not be decoded; libhdf5 is asked next."""


def scratch(use: str, size: int) -> Bytes:
    """This thread's buffer for `use`, at least `size` bytes; its content is lost at the next call."""
    buffer: Bytes | None = getattr(_local, use, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(_local, use, buffer)
    return buffer[:size]


def decode(
    data: Bytes, filters: tuple[tuple[int, tuple[int, ...]], ...], mask: int, out: Bytes
) -> None:
    """Fills `out` with the decoded bytes of a chunk.

    Args:
        data: The stored bytes.
        filters: `(id, parameters)` in the order in which they were applied.
        mask: Bit i says that filter i was skipped for this chunk.
        out: uint8, exactly as long as a decoded chunk.

    Raises:
        ChunkError: If the bytes are not a valid chunk of that length.
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
    if data.size != out.size:
        raise ChunkError(f"{data.size} bytes instead of {out.size}")
    if not steps:
        out[:] = data


def _inflate(data: Bytes, out: Bytes) -> Bytes:
    try:
        decoded = imagecodecs.deflate_decode(data, out=out)
    except Exception as error:  # imagecodecs has one exception class for each codec
        raise ChunkError(str(error)) from error
    if len(decoded) != out.size:
        raise ChunkError(f"gzip gave {len(decoded)} bytes instead of {out.size}")
    return out


def _unshuffle(data: Bytes, item: int, out: Bytes) -> Bytes:
    """Byte k of every element lies together in `data`; leftover bytes pass through."""
    if data.size != out.size:
        raise ChunkError(f"{data.size} bytes instead of {out.size}")
    count = data.size // item
    whole = count * item
    out[:whole].reshape(count, item)[:] = data[:whole].reshape(item, count).T
    out[whole:] = data[whole:]
    return out
