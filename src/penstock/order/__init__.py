"""Which rows come when: arithmetic on integers, without files, threads or clocks."""

from penstock.order.draw import Draw, Drawn, DrawnRows, DrawnWindows, Samples
from penstock.order.hashing import unit_hashes
from penstock.order.permutation import Permutation, Permutations, stream_key
from penstock.order.selection import STEP, Listed, Marks, Selection, Span, Subset
from penstock.order.shares import Ranks, largest_remainder, shares_of_classes
from penstock.order.windows import (
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
