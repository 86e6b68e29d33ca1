"""Reads HDF5 files that were damaged at random, for as long as one likes: `make fuzz`.

What must come of it is an error of Headrace's, or the values that h5py reads. See `__main__.py`.
"""
