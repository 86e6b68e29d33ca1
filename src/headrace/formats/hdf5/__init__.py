"""HDF5: opened, described, and advised on."""
