"""Formats of files: the table that `open` and every command ask, and one module for each."""

from headrace.formats.arrays import from_arrays, side_by_side
from headrace.formats.base import Description, Format, Location
from headrace.formats.csv.from_csv import from_csv
from headrace.formats.from_table import from_table
from headrace.formats.hdf5.from_hdf5 import from_hdf5
from headrace.formats.opening import open, open_files, rows_between  # noqa: A004 - as in `gzip.open`
from headrace.formats.parquet.from_parquet import from_parquet
from headrace.formats.table import FORMATS, format_of, open_location, register
from headrace.spec import Column

__all__ = [
    "FORMATS",
    "Column",
    "Description",
    "Format",
    "Location",
    "format_of",
    "from_arrays",
    "from_csv",
    "from_hdf5",
    "from_parquet",
    "from_table",
    "open",
    "open_files",
    "open_location",
    "register",
    "rows_between",
    "side_by_side",
]
