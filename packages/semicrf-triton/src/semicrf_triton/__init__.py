"""GPU kernels for exact semi-Markov CRF inference.

This version holds the package's place: it imports everywhere, exports the functions every backend exports,
and each of them raises an error that says what serves instead.
"""

from semicrf_triton._version import __version__
from semicrf_triton.functions import entropy, log_partition, posteriors, score, viterbi

__all__ = ["__version__", "entropy", "log_partition", "posteriors", "score", "viterbi"]
