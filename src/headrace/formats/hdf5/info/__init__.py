"""What `headrace info` says about HDF5 files."""
