"""Orders of rows in epochs: arithmetic on integers, without files or threads."""

from headrace.order.balanced import (
    BalancedRowOrder,
    BalancedSampler,
    BalancedWindowOrder,
    EpochSamples,
    SamplesByRow,
)
from headrace.order.hashing import unit_hashes
from headrace.order.orders import (
    Order,
    RowOrder,
    SequentialOrder,
    Window,
    WindowOrder,
    batch_offsets,
)
from headrace.order.permutation import Permutation, Permutations, stream_key
from headrace.order.selection import STEP, Listed, Marks, Selection, Span, Subset
from headrace.order.shares import Ranks, largest_remainder, shares_of_classes

__all__ = [
    "STEP",
    "BalancedRowOrder",
    "BalancedSampler",
    "BalancedWindowOrder",
    "EpochSamples",
    "Listed",
    "Marks",
    "Order",
    "Permutation",
    "Permutations",
    "Ranks",
    "RowOrder",
    "SamplesByRow",
    "Selection",
    "SequentialOrder",
    "Span",
    "Subset",
    "Window",
    "WindowOrder",
    "batch_offsets",
    "largest_remainder",
    "shares_of_classes",
    "stream_key",
    "unit_hashes",
]
