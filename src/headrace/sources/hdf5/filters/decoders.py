"""Decoders of the filters, which do not use libhdf5 and release the GIL."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs

from headrace.sources.hdf5.filters import bitshuffle, names
from headrace.sources.hdf5.filters.blosc2 import Blosc2Frames
from headrace.sources.hdf5.filters.common import (
    Bytes,
    ChunkError,
    DamagedChunkError,
    FilterNotDecodedError,
    scratch,
)
from headrace.sources.hdf5.filters.names import Filter

Undo = Callable[..., Bytes]

_codecs: Any = imagecodecs
"""Typed as `Any`: the functions accept arrays, but their type hints do not say so."""

_MUCH = 1 << 16

_SHUFFLED = struct.Struct("<4B5I")
"""The header of a Blosc chunk of one shuffled, uncompressed block."""
_MOST_IN_BLOSC = 255
"""Most bytes of an element that Blosc can shuffle."""

_BLOSC = struct.Struct("<4xI4xI")
_LZ4 = struct.Struct(">QI")

_SZIP_MSB, _AEC_MSB = 16, 4
_SZIP_NN, _AEC_NN = 32, 8
"""Flags of szip and libaec: most significant byte first (MSB), nearest-neighbour coding (NN)."""


@dataclass(frozen=True)
class Codec:
    """The decoder of one filter.

    Attributes:
        undo: `undo(data, out=out)` decodes into `out`, and returns the part of `out` that it
            filled. If `view` is set, `undo(data)` returns a part of `data` instead.
        growth: Bytes that the filter adds to the data; None for a compressor.
        view: Whether the decoded bytes are a part of the encoded bytes.
        head: Bytes before the data that `undo` needs to overwrite; `data` includes them.
        spare: Bytes by which `out` has to be larger than the decoded data.
        work: Memory that the decoder allocates, in multiples of the chunk size.
    """

    undo: Undo
    growth: int | None = None
    view: bool = False
    head: int = 0
    spare: int = 0
    work: int = 0


def codecs_of(step: Filter) -> tuple[Codec, ...]:
    """The codecs of a filter, in the order in which the writer applied them.

    Raises:
        FilterNotDecodedError: If only libhdf5 decodes it.
    """
    if step.code not in _CODECS:
        raise FilterNotDecodedError(f"filter {step.name} is decoded by libhdf5")
    library, make = _CODECS[step.code]
    if not getattr(getattr(_codecs, library, None), "available", False):
        raise FilterNotDecodedError(
            f"filter {step.name} is decoded by libhdf5: imagecodecs was built without {library}"
        )
    return make(step)


def copy(data: Bytes, out: Bytes) -> Bytes:
    """Copies `data` to the front of `out`."""
    if data.size > out.size:
        raise ValueError(f"it holds {data.size} bytes instead of {out.size}")
    target = out[: data.size]
    target[:] = data
    return target


def _by_imagecodecs(function: str) -> Callable[[Filter], tuple[Codec, ...]]:
    return lambda _: (Codec(getattr(_codecs, function)),)


def _deflate(_: Filter) -> tuple[Codec, ...]:
    return (Codec(_inflate),)


def _inflate(data: Bytes, out: Bytes) -> Bytes:
    try:
        decoded: Bytes = _codecs.deflate_decode(data, out=out)
    except RuntimeError:
        # Refuse decompression bombs here: libhdf5, which is tried next, does not limit memory.
        most = 2 * out.size + _MUCH
        try:
            held = len(zlib.decompressobj().decompress(data.data, most + 1))
        except zlib.error:
            held = 0
        if held > most:
            raise DamagedChunkError(f"holds more than {most} bytes instead of {out.size}") from None
        raise
    return decoded


def _bzip2(_: Filter) -> tuple[Codec, ...]:
    # The decoder stops silently at a full buffer; a spare byte shows whether data remain.
    return (Codec(_codecs.bz2_decode, spare=1),)


# shuffle: stores byte 0 of all elements, then byte 1, and so on; leftover bytes are unchanged.


def _shuffle(step: Filter) -> tuple[Codec, ...]:
    if len(step.parameters) != 1 or step.parameters[0] < 1:
        raise FilterNotDecodedError("shuffle without an element size")
    return _shuffled(step.parameters[0])


def _shuffled(item: int) -> tuple[Codec, ...]:
    if item == 1:
        return ()
    if item > _MOST_IN_BLOSC or not _codecs.BLOSC.available:
        return (Codec(lambda data, out: _transpose(data, item, out), growth=0),)

    def undo(data: Bytes, out: Bytes) -> Bytes:
        return _unshuffle(data, item, out)

    return (Codec(undo, growth=0, head=_SHUFFLED.size, work=2),)


def _unshuffle(data: Bytes, item: int, out: Bytes) -> Bytes:
    """Decodes shuffle with Blosc, five times as fast as NumPy, by prepending a Blosc header."""
    size = data.size - _SHUFFLED.size
    # Version 2, BloscLZ version 1, flags (shuffled, one block); then sizes and the block's offset.
    header = (2, 1, 0x11, item, size, size, data.size, _SHUFFLED.size - 4, size)
    _SHUFFLED.pack_into(data.data, 0, *header)
    decoded: Bytes = _codecs.blosc_decode(data, out=out)
    return decoded


def _transpose(data: Bytes, item: int, out: Bytes) -> Bytes:
    count = data.size // item
    whole = count * item
    out[:whole].reshape(count, item)[:] = data[:whole].reshape(item, count).T
    out[whole : data.size] = data[whole:]
    return out[: data.size]


# fletcher32: the data, followed by a checksum.


def _fletcher32(_: Filter) -> tuple[Codec, ...]:
    return (Codec(_checked, growth=4, view=True),)


def _checked(data: Bytes) -> Bytes:
    content = data[:-4]
    if not content.size:
        raise DamagedChunkError(f"holds {data.size} bytes, no more than a checksum")
    value = int(_codecs.h5checksum_fletcher32(content))
    stored = int.from_bytes(data[-4:].tobytes(), "little")
    # HDF5 up to 1.6.2 stored the checksum with the bytes of each half swapped.
    swapped = (value >> 8) & 0x00FF00FF | (value & 0x00FF00FF) << 8
    if stored not in (value, swapped):
        raise DamagedChunkError("does not match its checksum (fletcher32)")
    return content


# Compressors whose headers need checks that their decoders omit.


def _szip(step: Filter) -> tuple[Codec, ...]:
    parameters = step.parameters
    # Only parameters that libhdf5 writes and libaec supports; others could inflate the padding.
    if len(parameters) != 4 or not (
        parameters[1] in range(8, 33, 2)
        and parameters[2] in names.SZIP_BITS
        and parameters[1] <= parameters[3] <= names.SZIP_MOST_IN_LINE
    ):
        raise FilterNotDecodedError(f"szip with parameters {parameters} is decoded by libhdf5")
    mask, block, bits, pixels = parameters
    if bits not in (32, 64):
        return (Codec(_Scanlines(mask, block, bits, pixels).undo, work=2),)
    return (
        *_shuffled(bits // 8),
        Codec(_Scanlines(mask, block, 8, pixels, bits // 8).undo, work=2),
    )


class _Scanlines:
    """Decodes szip, which stores scan lines of pixels that are padded to whole blocks.

    Args:
        mask: The options mask of szip.
        block: Pixels in a block.
        bits: Bits of a pixel.
        pixels: Pixels in a line.
        item: Bytes of an element; 0 for those of a pixel.
    """

    def __init__(self, mask: int, block: int, bits: int, pixels: int, item: int = 0) -> None:
        pixel = 1 if bits <= 8 else 2 if bits <= 16 else 4
        blocks = -(-pixels // block)
        self._item = item or pixel
        self._line = pixels * pixel
        self._padded = blocks * block * pixel
        self._options = {
            "bitspersample": bits,
            "blocksize": block,
            "rsi": blocks,
            "flags": (_AEC_MSB if mask & _SZIP_MSB else 0) | (_AEC_NN if mask & _SZIP_NN else 0),
        }

    def undo(self, data: Bytes, out: Bytes) -> Bytes:
        size = int.from_bytes(data[:4].tobytes(), "little")
        if data.size <= 4 or size > out.size:
            raise ValueError(f"it holds {size} bytes instead of {out.size}")
        if size % self._item:
            # This happens after a compressor, for example: libhdf5 leaves the last bytes undefined.
            raise DamagedChunkError(f"holds {size} bytes, which szip does not store whole")
        out = out[:size]
        whole, rest = divmod(size, self._line)
        padded = (whole + bool(rest)) * self._padded
        target = out if padded == size else scratch("scanlines", padded)
        try:
            # If `out` were an array, its dtype would determine the bits of a pixel.
            filled = len(_codecs.aec_decode(data[4:], **self._options, out=target.data))
        except ValueError:
            # libhdf5 decodes these pixels as well, and ignores the bytes after them.
            raise ChunkError("has bytes after its last pixel") from None
        if filled != padded:
            raise DamagedChunkError(f"holds {filled} bytes instead of {padded}")
        if padded != size:
            lines = target.reshape(-1, self._padded)
            end = whole * self._line
            out[:end].reshape(-1, self._line)[:] = lines[:whole, : self._line]
            out[end:] = lines[whole:, :rest].reshape(-1)
        return out


def _lz4(_: Filter) -> tuple[Codec, ...]:
    return (Codec(_undo_lz4),)


def _undo_lz4(data: Bytes, out: Bytes) -> Bytes:
    if data.size < _LZ4.size:
        raise DamagedChunkError(f"holds {data.size} bytes, less than the header of lz4")
    size, _ = _LZ4.unpack_from(data.data)
    if size > out.size:
        raise DamagedChunkError(f"holds {size} bytes instead of {out.size}")
    # With a larger `out`, the decoder would expect a longer last block.
    decoded: Bytes = _codecs.lz4h5_decode(data, out=out[:size])
    return decoded


def _blosc(_: Filter) -> tuple[Codec, ...]:
    return (Codec(_undo_blosc, work=2),)


def _undo_blosc(data: Bytes, out: Bytes) -> Bytes:
    if data.size < _BLOSC.size:
        raise DamagedChunkError(f"holds {data.size} bytes, less than the header of blosc")
    size, stored = _BLOSC.unpack_from(data.data)
    # The decoder trusts the header, and would read beyond the data.
    if stored > data.size or size > out.size:
        raise DamagedChunkError(
            f"has {data.size} bytes for {out.size}, and its header says {stored} for {size}"
        )
    decoded: Bytes = _codecs.blosc_decode(data, out=out)
    return decoded


def _blosc2(_: Filter) -> tuple[Codec, ...]:
    return (Codec(Blosc2Frames().undo, work=5),)


# bitshuffle: bits instead of bytes, in blocks that may be compressed.


def _bitshuffle(step: Filter) -> tuple[Codec, ...]:
    parameters = step.parameters
    if len(parameters) < 3 or parameters[2] < 1:
        raise FilterNotDecodedError("bitshuffle without an element size")
    item = parameters[2]
    if not bitshuffle.knows(item):
        raise FilterNotDecodedError(f"bitshuffle of {item} bytes is decoded by libhdf5")
    block = parameters[3] if len(parameters) > 3 else 0
    compressor = parameters[4] if len(parameters) > 4 else 0
    if compressor == 0:
        return (Codec(bitshuffle.Bits(item, block).undo, growth=0),)
    if compressor not in bitshuffle.COMPRESSORS:
        raise FilterNotDecodedError(f"bitshuffle with compressor {compressor}")
    return (Codec(bitshuffle.PackedBits(item, compressor).undo, work=5),)


_CODECS: dict[int, tuple[str, Callable[[Filter], tuple[Codec, ...]]]] = {
    names.DEFLATE: ("DEFLATE", _deflate),
    names.SHUFFLE: ("NUMPY", _shuffle),  # always available
    names.FLETCHER32: ("H5CHECKSUM", _fletcher32),
    names.SZIP: ("AEC", _szip),
    names.LZF: ("LZF", _by_imagecodecs("lzf_decode")),
    names.BZIP2: ("BZ2", _bzip2),
    names.BLOSC: ("BLOSC", _blosc),
    names.BLOSC2: ("BLOSC2", _blosc2),
    names.LZ4: ("LZ4H5", _lz4),
    names.ZSTD: ("ZSTD", _by_imagecodecs("zstd_decode")),
    names.BITSHUFFLE: ("BITSHUFFLE", _bitshuffle),
}
"""For each filter, the library that imagecodecs must include, and a function for its codecs."""
