"""Decodes the filter bitshuffle, with and without a compressor."""

import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs

from headrace.sources.hdf5.filters.common import Bytes, DamagedChunkError, scratch

_codecs: Any = imagecodecs
"""Typed as `Any`: the functions accept arrays, but their type hints do not say so."""

_GROUP = 8
"""Elements whose bits are shuffled together; leftover elements are stored unchanged."""
_LARGEST_ITEM = 1 << 16

_HEADER = struct.Struct(">QI")
"""The header of compressed chunks, as of the filter lz4: decoded bytes, and bytes per block."""
_LENGTH = struct.Struct(">I")


def knows(item: int) -> bool:
    """Whether imagecodecs supports elements of `item` bytes; before 2026 only 1, 2, 4 and 8."""
    if item > _LARGEST_ITEM:
        return False
    try:
        _codecs.bitshuffle_decode(bytes(item * _GROUP), itemsize=item)
    except ValueError:
        return False
    return True


class Bits:
    """Decodes shuffled bits without compression.

    Args:
        item: Bytes of an element.
        block: Elements in a block; 0 for the filter's default.
    """

    def __init__(self, item: int, block: int) -> None:
        self._item = item
        self._block_bytes = block * item

    def undo(self, data: Bytes, out: Bytes) -> Bytes:
        return _unshuffle(data, self._item, self._block_bytes, out)


class PackedBits:
    """Decodes shuffled bits in compressed blocks.

    Args:
        item: Bytes of an element.
        compressor: A key of `COMPRESSORS`.
    """

    def __init__(self, item: int, compressor: int) -> None:
        self._item = item
        self._unpack = COMPRESSORS[compressor]

    def undo(self, data: Bytes, out: Bytes) -> Bytes:
        if data.size < _HEADER.size:
            raise DamagedChunkError(f"holds {data.size} bytes, less than the header of bitshuffle")
        size, block_bytes = _HEADER.unpack_from(data.data)
        loose = size // self._item % _GROUP * self._item
        if size > out.size or data.size < _HEADER.size + loose:
            raise DamagedChunkError(f"holds {size} bytes instead of {out.size}")
        whole = data.size - loose
        # `_unpack_lz4` needs a buffer larger than the decoded data.
        shuffled = scratch("bitshuffled", size + data.size)
        count = -(-(size - loose) // block_bytes) if block_bytes else 0
        filled = self._unpack(data[:whole], count, shuffled)
        if filled != size - loose:
            raise DamagedChunkError(f"does not hold {size} bytes, as its header says")
        shuffled[filled:size] = data[whole:]
        return _unshuffle(shuffled[:size], self._item, block_bytes, out)


def _blocks(packed: Bytes, count: int) -> Iterator[tuple[int, int]]:
    """The bounds of the `count` blocks of a compressed chunk; each block follows its length."""
    view = packed.data
    at = _HEADER.size
    for _ in range(count):
        start = at + _LENGTH.size
        if start > packed.size:
            break
        at = start + _LENGTH.unpack_from(view, at)[0]
        if at > packed.size:
            break
        yield start, at
    else:
        if at == packed.size:
            return
    raise DamagedChunkError(f"does not hold {count} blocks of bitshuffle, as its header says")


def _unpack_lz4(packed: Bytes, count: int, out: Bytes) -> int:
    """Decodes all blocks with one call, and returns how many bytes they hold.

    The decoder of the filter lz4 reads the same format, but takes a block as uncompressed if its
    stored length equals the block length. The header is replaced by one whose block length is
    larger than any stored block, so that this never happens.
    """
    for _ in _blocks(packed, count):
        pass
    if not count:
        return 0
    framed = scratch("packed", packed.size)
    framed[:] = packed
    _HEADER.pack_into(framed.data, 0, out.size, out.size)
    return len(_codecs.lz4h5_decode(framed, out=out))


def _unpack_zstd(packed: Bytes, count: int, out: Bytes) -> int:
    """Decodes all blocks, which are Zstandard frames, as one concatenated stream."""
    joined = scratch("packed", packed.size)
    end = 0
    for start, stop in _blocks(packed, count):
        joined[end : end + stop - start] = packed[start:stop]
        end += stop - start
    return len(_codecs.zstd_decode(joined[:end], out=out)) if end else 0


def _unshuffle(data: Bytes, item: int, block_bytes: int, out: Bytes) -> Bytes:
    group = item * _GROUP
    if data.size % item or block_bytes % group:
        raise DamagedChunkError(
            f"holds {data.size} bytes in blocks of {block_bytes}, for elements of {item}"
        )
    # If the data were passed as an array, the decoder would require the shape of `out`.
    decoded: Bytes = _codecs.bitshuffle_decode(
        data.data, itemsize=item, blocksize=block_bytes // item, out=out
    )
    return decoded


COMPRESSORS = {2: _unpack_lz4, 3: _unpack_zstd}
"""Decoders of compressed blocks, by the compressor's number in the filter's parameters."""
