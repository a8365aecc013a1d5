"""The version of semicrf-spec, read by its build."""

__version__ = "0.1.0"
