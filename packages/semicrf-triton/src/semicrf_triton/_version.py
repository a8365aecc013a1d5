"""The version of semicrf-triton, read by its build."""

__version__ = "0.1.0"
