"""The filters of HDF5 datasets: names, and decoders outside libhdf5."""
