"""Readers of datasets: by row, by chunk, of virtual datasets, and by h5py."""
