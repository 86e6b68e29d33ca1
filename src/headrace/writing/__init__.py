"""HDF5 files written fast: each value where it belongs, by address or chunk by chunk."""

from headrace.writing.casts import Cast
from headrace.writing.encoders import ENCODERS, Encoded, Storage
from headrace.writing.hdf5 import FileWriter

__all__ = ["ENCODERS", "Cast", "Encoded", "FileWriter", "Storage"]
