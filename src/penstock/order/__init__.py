"""Which rows come when: arithmetic on integers, without files, threads or clocks."""

from penstock.order.permutation import Permutation, stream_key
from penstock.order.selection import Selection, Span, Subset
from penstock.order.windows import (
    Order,
    RowOrder,
    SequentialOrder,
    Window,
    WindowOrder,
    batch_edges,
)

__all__ = [
    "Order",
    "Permutation",
    "RowOrder",
    "Selection",
    "SequentialOrder",
    "Span",
    "Subset",
    "Window",
    "WindowOrder",
    "batch_edges",
    "stream_key",
]
