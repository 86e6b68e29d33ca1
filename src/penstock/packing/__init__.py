"""Data written once into a form that trains faster, and checked later."""

from penstock.packing.pack import pack
from penstock.packing.verify import Verification, verify

__all__ = ["Verification", "pack", "verify"]
