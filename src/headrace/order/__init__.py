"""Which rows come when: arithmetic on integers, without files, threads or clocks."""

from headrace.order.draw import Draw, Drawn, DrawnRows, DrawnWindows, Samples
from headrace.order.hashing import unit_hashes
from headrace.order.permutation import Permutation, Permutations, stream_key
from headrace.order.selection import STEP, Listed, Marks, Selection, Span, Subset
from headrace.order.shares import Ranks, largest_remainder, shares_of_classes
from headrace.order.windows import (
    Order,
    RowOrder,
    SequentialOrder,
    Window,
    WindowOrder,
    batch_edges,
)

__all__ = [
    "STEP",
    "Draw",
    "Drawn",
    "DrawnRows",
    "DrawnWindows",
    "Listed",
    "Marks",
    "Order",
    "Permutation",
    "Permutations",
    "Ranks",
    "RowOrder",
    "Samples",
    "Selection",
    "SequentialOrder",
    "Span",
    "Subset",
    "Window",
    "WindowOrder",
    "batch_edges",
    "largest_remainder",
    "shares_of_classes",
    "stream_key",
    "unit_hashes",
]
