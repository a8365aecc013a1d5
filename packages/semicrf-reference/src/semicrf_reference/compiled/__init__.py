"""The recursion compiled for the CPU: float64, deterministic, threaded. Importing registers the kernels."""

from semicrf_reference.compiled.functions import (
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
