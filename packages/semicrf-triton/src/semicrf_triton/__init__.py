"""GPU kernels for exact semi-Markov CRF inference. It imports everywhere; its functions serve GPU tensors."""

from semicrf_triton._version import __version__
from semicrf_triton.functions import (
    cross_entropy,
    entropy,
    kl_divergence,
    log_partition,
    posteriors,
    sample,
    score,
    top_k,
    viterbi,
)

__all__ = [
    "__version__",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "log_partition",
    "posteriors",
    "sample",
    "score",
    "top_k",
    "viterbi",
]
