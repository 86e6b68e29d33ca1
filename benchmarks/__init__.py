"""Benchmarks of Headrace beside its peers: `python -m benchmarks run`, then `report`."""
