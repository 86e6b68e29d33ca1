"""From an order to batches: reading, threads, the byte budget, and the position."""

from headrace.loading.batches import Batch, Batches
from headrace.loading.items import ItemLoader
from headrace.loading.loader import Loader
from headrace.loading.report import Report, Shuffle
from headrace.loading.view import SourceRows, View

__all__ = ["Batch", "Batches", "ItemLoader", "Loader", "Report", "Shuffle", "SourceRows", "View"]
