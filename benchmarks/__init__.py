"""Benchmarks: one question each, as ratios to a peer or to the machine's limit in the same run."""
