"""Sums of weights that are kept as logarithms, of tensors."""

from __future__ import annotations

from array_api_compat import torch as namespace
from torch import Tensor

from semicrf_spec import semirings


def logsumexp(x: Tensor, axis: int) -> Tensor:
    """`semicrf_spec.semirings.logsumexp` of tensors, in compiled graphs too."""
    found: Tensor = semirings.logsumexp(x, axis, namespace=namespace)
    return found
