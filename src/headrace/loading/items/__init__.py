"""User-supplied batch objects: they give a batch for each index, and are read ahead of time."""

from headrace.loading.items.loader import ItemLoader
from headrace.loading.items.stream import ItemStream

__all__ = ["ItemLoader", "ItemStream"]
