"""Benchmarks of Penstock beside its peers: `python -m benchmarks run`, then `report`."""
