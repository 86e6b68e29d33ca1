"""Decodes the filter blosc2, including values stored in blocks.

README_CFRAME_FORMAT, README_CHUNK_FORMAT and README_B2ND_METALAYER of C-Blosc2 describe the format.
The filter writes frames of a single chunk. Data of two axes or more have the metalayer "b2nd":
their values are stored block by block. Frames of any other form are left to libhdf5's plugin.
"""

import itertools
import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import imagecodecs

from headrace.sources.hdf5.filters.common import Bytes, ChunkError, DamagedChunkError, scratch

_codecs: Any = imagecodecs

_FRAME = struct.Struct(">11sixQxBBxxxqxqxi")
_MAGIC = b"\x9e\xa8b2frame\0\xd2"
_REGULAR = 0x12
"""Version 2, 64-bit offsets, chunks of one length, regular blocks."""
_CONTIGUOUS = 0
_SIZES = slice(16, 47)
"""The part of a frame's header that differs from chunk to chunk."""
_METALAYERS = 87
"""The offset of the metalayers in the header."""

_CHUNK = struct.Struct("<BxBxIxxxxI6sBx6xBB")
_NEWEST = 5
_EXTENDED = 0x05
_CODECS = {0, 1, 3, 4}
"""BloscLZ, LZ4, zlib, Zstandard; for others, C-Blosc2 would look for a plugin on the machine."""
_FILTERS = {0, 1, 2, 4}
"""None, shuffle, bitshuffle, shorter mantissa."""
_SPECIAL = {0x00, 0x10, 0x20, 0x30}
"""Flags of ordinary chunks, and of chunks of only zeros, only NaN or one repeated value."""

_INDEX = struct.Struct("<2xBxI4xI16xQ")
_STORED = 0x02
_FIRST = 0
_ZEROS = 0x81 << 56
"""Offsets of the chunk: 0, or a marker for a chunk of zeros that is not stored."""

_MOST_TIMES, _MOST_BYTES = 4, 1 << 16
"""Most bytes of a chunk with the padding of its blocks; larger ones are left to libhdf5."""


