"""The ways of reading a dataset: rows by address, chunks by address, virtual, and h5py."""
