"""From an order to batches: reading, threads, the byte budget, and the position."""

from penstock.loading.batches import Batch, Batches
from penstock.loading.items import ItemLoader
from penstock.loading.loader import Loader
from penstock.loading.report import Report, Shuffle
from penstock.loading.view import Part, View

__all__ = ["Batch", "Batches", "ItemLoader", "Loader", "Part", "Report", "Shuffle", "View"]
