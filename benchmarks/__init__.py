"""Benchmarks of Headrace: `python -m benchmarks run`, then `report`."""
