"""User-supplied batch objects: they give a batch for each index, and are read ahead of time."""

from penstock.loading.items.loader import ItemLoader, ItemStream

__all__ = ["ItemLoader", "ItemStream"]
