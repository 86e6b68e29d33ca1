"""`pack` and `verify`: rewrite data once so that it trains faster, and check it later."""

from headrace.packing.pack import pack
from headrace.packing.verify import Verification, verify

__all__ = ["Verification", "pack", "verify"]
