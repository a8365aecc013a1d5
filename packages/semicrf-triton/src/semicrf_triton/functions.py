"""The call signature of every backend, for GPU tensors."""

from semicrf_spec import operators
from semicrf_spec.operators import on_device, score
from semicrf_triton.operators import register

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

register()

_WHERE = ("cuda", "triton", "move them with .cuda(), or leave the backend to the device of the tensors")

log_partition = on_device(operators.log_partition, *_WHERE)
posteriors = on_device(operators.posteriors, *_WHERE)
viterbi = on_device(operators.viterbi, *_WHERE)
top_k = on_device(operators.top_k, *_WHERE)
sample = on_device(operators.sample, *_WHERE)
entropy = on_device(operators.entropy, *_WHERE)
cross_entropy = on_device(operators.cross_entropy, *_WHERE)
kl_divergence = on_device(operators.kl_divergence, *_WHERE)
