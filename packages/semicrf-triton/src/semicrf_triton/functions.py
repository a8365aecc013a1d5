"""The call signature of every backend, for GPU tensors."""

from semicrf_spec import operators
from semicrf_spec.operators import on_device, score
from semicrf_triton.operators import register

__all__ = ["entropy", "log_partition", "posteriors", "sample", "score", "viterbi"]

register()

_WHERE = ("cuda", "triton", "move them with .cuda(), or leave the backend to the device of the tensors")

log_partition = on_device(operators.log_partition, *_WHERE)
posteriors = on_device(operators.posteriors, *_WHERE)
viterbi = on_device(operators.viterbi, *_WHERE)
sample = on_device(operators.sample, *_WHERE)
entropy = on_device(operators.entropy, *_WHERE)
