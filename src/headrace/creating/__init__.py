"""HDF5 files written by a program of the user's own, row by row, in any order."""

from headrace.creating.create import create

__all__ = ["create"]
