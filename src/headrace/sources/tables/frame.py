"""Tables in memory: data frames, Arrow tables, and whatever else gives an Arrow stream."""

import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.errors import OptionError
from headrace.sources.base import Arrays, BadRow, ReadStats, Source
from headrace.sources.tables.arrow import (
    column_of,
    encoder_of,
    flat_fields,
    flattened,
    known_column,
    values_of,
)
from headrace.sources.tables.encoders import Encoder, inputs_of
from headrace.sources.tables.source import Parsed, TableSource
from headrace.sources.tables.table import Table
from headrace.spec import Column, Indices

BLOCK_ROWS = 1 << 14


class FrameTable(Table):
    """The columns of a data frame, without a copy where Arrow needs none.

    Args:
        frame: A pandas or polars data frame, an Arrow table, a result of DuckDB, or any object
            with `__arrow_c_stream__`.

    Raises:
        OptionError: If it is something else.
    """

    def __init__(self, frame: Any) -> None:
        self.table = flattened(_arrow(frame))
        self.types = dict(flat_fields(self.table.schema))
        self.names = tuple(self.types)
        self._kind = type(frame).__name__

    @property
    def where(self) -> str:
        return f"the {self._kind}"

    def column(self, name: str) -> Column:
        kind = known_column(self.types, name, self.names, self.where)
        return column_of(name, kind, self.table.column(name).null_count > 0, self.where)

    def encoder(self, name: str, fill: float | None = None) -> Encoder:
        found = self.column(name)
        texts = () if found.dtype is not None else values_of(self.table.column(name)).texts
        return encoder_of(found, fill, max(map(len, texts or ()), default=0))

    def source(self, encoders: Sequence[Encoder]) -> Source:
        return FrameSource(self, encoders)


def _arrow(frame: Any) -> Any:
    if isinstance(frame, pa.Table):
        return frame
    if hasattr(frame, "iloc"):
        # pandas: its index is no column.
        return pa.Table.from_pandas(frame, preserve_index=False)
    if not hasattr(frame, "__arrow_c_stream__"):
        raise OptionError(
            "Expected a data frame of pandas or polars, an Arrow table, or another object with an "
            f"Arrow stream. Received: {type(frame).__name__}"
        )
    return pa.table(frame)


class FrameSource(TableSource):
    """Some fields of a table in memory.

    Args:
        table: The columns.
        encoders: What makes the fields of the columns.
    """

    def __init__(self, table: FrameTable, encoders: Sequence[Encoder]) -> None:
        length = table.table.num_rows
        rows = np.append(np.arange(0, length, BLOCK_ROWS), length)
        width = max(table.table.nbytes // max(length, 1), 1)
        super().__init__(encoders, rows, np.diff(rows) * width)
        self._table = table

    @property
    def reads_whole_rows(self) -> bool:
        """Columns lie apart in memory."""
        return False

    def addressable(self, names: Sequence[str]) -> bool:
        del names
        return True

    def scratch(self, names: Sequence[str]) -> int:
        del names
        return 2 * int(self._size.max(initial=0))

    def _parse(
        self, blocks: Sequence[int], columns: Sequence[str], encoders: Sequence[Encoder]
    ) -> Parsed:
        del encoders
        began = time.perf_counter_ns()
        parts = [
            self._table.table.slice(self._rows[block], self._rows[block + 1] - self._rows[block])
            for block in blocks
        ]
        table = pa.concat_tables(parts)
        values = {name: values_of(table.column(name)) for name in columns}
        return Parsed(values, {}, 0, time.perf_counter_ns() - began, 0)

    def read_rows(self, rows: Indices, out: Arrays) -> ReadStats:
        began = time.perf_counter_ns()
        encoders = [encoder for encoder in self._encoders if encoder.field.name in out]
        names = inputs_of(encoders)
        table = self._table.table.select(names).take(pa.array(rows))
        values = {name: values_of(table.column(name)) for name in names}
        reasons: dict[int, str] = {}
        for encoder in encoders:
            for place, name in encoder.encode(values, out[encoder.field.name]):
                reasons.setdefault(place, self._missing(int(rows[place]), name))
        bad = tuple(BadRow(int(rows[place]), why) for place, why in sorted(reasons.items()))
        return ReadStats(decode=time.perf_counter_ns() - began, bad=bad)

    def _place(self, block: int, row: int) -> str:
        return f"row {int(self._rows[block]) + row} of {self._table.where}"

    def _encoder(self, name: str) -> Encoder:
        return self._table.encoder(name)

    def _with(self, encoders: Sequence[Encoder]) -> Source:
        return FrameSource(self._table, encoders)

    def files(self) -> tuple[str, ...]:
        return ()

    def opaque(self) -> bool:
        """A table may be mapped from a file."""
        return True

    def _how(self) -> str:
        return "columns in memory, by pyarrow"

    def fingerprint(self) -> str:
        digest = blake2b(digest_size=8)
        table = self._table.table
        rows = np.unique(np.linspace(0, max(table.num_rows - 1, 0), 64).astype(np.int64))
        some = table.take(pa.array(rows)).to_pylist() if table.num_rows else []
        digest.update(f"{table.num_rows} {self._table.types} {self._encoders} {some}".encode())
        return digest.hexdigest()
