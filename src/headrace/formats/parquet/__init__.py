"""Parquet files: how they are recognised and opened."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from headrace.formats.base import Format, Location
from headrace.formats.tables import TableLocation

_MAGIC = b"PAR1"


class Parquet(Format):
    """Files of columns in row groups; or a folder of such files."""

    name: ClassVar[str] = "Parquet"
    reader: ClassVar[str] = "hr.from_parquet"
    options: ClassVar[dict[str, str]] = {"fill": "a number in place of each missing one"}

    def recognises(self, path: Path, start: bytes) -> bool:
        return start.startswith(_MAGIC) or (path.is_dir() and any(path.rglob("*.parquet")))

    def open(self, path: str, **options: Any) -> Location:
        return ParquetLocation(self.files(path), options)

    def open_all(self, paths: Sequence[str], options: Mapping[str, Any]) -> list[Location]:
        return [ParquetLocation(paths, options)]

    def files(self, path: str) -> list[str]:
        if not Path(path).is_dir():
            return [path]
        return sorted(str(file) for file in Path(path).rglob("*.parquet"))


class ParquetLocation(TableLocation):
    """Files as one table."""

    format_name: ClassVar[str] = "Parquet"

    def __init__(self, paths: Sequence[str], options: Mapping[str, Any]) -> None:
        super().__init__(paths[0], options.get("fill"))
        self._paths = [os.path.realpath(path) for path in paths]

    def _open(self) -> Any:
        from headrace.sources.parquet import ParquetTable

        return ParquetTable(self._paths)
