"""Writes HDF5 files by address or chunk by chunk, without libhdf5 in the data path."""

from headrace.writing.casts import Cast
from headrace.writing.encoders import ENCODERS, Encoded, Storage
from headrace.writing.hdf5 import FileWriter

__all__ = ["ENCODERS", "Cast", "Encoded", "FileWriter", "Storage"]
