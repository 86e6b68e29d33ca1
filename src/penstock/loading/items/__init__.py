"""Batches of somebody else's making: objects that give one for each index, read ahead of time."""

from penstock.loading.items.loader import ItemLoader, ItemStream

__all__ = ["ItemLoader", "ItemStream"]
