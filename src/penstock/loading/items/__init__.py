"""User-supplied batch objects: they give a batch for each index, and are read ahead of time."""

from penstock.loading.items.loader import ItemLoader
from penstock.loading.items.stream import ItemStream

__all__ = ["ItemLoader", "ItemStream"]
