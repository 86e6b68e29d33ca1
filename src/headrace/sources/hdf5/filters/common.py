"""Errors and buffers that all decoders share."""

import threading

import numpy as np
import numpy.typing as npt

from headrace.resources import empty

Bytes = npt.NDArray[np.uint8]

_local = threading.local()


class ChunkError(Exception):
    """A chunk that Headrace cannot decode; libhdf5 is tried next.

    The message is a predicate whose subject is "the chunk".

    Attributes:
        beside: The index of the chunk in its row of chunks.
    """

    beside = 0


class DamagedChunkError(ChunkError):
    """A damaged chunk; libhdf5 is not tried, since it may return wrong values or crash."""


class ShortChunkError(DamagedChunkError):
    """A chunk that decodes to fewer bytes than a chunk has."""


class FilterNotDecodedError(Exception):
    """A filter that only libhdf5 decodes; the message says why."""


def scratch(use: str, size: int) -> Bytes:
    """This thread's buffer called `use`, of `size` bytes; the next call may overwrite it."""
    buffer: Bytes | None = getattr(_local, use, None)
    if buffer is None or buffer.size < size:
        buffer = empty(size, np.uint8)
        setattr(_local, use, buffer)
    return buffer[:size]
