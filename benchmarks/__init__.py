"""Ratios, each against something run beside it in the same run. `python -m benchmarks`, or `make bench`."""
