"""The version of semicrf-nn, read by its build."""

__version__ = "0.1.0"
