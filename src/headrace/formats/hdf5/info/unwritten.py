"""Advice on rows that were never written, which read as fill values."""

from collections.abc import Iterator

import numpy as np

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.fields import READER
from headrace.formats.roles import Roles
from headrace.sources.hdf5.survey import Found


def advise(path: str, item: Found, roles: Roles | None) -> Iterator[Advice]:
    """Advice on the parts of a dataset that were never written.

    Args:
        path: The file, as it is to be named in commands.
        item: The dataset.
        roles: Which datasets are likely x and y.
    """
    storage = item.storage
    if storage is None or item.source is None or item.error or not storage.decoded_bytes:
        return
    nothing = f"Nothing was ever written to it: all {storage.length:,} rows read as its fill value."
    if storage.layout == "contiguous" and not storage.stored_bytes:
        yield Advice("never-written", (item.name,), nothing)
    if storage.chunk_shape is None or storage.written == storage.chunks:
        return
    if not storage.written:
        yield Advice("never-written", (item.name,), nothing)
        return
    missing = f"{storage.chunks - (storage.written or 0):,} of its {storage.chunks:,} chunks"
    text = f"{missing} were never written: they read as its fill value."
    end = written_end(item)
    if end is None:
        yield Advice("unwritten-rows", (item.name,), text)
        return
    named = roles if roles and item.name in roles.names else Roles(item.name)
    text += f" Rows {end:,} to {storage.length - 1:,} are among them; end={end} leaves them out."
    yield Advice("unwritten-rows", (item.name,), text, "python", named.call(READER, path, end=end))


def written_end(item: Found) -> int | None:
    """The row after the last written chunk; None if the last chunk is written, or none is."""
    storage, source = item.storage, item.source
    if storage is None or source is None or item.error or not storage.written:
        return None
    chunks = source.layout(item.name).chunks
    if storage.written == storage.chunks or chunks is None:
        return None
    written = np.flatnonzero((chunks.offsets >= 0).any(axis=1))
    end = (int(written[-1]) + 1) * chunks.shape[0]
    return end if end < storage.length else None
