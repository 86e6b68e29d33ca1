"""Data written once into a form that trains faster, and checked later."""

from headrace.packing.pack import pack
from headrace.packing.verify import Verification, verify

__all__ = ["Verification", "pack", "verify"]
