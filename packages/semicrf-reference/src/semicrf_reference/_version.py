"""The version of semicrf-reference, read by its build."""

__version__ = "0.1.0"
