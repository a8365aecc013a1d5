"""The recursion compiled for the CPU: float64, deterministic, threaded. Importing registers the kernels."""

from semicrf_reference.compiled.functions import entropy, log_partition, posteriors, sample, score, viterbi

__all__ = ["entropy", "log_partition", "posteriors", "sample", "score", "viterbi"]
