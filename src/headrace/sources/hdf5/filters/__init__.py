"""The filters of HDF5 datasets: their names, and how each is undone outside libhdf5."""
