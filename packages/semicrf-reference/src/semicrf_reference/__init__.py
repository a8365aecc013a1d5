"""Exact semi-Markov CRF inference on the CPU: `eager`, the oracle, and `compiled`, the fast path.

Both export `log_partition`, `posteriors`, `viterbi`, `sample`, `entropy` and `score`, with one signature.
`scan` sums over edge tensors, in every semiring.
"""

from semicrf_reference import compiled, eager, scan
from semicrf_reference._version import __version__

__all__ = ["__version__", "compiled", "eager", "scan"]
