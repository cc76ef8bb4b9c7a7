"""Metrics and their intervals, of many weightings of the rows (bootstrap resamples) at once: ``[b, n]`` to ``[b]``."""
