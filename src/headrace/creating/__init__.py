"""HDF5 files that the user's own program writes row by row, in any order."""

from headrace.creating.create import create

__all__ = ["create"]
