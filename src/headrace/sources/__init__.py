"""The interface of data sources, and one module or package for each format."""

from headrace.sources.base import (
    Arrays,
    BadRow,
    Read,
    ReadPath,
    ReadStats,
    Source,
    StagedRead,
    empty_arrays,
    renumbered,
    run_reads,
    value_bytes,
)
from headrace.sources.read_ahead import ReadAhead

__all__ = [
    "Arrays",
    "BadRow",
    "Read",
    "ReadAhead",
    "ReadPath",
    "ReadStats",
    "Source",
    "StagedRead",
    "empty_arrays",
    "renumbered",
    "run_reads",
    "value_bytes",
]
