"""The decoders of the filters for the ceiling, called with the least overhead."""

import struct
import threading
from collections.abc import Callable
from functools import partial

import h5py
import imagecodecs
import numpy as np

Decode = Callable[[bytes, np.ndarray], object]
"""Decodes the stored bytes of a chunk into an array of uint8 of the decoded size."""

_DEFLATE, _SHUFFLE, _LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_LZF
_BLOSC, _LZ4, _ZSTD, _BLOSC2 = 32001, 32004, 32015, 32026

_SHUFFLED = struct.Struct("<4B5I")
_local = threading.local()


def decoder_of(dataset: h5py.Dataset) -> Decode | None:
    """The decoder for a dataset's filters; None if it has no filters."""
    plist = dataset.id.get_create_plist()
    codes = tuple(plist.get_filter(number)[0] for number in range(plist.get_nfilters()))
    if codes == (_SHUFFLE, _DEFLATE):
        return partial(_shuffled_deflate, dataset.dtype.itemsize)
    return _DECODERS[codes] if codes else None


def _blosc2(data: bytes, out: np.ndarray) -> None:
    """Decodes the chunk inside a Blosc2 frame.

    Its images are in order, since each Blosc2 block holds whole images.
    """
    start = int.from_bytes(data[11:15], "big")
    size = int.from_bytes(data[39:47], "big")
    imagecodecs.blosc2_decode(memoryview(data)[start : start + size], out=out)


def _shuffled_deflate(item: int, data: bytes, out: np.ndarray) -> None:
    """Decodes shuffle and gzip; unshuffles with Blosc, which is several times as fast as NumPy.

    The inflated bytes get the header of an uncompressed, shuffled Blosc buffer.
    """
    end = _SHUFFLED.size + out.size
    if getattr(_local, "block", np.empty(0)).size != end:
        _local.block = np.empty(end, np.uint8)
    block = _local.block
    imagecodecs.deflate_decode(data, out=block[_SHUFFLED.size :])
    # The Blosc header: version 2, shuffled, one block; the sizes; the offset of the block.
    header = (2, 1, 0x11, item, out.size, out.size, end, _SHUFFLED.size - 4, out.size)
    _SHUFFLED.pack_into(block, 0, *header)
    imagecodecs.blosc_decode(block, out=out)


def _by(function: Callable[..., object]) -> Decode:
    return lambda data, out: function(data, out=out)


_DECODERS: dict[tuple[int, ...], Decode] = {
    (_DEFLATE,): _by(imagecodecs.deflate_decode),
    (_LZF,): _by(imagecodecs.lzf_decode),
    (_LZ4,): _by(imagecodecs.lz4h5_decode),
    (_ZSTD,): _by(imagecodecs.zstd_decode),
    (_BLOSC,): _by(imagecodecs.blosc_decode),
    (_BLOSC2,): _blosc2,
}
