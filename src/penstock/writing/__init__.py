"""HDF5 files written fast: each value where it belongs, by address or chunk by chunk."""

from penstock.writing.casts import Cast
from penstock.writing.encoders import ENCODERS, Encoded, Storage
from penstock.writing.hdf5 import FileWriter

__all__ = ["ENCODERS", "Cast", "Encoded", "FileWriter", "Storage"]
