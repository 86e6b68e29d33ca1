"""Where samples live: one file or folder for each format."""

from headrace.sources.base import (
    Arrays,
    Read,
    ReadPath,
    ReadStats,
    Source,
    empty_arrays,
    run_reads,
    value_bytes,
)
from headrace.sources.read_ahead import ReadAhead

__all__ = [
    "Arrays",
    "Read",
    "ReadAhead",
    "ReadPath",
    "ReadStats",
    "Source",
    "empty_arrays",
    "run_reads",
    "value_bytes",
]
