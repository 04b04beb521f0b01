"""Benchmarks whose results are ratios between competitors of one run: `python -m benchmarks`, or `make bench`."""
