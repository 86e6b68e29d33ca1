"""Which items make which batch of an epoch."""

import numpy as np

from headrace.loading.items.making import Wanted
from headrace.order import Permutation

_PLAN_ITEMS = 4096
"""Items whose order is worked out at a time: one by one, it would cost more than the items."""


class BatchPlan:
    """Which items make each batch of an epoch; worked out some thousand at a time."""

    def __init__(self, length: int, size: int | None, order: Permutation | None) -> None:
        self._length = length
        self._size = size
        self._order = order
        self._first = 0
        self._items: list[int] = []

    def __getitem__(self, number: int) -> Wanted:
        """What makes batch `number`."""
        size = self._size or 1
        first, stop = number * size, min((number + 1) * size, self._length)
        if not self._first <= first < stop <= self._first + len(self._items):
            places = np.arange(first, min(first + max(_PLAN_ITEMS, size), self._length))
            self._first = first
            self._items = (places if self._order is None else self._order(places)).tolist()
        items = self._items[first - self._first : stop - self._first]
        return items if self._size else items[0]
