"""Where samples live: one file or folder for each format."""

from headrace.sources.ahead import ReadAhead
from headrace.sources.base import (
    Arrays,
    Cost,
    Read,
    ReadPath,
    Source,
    empty_arrays,
    run_reads,
    value_bytes,
)

__all__ = [
    "Arrays",
    "Cost",
    "Read",
    "ReadAhead",
    "ReadPath",
    "Source",
    "empty_arrays",
    "run_reads",
    "value_bytes",
]
