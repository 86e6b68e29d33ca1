"""Errors and buffers that all decoders share."""

import threading

import numpy as np
import numpy.typing as npt

from headrace.resources import empty

Bytes = npt.NDArray[np.uint8]

_local = threading.local()


class ChunkError(Exception):
    """A chunk that is not decoded here; libhdf5 is asked next.

    The message goes on from "the chunk".

    Attributes:
        beside: Which of the chunks that hold the same rows.
    """

    beside = 0


class DamagedChunkError(ChunkError):
    """A damaged chunk, on which libhdf5 or its plugins may return wrong values, or crash."""


class ShortChunkError(DamagedChunkError):
    """A chunk that holds fewer bytes than a chunk has."""


class FilterNotDecodedError(Exception):
    """A filter that is left to libhdf5; the message says why."""


def scratch(use: str, size: int) -> Bytes:
    """This thread's buffer for `use`, of `size` bytes; its content is lost at the next call."""
    buffer: Bytes | None = getattr(_local, use, None)
    if buffer is None or buffer.size < size:
        buffer = empty(size, np.uint8)
        setattr(_local, use, buffer)
    return buffer[:size]
