"""The oracle: the recursion in plain float64 PyTorch, differentiable by autograd any number of times."""

from semicrf_reference.eager.edges import edges
from semicrf_reference.eager.sample import sample
from semicrf_reference.eager.scan import partition
from semicrf_reference.eager.sums import cross_entropy, entropy, kl_divergence, log_partition, posteriors
from semicrf_reference.eager.viterbi import top_k, viterbi
from semicrf_spec.operators import score

__all__ = [
    "cross_entropy",
    "edges",
    "entropy",
    "kl_divergence",
    "log_partition",
    "partition",
    "posteriors",
    "sample",
    "score",
    "top_k",
    "viterbi",
]
