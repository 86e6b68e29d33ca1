"""Maps, casts and encodes samples in the reading threads, before they are written."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError, LossError
from headrace.loading import Loader
from headrace.order import Permutation, stream_key
from headrace.packing.plan import PackPlan
from headrace.resources import cpu_count
from headrace.spec import Indices, leaves
from headrace.writing import Encoded
from headrace.writing.direct import MOST_BYTES
from headrace.writing.encoders import checksum_of

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

SORTED = 8
"""The two-pass shuffle sorts 1/SORTED of the memory at a time."""

_SAMPLES = 8


class EncodedRows(NamedTuple):
    """The encoded values of some rows.

    Attributes:
        encoded: The encoded values of each dataset.
        checksums: The CRC-32 of the values of each dataset, shape `(1,)`; empty for shards, which
            have a SHA-256 instead.
    """

    encoded: dict[str, Encoded]
    checksums: dict[str, npt.NDArray[np.uint32]]


class Prepare:
    """Converts rows as they are read to the values that are written.

    Args:
        plan: What is packed.
    """

    def __init__(self, plan: PackPlan) -> None:
        self._plan = plan

    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """The values of each dataset, C-contiguous.

        Raises:
            DataError: If map functions give other shapes or dtypes than for the first row.
            LossError: If a cast would change a value.
        """
        pipeline = self._plan.pipeline
        if not pipeline.maps:
            found = [arrays[name] for name in self._plan.spec]
        else:
            found = leaves(pipeline.collate(arrays))
            self._check(found)
        return {
            field.name: cast(values)
            for field, cast, values in zip(self._plan.fields, self._plan.casts, found, strict=True)
        }

    def _check(self, found: list[Array]) -> None:
        expected = [(field.shape, field.dtype) for field in self._plan.spec.fields]
        came = [(array.shape[1:], array.dtype) for array in found]
        if came != expected:
            raise DataError(
                "map() gave other shapes or dtypes for some rows than for the first one: "
                f"{_listed(came)} in place of {_listed(expected)}. A dataset holds one of each."
            )


def _listed(forms: list[tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    return ", ".join(f"{shape} {dtype}" for shape, dtype in forms)


def encode(plan: PackPlan, values: Mapping[str, Array]) -> EncodedRows:
    """Encodes values for the file, with their checksums for a single file."""
    checksums = {}
    if plan.shard_rows is None:
        checksums = {name: checksum_of(array) for name, array in values.items()}
    return EncodedRows(
        {name: plan.storage.encode(array) for name, array in values.items()}, checksums
    )


class Resources(NamedTuple):
    """Memory and threads that the loaders of a plan may use.

    Attributes:
        memory: Bytes, without those that encoding takes.
        workers: Threads.
        encoding: Bytes that encoding and writing take.
        buffer: Bytes of them for write buffers.
    """

    memory: int
    workers: int
    encoding: int
    buffer: int

    @classmethod
    def of(cls, plan: PackPlan, memory: int, workers: int | None) -> "Resources":
        """Reserves memory for encoding in each thread; uses fewer threads if that is too much."""
        count = workers or cpu_count()
        if plan.scratch:
            count = min(count, max(1, memory // 2 // plan.scratch))
        buffer = min(MOST_BYTES, memory // 16)
        # One buffer to write contiguous values, two to read shards for their SHA-256.
        buffers = (plan.storage.compression is None) + 2 * (plan.shard_rows is not None)
        encoding = count * plan.scratch + buffers * buffer
        return cls(max(1, memory - encoding), count, encoding, buffer)


def encoded_pieces(
    plan: PackPlan, first: int, resources: Resources, shuffle: bool | str
) -> Iterator[EncodedRows]:
    """The pieces from row `first` on, read once, in row order or at random places.

    Args:
        plan: What is packed.
        first: A multiple of the rows of a piece.
        resources: Memory and threads.
        shuffle: False or "exact".
    """
    prepare = Prepare(plan)
    loader = plan.pipeline.loader(
        plan.piece_rows,
        lambda arrays: encode(plan, prepare(arrays)),
        shuffle=shuffle,
        seed=plan.seed or 0,
        memory=resources.memory,
        workers=resources.workers,
        keep=bool(shuffle),
    )
    return _located(plan, loader, first)


def _located(plan: PackPlan, loader: Loader, first: int) -> Iterator[EncodedRows]:
    place = first
    loader.go_to(0, first // plan.piece_rows)
    try:
        for piece in loader:
            yield piece
            place += plan.piece_rows
    except LossError as error:
        row = place + error.row
        if plan.seed is not None:
            row = int(permutation_of(plan)([row])[0])
        raise LossError(row, error.text) from error


def permutation_of(plan: PackPlan) -> Permutation:
    """The random order, which maps each position to a row of the data.

    It is the order of the first epoch of a loader with this seed and `shuffle="exact"`.
    """
    return Permutation(plan.rows, stream_key(plan.seed or 0, 0, "rows"))


def estimate(plan: PackPlan) -> int:
    """The bytes that the values take in the file: exact if uncompressed, else an estimate.

    The estimate comes from pieces that are spread over the data.
    """
    whole = plan.rows * plan.row_bytes
    if plan.storage.compression is None:
        return whole
    prepare = Prepare(plan)
    # A balanced data set has another number of samples than of rows.
    there = len(plan.pipeline.view)
    pieces = -(-there // plan.piece_rows)
    before = after = 0
    for number in np.unique(np.linspace(0, pieces - 1, _SAMPLES).astype(int)).tolist():
        start = number * plan.piece_rows
        rows: Indices = np.arange(start, min(start + plan.piece_rows, there))
        try:
            encoded = encode(plan, prepare(plan.pipeline.read(rows))).encoded
        except LossError as error:
            raise LossError(start + error.row, error.text) from error
        before += len(rows) * plan.row_bytes
        after += sum(values.nbytes for values, _ in encoded.values())
    return whole * after // before
