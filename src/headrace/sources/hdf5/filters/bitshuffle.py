"""Decodes the filter bitshuffle, with and without a compressor."""

import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs

from headrace.sources.hdf5.filters.common import Bytes, DamagedChunkError, scratch

_codecs: Any = imagecodecs
"""Its functions take arrays, which their type hints leave out."""

_GROUP = 8
"""Elements whose bits are shuffled together; what is left over is stored as it is."""
_LARGEST_ITEM = 1 << 16

_HEADER = struct.Struct(">QI")
"""In front of compressed blocks, and of the filter lz4: bytes of all, and bytes in a block."""
_LENGTH = struct.Struct(">I")


def knows(item: int) -> bool:
    """Whether imagecodecs takes elements of `item` bytes; before 2026, 1, 2, 4 and 8 alone."""
    if item > _LARGEST_ITEM:
        return False
    try:
        _codecs.bitshuffle_decode(bytes(item * _GROUP), itemsize=item)
    except ValueError:
        return False
    return True


class Bits:
    """Bits in blocks, as they are.

    Args:
        item: Bytes of an element.
        block: Elements in a block; 0 for what the filter takes by itself.
    """

    def __init__(self, item: int, block: int) -> None:
        self._item = item
        self._block_bytes = block * item

    def undo(self, data: Bytes, out: Bytes) -> Bytes:
        return _unshuffle(data, self._item, self._block_bytes, out)


class PackedBits:
    """Bits in blocks, each of them compressed.

    Args:
        item: Bytes of an element.
        compressor: One of `COMPRESSORS`.
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
        # Longer than it need be, for the sake of `_unpack_lz4`.
        shuffled = scratch("bitshuffled", size + data.size)
        count = -(-(size - loose) // block_bytes) if block_bytes else 0
        filled = self._unpack(data[:whole], count, shuffled)
        if filled != size - loose:
            raise DamagedChunkError(f"does not hold {size} bytes, as its header says")
        shuffled[filled:size] = data[whole:]
        return _unshuffle(shuffled[:size], self._item, block_bytes, out)


def _blocks(packed: Bytes, count: int) -> Iterator[tuple[int, int]]:
    """Where the `count` blocks of a compressed chunk are, each of which follows its length."""
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
    """Decodes all blocks by one call, and returns how many bytes they hold.

    The filter lz4 stores its blocks in the same way, but takes one that is as long as the room for
    it as uncompressed. With a single length for all of them, and much room, none is.
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
    """The same for frames of Zstandard, which the decoder takes one behind the other."""
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
    # As an array, the data would need the shape of `out`.
    decoded: Bytes = _codecs.bitshuffle_decode(
        data.data, itemsize=item, blocksize=block_bytes // item, out=out
    )
    return decoded


COMPRESSORS = {2: _unpack_lz4, 3: _unpack_zstd}
"""By the number that the filter's parameters have for each."""
