"""Tables: columns of numbers, text and dates, and how they become fields."""

from headrace.sources.tables.encoders import (
    DateEncoder,
    Encoder,
    MatrixEncoder,
    NumberEncoder,
    TextEncoder,
)
from headrace.sources.tables.source import Parsed, TableSource, joined, text_width
from headrace.sources.tables.table import Table, named
from headrace.sources.tables.values import KINDS, Values

__all__ = [
    "KINDS",
    "DateEncoder",
    "Encoder",
    "MatrixEncoder",
    "NumberEncoder",
    "Parsed",
    "Table",
    "TableSource",
    "TextEncoder",
    "Values",
    "joined",
    "named",
    "text_width",
]
