"""Benchmarks: the running product, driven from outside over real IRC servers. Run with ``python -m bench``."""
