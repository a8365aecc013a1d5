"""Time and memory of the algorithms over edge tensors, and what banded matrices would save."""
