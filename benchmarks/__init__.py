"""Benchmarks of Headrace and other loaders: `python -m benchmarks run`, then `report`."""