@dataclass(frozen=True)
class _Blocks:
    """The layout of a chunk whose values are stored block by block, padded at the far edges.

    Attributes:
        chunk: Shape of a chunk.
        block: Shape of a block.
        item: Bytes of a value.
    """

    chunk: tuple[int, ...]
    block: tuple[int, ...]
    item: int

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """How many blocks there are along each axis."""
        return tuple(-(-c // b) for c, b in zip(self.chunk, self.block, strict=True))

    @cached_property
    def size(self) -> int:
        """Bytes of a chunk."""
        return math.prod(self.chunk) * self.item

    @cached_property
    def padded_size(self) -> int:
        """Bytes of all blocks of a chunk, including padding."""
        return math.prod(self.grid) * math.prod(self.block) * self.item

    @cached_property
    def in_order(self) -> bool:
        """Whether the order of the values is the same as without blocks."""
        last = max((k for k, n in enumerate(self.grid) if n > 1), default=0)
        return self.padded_size == self.size and math.prod(self.block[:last]) == 1

    @cached_property
    def _moves(self) -> list[tuple[Any, Any, tuple[int, ...]]]:
        """Source slices, target slices and split target shape for whole and for cut blocks."""
        axes = []
        for c, b in zip(self.chunk, self.block, strict=True):
            whole, rest = divmod(c, b)
            parts = [(slice(0, whole), slice(0, b), slice(0, whole * b), (whole, b))]
            if rest:
                last = slice(whole, whole + 1)
                parts.append((last, slice(0, rest), slice(whole * b, c), (1, rest)))
            axes.append(parts)
        moves = []
        for chosen in itertools.product(*axes):
            numbers, internals, goals, splits = zip(*chosen, strict=True)
            moves.append(((*numbers, *internals), goals, tuple(itertools.chain(*splits))))
        return moves

    def put_in_order(self, blocks: Bytes, out: Bytes) -> None:
        """Copies the values of `blocks` to `out` in the order of the chunk's axes."""
        dtype = f"u{self.item}" if self.item in (1, 2, 4, 8) else f"V{self.item}"
        source = blocks.view(dtype).reshape(self.grid + self.block)
        target = out.view(dtype).reshape(self.chunk)
        axes = len(self.chunk)
        order = (*range(0, 2 * axes, 2), *range(1, 2 * axes, 2))
        for place, goal, split in self._moves:
            target[goal].reshape(split).transpose(order)[...] = source[place]


class Blosc2Frames:
    """Decodes the chunks of one dataset; caches the layout of blocks; safe in any thread."""

    def __init__(self) -> None:
        self._last: tuple[bytes, _Blocks | None] = (b"", None)

    def undo(self, data: Bytes, out: Bytes) -> Bytes:
        """Decodes a frame into `out`, and returns the part that it filled.

        Raises:
            ChunkError: If it has a form that the filter does not write.
            DamagedChunkError: If it holds more bytes than `out`, or is inconsistent.
        """
        if data.size < _METALAYERS + _INDEX.size:
            raise DamagedChunkError(f"holds {data.size} bytes, less than a frame of blosc2")
        magic, header, length, flags, kind, size, stored, item = _FRAME.unpack_from(data.data)
        if magic != _MAGIC or flags != _REGULAR or kind != _CONTIGUOUS:
            raise ChunkError("is not a blosc2 frame of the usual form")
        end = header + stored
        if not (_METALAYERS < header <= end <= length - _INDEX.size <= data.size - _INDEX.size):
            raise DamagedChunkError(f"has {data.size} bytes, and its frame says {length}")
        blocks = self._blocks_of(data[:header], item)
        if blocks is not None and blocks.padded_size != size:
            raise ChunkError("is a frame of blosc2 with more than one chunk")
        decoded = size if blocks is None else blocks.size
        if decoded > out.size:
            raise DamagedChunkError(f"holds {decoded} bytes instead of {out.size}")
        if size > _MOST_TIMES * out.size + _MOST_BYTES:
            raise ChunkError(f"is a frame of blosc2 of {size} bytes for {out.size}")
        out = out[:decoded]
        offset = _offset(data[end:])
        if offset == _ZEROS and not stored:
            out[:] = 0
            return out
        chunk = data[header:end]
        _check_chunk(chunk, size, offset)
        if blocks is None or blocks.in_order:
            result: Bytes = _codecs.blosc2_decode(chunk, out=out)
            return result
        padded = scratch("blocks", size)
        if len(_codecs.blosc2_decode(chunk, out=padded)) != size:
            raise DamagedChunkError(f"does not hold {size} bytes, as its frame says")
        blocks.put_in_order(padded, out)
        return out

    def _blocks_of(self, header: Bytes, item: int) -> _Blocks | None:
        text = header[_SIZES.stop :].tobytes()
        seen, blocks = self._last
        if seen != text:
            blocks = _blocks_in(header.tobytes(), item)
            self._last = (text, blocks)
        return blocks


def _blocks_in(header: bytes, item: int) -> _Blocks | None:
    """The layout of blocks in the metalayers of a header; None if there are none."""
    try:
        (count,) = struct.unpack_from(">4xxH", header, _METALAYERS)
        if not count:
            return None
        name, at = struct.unpack_from(">6si", header, _METALAYERS + 7)
        kind, parts, version, axes = struct.unpack_from(">B4xBBB", header, at)
        if (count, name, kind, version) != (1, b"\xa4b2nd\xd2", 0xC6, 0) or parts < 0x95:
            raise ChunkError("is a frame of blosc2 with other metalayers than b2nd")
        # Each shape is a msgpack array, in which a type byte precedes each number.
        form = f">x{'xq' * axes}x{'xi' * axes}x{'xi' * axes}"
        numbers = struct.unpack_from(form, header, at + 8)
    except struct.error:
        raise DamagedChunkError("has a frame of blosc2 that ends too early") from None
    shape, chunk, block = numbers[:axes], numbers[axes : 2 * axes], numbers[2 * axes :]
    if (
        shape != chunk
        or item < 1
        or not all(1 <= b <= c for b, c in zip(block, chunk, strict=True))
    ):
        raise ChunkError(f"is a frame of blosc2 of shape {shape}, in blocks of {block}")
    return _Blocks(chunk, block, item)


def _offset(index: Bytes) -> int:
    """The offset of the only chunk, from the index of the frame."""
    flags, size, stored, offset = _INDEX.unpack_from(index.data)
    if not flags & _STORED or size != 8 or stored != _INDEX.size:
        raise ChunkError("is a frame of blosc2 with more than one chunk")
    return int(offset)


def _check_chunk(chunk: Bytes, size: int, offset: int) -> None:
    """Checks the chunk's header: that it is consistent, and that no plugin is needed."""
    if chunk.size < _CHUNK.size or offset != _FIRST:
        raise ChunkError("is a frame of blosc2 without a chunk")
    version, flags, nbytes, stored, used, _, more, special = _CHUNK.unpack_from(chunk.data)
    if nbytes != size or stored != chunk.size:
        raise DamagedChunkError(
            f"has {chunk.size} bytes for {size}, and its header says {stored} for {nbytes}"
        )
    if (
        version > _NEWEST
        or flags & _EXTENDED != _EXTENDED
        or flags >> 5 not in _CODECS
        or not _FILTERS.issuperset(used)
        or more
        or special not in _SPECIAL
    ):
        raise ChunkError("is a Blosc2 chunk that needs more than C-Blosc2 itself")
