"""Encodes values for a file: uncompressed or as compressed chunks, with their checksum."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from h5py import h5d, h5p, h5z

from headrace.sources.hdf5.filters.names import BZIP2, DEFLATE, LZ4, LZF, ZSTD

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


class Encoder(NamedTuple):
    """A compressor.

    Attributes:
        code: The ID of HDF5's filter.
        encode: Compresses bytes at a level.
        levels: The levels, the default first; empty for a compressor without levels.
        plugin: Whether h5py needs hdf5plugin to read the chunks.
    """

    code: int
    encode: Callable[[Bytes, int], bytes]
    levels: tuple[int, ...] = ()
    plugin: bool = False


def _codec(name: str, *, leveled: bool = True) -> Callable[[Bytes, int], bytes]:
    """A compressor of imagecodecs, which is imported at the first use."""

    def encode(data: Bytes, level: int) -> bytes:
        function = getattr(import_module("imagecodecs"), name)
        return bytes(function(data, level) if leveled else function(data))

    return encode


ENCODERS = {
    "gzip": Encoder(DEFLATE, _codec("deflate_encode"), (4, *range(1, 10))),
    "lzf": Encoder(LZF, _codec("lzf_encode", leveled=False)),
    "zstd": Encoder(ZSTD, _codec("zstd_encode"), (3, *range(1, 23)), plugin=True),
    "lz4": Encoder(LZ4, _codec("lz4h5_encode", leveled=False), plugin=True),
    "bzip2": Encoder(BZIP2, _codec("bz2_encode"), (9, *range(1, 10)), plugin=True),
}
"""The compressors, by their names in h5py and hdf5plugin."""


class Encoded(NamedTuple):
    """The encoded values of some rows of a field.

    Attributes:
        values: An array of values, or the bytes of a chunk.
        mask: Bit i is set if filter i was skipped; shape `(1,)`.
    """

    values: Array
    mask: npt.NDArray[np.uint32]


_NOTHING_SKIPPED = np.zeros(1, np.uint32)


@dataclass(frozen=True)
class Storage:
    """How a field is stored.

    Attributes:
        compression: A name in `ENCODERS`; None for contiguous values.
        level: The level of the compressor.
        chunk_rows: Samples in a chunk.
    """

    compression: str | None = None
    level: int = 0
    chunk_rows: int = 0

    def properties(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> h5p.PropDCID:
        """HDF5's properties of a dataset of samples of this shape."""
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        plist.set_fill_time(h5d.FILL_TIME_NEVER)
        if self.compression is None:
            plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
            return plist
        plist.set_chunk((self.chunk_rows, *shape))
        if dtype.itemsize > 1:
            plist.set_shuffle()
        encoder = ENCODERS[self.compression]
        if encoder.code == DEFLATE:
            plist.set_deflate(self.level)
        else:
            # Optional, since libhdf5 need not have the filter: chunks are compressed before.
            parameters = (self.level,) if encoder.levels else ()
            plist.set_filter(encoder.code, h5z.FLAG_OPTIONAL, parameters)
        return plist

    def encode(self, values: Array) -> Encoded:
        """Encodes the values of a chunk, or of any rows of contiguous storage.

        Args:
            values: C-contiguous, shape `(rows, ...)`; a last chunk may have fewer rows.
        """
        if self.compression is None:
            return Encoded(values, _NOTHING_SKIPPED)
        missing = self.chunk_rows - len(values)
        if missing:
            padding = np.zeros((missing, *values.shape[1:]), values.dtype)
            values = np.concatenate([values, padding])
        data = values.reshape(-1).view(np.uint8)
        shuffled = values.dtype.itemsize > 1
        if shuffled:
            data = np.ascontiguousarray(data.reshape(-1, values.dtype.itemsize).T).reshape(-1)
        packed = ENCODERS[self.compression].encode(data, self.level)
        if len(packed) < data.nbytes:
            return Encoded(np.frombuffer(packed, np.uint8), _NOTHING_SKIPPED)
        return Encoded(data, np.array([1 << shuffled], np.uint32))


def checksum_of(values: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """The CRC-32 of the bytes of C-contiguous values, shape `(1,)`.

    The value of `zlib.crc32`, computed at the speed of memory.
    """
    import imagecodecs

    data: Any = values.reshape(-1).view(np.uint8).data
    return np.array([imagecodecs.deflate_crc32(data)], np.uint32)
