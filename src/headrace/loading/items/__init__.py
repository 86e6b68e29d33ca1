"""Prefetching for user-supplied batch objects: objects that give one batch per index."""

from headrace.loading.items.loader import ItemLoader
from headrace.loading.items.stream import ItemStream

__all__ = ["ItemLoader", "ItemStream"]
