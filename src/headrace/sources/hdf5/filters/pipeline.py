"""`FilterPipeline`: decodes the chunks of a dataset."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from headrace.sources.hdf5.filters.common import (
    Bytes,
    ChunkError,
    DamagedChunkError,
    FilterNotDecodedError,
    ShortChunkError,
    scratch,
)
from headrace.sources.hdf5.filters.decoders import Codec, Undo, codecs_of, copy
from headrace.sources.hdf5.filters.names import SURE, Filter

MOST_BYTES = 1 << 29
"""Larger chunks are left to libhdf5: Blosc, which decodes shuffle, has a limit not far above."""

_MOST_PLANS = 64

_DECODER_ERRORS = (RuntimeError, ValueError, OverflowError)
"""Exceptions that imagecodecs and the decoders raise on invalid data."""

_COPY = Codec(copy, growth=0)


class _Step(NamedTuple):
    """A call of a decoder, except the last one of a plan.

    Attributes:
        undo: The decoder.
        use: The name of the scratch buffer to fill; None if the decoder returns a view.
        room: Bytes of that buffer after `head`.
        size: The expected number of decoded bytes; None if it is unknown.
        head: Bytes to leave free at the start of the buffer, for the next decoder.
    """

    undo: Undo
    use: str | None
    room: int
    size: int | None
    head: int


class _DecodePlan(NamedTuple):
    """The decoders to call for one filter mask; `last` fills the decoded chunk."""

    steps: tuple[_Step, ...]
    last: Undo


class FilterPipeline:
    """Decodes the chunks of one dataset; safe in any thread.

    Args:
        filters: Filters, in the order in which the writer applied them.
        chunk_bytes: Bytes of a decoded chunk.

    Raises:
        FilterNotDecodedError: If libhdf5 has to decode them.
    """

    def __init__(self, filters: Sequence[Filter], chunk_bytes: int) -> None:
        if filters and chunk_bytes > MOST_BYTES:
            raise FilterNotDecodedError(f"chunks of {chunk_bytes} bytes are decoded by libhdf5")
        self._filters = tuple(filters)
        self._codecs = [codecs_of(step) for step in filters]
        self._bytes = chunk_bytes
        # An upper bound of the output of inner compressors in valid files: all filters store
        # incompressible data with little overhead. It protects against decompression bombs.
        self._limit = 2 * chunk_bytes + (1 << 16)
        self._plans: dict[int, _DecodePlan] = {}
        compressors = sum(codec.growth is None for codecs in self._codecs for codec in codecs)
        # With two compressors, libhdf5 might allocate unbounded memory for a damaged chunk.
        self.asks = all(step.code in SURE for step in filters) and compressors < 2
        """Whether libhdf5 may be tried on a chunk that cannot be decoded."""

    def __reduce__(self) -> tuple[type["FilterPipeline"], tuple[tuple[Filter, ...], int]]:
        return FilterPipeline, (self._filters, self._bytes)

    @property
    def scratch(self) -> int:
        """The most bytes that decoding a chunk allocates besides its result."""
        buffers: dict[str, int] = {}
        for step in self._plan(0).steps:
            if step.use:
                buffers[step.use] = max(buffers.get(step.use, 0), step.head + step.room)
        work = max((codec.work for codecs in self._codecs for codec in codecs), default=0)
        return sum(buffers.values()) + work * self._bytes

    def decode(self, data: Bytes, mask: int, out: Bytes) -> None:
        """Fills `out` with the decoded bytes of a chunk.

        Args:
            data: The stored bytes.
            mask: The filter mask of the chunk: bit i is set if filter i was skipped.
            out: uint8 array of the size of a decoded chunk.

        Raises:
            ShortChunkError: If the data decode to fewer bytes than `out` has.
            DamagedChunkError: If they cannot be decoded, and libhdf5 must not be tried.
            ChunkError: If they cannot be decoded, but libhdf5 may be tried.
        """
        plan = self._plans.get(mask) or self._plan_for(mask)
        if not data.size:
            raise DamagedChunkError("has no bytes inside the file")
        try:
            for undo, use, room, size, head in plan.steps:
                if use is None:
                    data = undo(data)
                else:
                    buffer = scratch(use, head + room)
                    data = undo(data, out=buffer[head:])
                if data.size != size and (size is not None or not data.size):
                    self._refuse(data.size, size or 1)
                if head:
                    data = buffer[: head + data.size]
            decoded = plan.last(data, out=out).size
        except _DECODER_ERRORS as error:
            raise self._error(f"cannot be decoded: {error}") from error
        if decoded != out.size:
            self._refuse(decoded, out.size)

    def _refuse(self, size: int, expected: int) -> None:
        text = f"holds {size} bytes instead of {expected}"
        # libhdf5 cuts too long chunks, but leaves the rest of too short ones uninitialized.
        raise self._error(text) if size > expected else ShortChunkError(text)

    def _error(self, text: str) -> ChunkError:
        return ChunkError(text) if self.asks else DamagedChunkError(text)

    def _plan_for(self, mask: int) -> _DecodePlan:
        plan = self._plan(mask)
        if len(self._plans) < _MOST_PLANS:
            self._plans[mask] = plan
        return plan

    def _plan(self, mask: int) -> _DecodePlan:
        applied = [c for i, codecs in enumerate(self._codecs) if not mask >> i & 1 for c in codecs]
        # Sizes before and after each filter, which are known up to the first compressor.
        sizes: list[int | None] = [self._bytes]
        for codec in applied:
            size = sizes[-1]
            sizes.append(None if size is None or codec.growth is None else size + codec.growth)
        stages: list[tuple[Codec, int | None]] = []
        for codec, size, before in zip(applied[::-1], sizes[-2::-1], sizes[::-1], strict=False):
            if codec.head and (not stages or stages[-1][0].view):
                stages.append((_COPY, before))
            stages.append((codec, size))
        if not stages or stages[-1][0].view or stages[-1][0].spare:
            stages.append((_COPY, self._bytes))
        steps = []
        fills = 0
        for (codec, size), (following, _) in pairwise(stages):
            room = (self._limit if size is None else size) + codec.spare
            # Alternate between two buffers, because the input is in the other one.
            use = None if codec.view else f"decoded {fills % 2}"
            fills += not codec.view
            steps.append(_Step(codec.undo, use, room, size, following.head))
        return _DecodePlan(tuple(steps), stages[-1][0].undo)
