"""Parquet files: row groups are blocks, and only the columns that are needed are read."""

import time
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import DataError, FileFormatError, ReadError, some_of
from headrace.sources.base import Source
from headrace.sources.file import File
from headrace.sources.tables import Encoder, Parsed, Table, TableSource, named, text_width
from headrace.sources.tables.arrow import (
    column_of,
    encoder_of,
    flat_fields,
    flattened,
    known_column,
    values_of,
)
from headrace.spec import Column


class ParquetTable(Table):
    """The rows of Parquet files, one after the other.

    Args:
        paths: The files.

    Raises:
        MissingFileError, NoPermissionError: If one cannot be opened.
        FileFormatError: If the footer of one cannot be read.
        DataError: If they have other columns, or columns of other types, than the first one.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.files = [File(path) for path in paths]
        self.footers = [_footer(path) for path in paths]
        schemas = [dict(flat_fields(footer.schema.to_arrow_schema())) for footer in self.footers]
        self.types = schemas[0]
        self.names = tuple(self.types)
        for path, other in zip(paths[1:], schemas[1:], strict=True):
            unlike = [n for n in {**self.types, **other} if self.types.get(n) != other.get(n)]
            if unlike:
                raise DataError(
                    f"The files differ in the columns {some_of(unlike)}: {path!r}, beside "
                    f"{paths[0]!r}. Leave it out, or rewrite one of them."
                )

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": [file.path for file in self.files], "files": self.files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["paths"])  # type: ignore[misc]
        self.files = state["files"]

    @property
    def where(self) -> str:
        return named([file.path for file in self.files])

    def column(self, name: str) -> Column:
        kind = known_column(self.types, name, self.names, self.where)
        return column_of(name, kind, self._has_gaps(name), self.where)

    def _has_gaps(self, name: str) -> bool:
        """Whether values of a column may be missing, as far as the footers say."""
        for footer in self.footers:
            for group in range(footer.num_row_groups):
                rows = footer.row_group(group)
                for index in range(rows.num_columns):
                    chunk = rows.column(index)
                    if chunk.path_in_schema == name:
                        statistics = chunk.statistics
                        if statistics is None or not statistics.has_null_count:
                            return bool(footer.schema.column(index).max_definition_level)
                        if statistics.null_count:
                            return True
        return False

    def encoder(self, name: str, fill: float | None = None) -> Encoder:
        found = self.column(name)
        width = 0 if found.dtype is not None else text_width(ParquetSource(self, []), name)
        return encoder_of(found, fill, width)

    def source(self, encoders: Sequence[Encoder]) -> Source:
        return ParquetSource(self, encoders)

    @cached_property
    def groups(self) -> list[tuple[int, int, int, int]]:
        """The file, the number, the rows and the decoded bytes of each row group with rows."""
        return [
            (
                number,
                group,
                footer.row_group(group).num_rows,
                footer.row_group(group).total_byte_size,
            )
            for number, footer in enumerate(self.footers)
            for group in range(footer.num_row_groups)
            if footer.row_group(group).num_rows
        ]


def _footer(path: str) -> Any:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FileFormatError(
            f"The footer of {path!r} cannot be read: {str(error).rstrip('.')}. The file is no "
            "Parquet file, or truncated: copy or download it again."
        ) from error


class ParquetSource(TableSource):
    """Some fields of Parquet files.

    Args:
        table: The files.
        encoders: What makes the fields of the columns.
    """

    def __init__(self, table: ParquetTable, encoders: Sequence[Encoder]) -> None:
        groups = np.array(table.groups, np.int64).reshape(-1, 4)
        rows = np.append(0, np.cumsum(groups[:, 2]))
        super().__init__(encoders, rows, groups[:, 3])
        self._table = table

    @property
    def reads_whole_rows(self) -> bool:
        """Columns are stored apart."""
        return False

    def scratch(self, names: Sequence[str]) -> int:
        del names
        return 2 * int(self._size.max(initial=0))

    def _alike(self, one: int, other: int) -> bool:
        return self._table.groups[one][0] == self._table.groups[other][0]

    def _parse(
        self, blocks: Sequence[int], columns: Sequence[str], encoders: Sequence[Encoder]
    ) -> Parsed:
        del encoders
        began = time.perf_counter_ns()
        number = self._table.groups[blocks[0]][0]
        file = self._table.files[number]
        groups = [self._table.groups[block][1] for block in blocks]
        try:
            opened = pq.ParquetFile(file.path, metadata=self._table.footers[number])
            with opened:
                table = opened.read_row_groups(groups, columns=list(columns), use_threads=False)
            table = flattened(table)
            values = {name: values_of(table.column(name)) for name in columns}
        except (pa.ArrowException, OSError) as error:
            file.check_unchanged()
            raise ReadError(
                f"Row group{'s' * (len(groups) > 1)} {some_of([str(g) for g in groups])} of "
                f"{file.path!r} cannot be read: {str(error).rstrip('.')}. The file is damaged: "
                "copy or download it again."
            ) from error
        file.check_unchanged()
        stored = sum(int(self._size[block]) for block in blocks)
        return Parsed(values, {}, 0, time.perf_counter_ns() - began, stored)

    def _place(self, block: int, row: int) -> str:
        number, group, _, _ = self._table.groups[block]
        return f"{self._table.files[number].path!r}, row {row} of row group {group}"

    def _encoder(self, name: str) -> Encoder:
        return self._table.encoder(name)

    def _with(self, encoders: Sequence[Encoder]) -> Source:
        return ParquetSource(self._table, encoders)

    def files(self) -> tuple[str, ...]:
        return tuple(file.path for file in self._table.files)

    def _how(self) -> str:
        return "columns of row groups, decoded by pyarrow"

    def fingerprint(self) -> str:
        digest = blake2b(digest_size=8)
        for file in self._table.files:
            digest.update(f"{file.identity.size}".encode())
            digest.update(file.sample())
        digest.update(f"{self._encoders}".encode())
        return digest.hexdigest()
