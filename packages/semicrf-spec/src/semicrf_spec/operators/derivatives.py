"""The derivative of a log partition by each of its terms: the expected count of that term, a posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from semicrf_spec.potentials import SHAPES, axes_of
from semicrf_spec.serial import DTYPES, for_numpy

Terms = tuple[Tensor | None, ...]
Statistics = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
Weighing = Callable[[Tensor, torch.dtype, bool], Tensor]
"""`counts[b] * weights[b]` in a dtype, of each sequence or summed over them."""


class LogPartition(torch.autograd.Function):
    """`log_partition` of terms that learn: one scan, with the posteriors kept for the way back.

    What the operators do in compiled graphs, in half the time that PyTorch takes for an operator's own rule.
    """

    @staticmethod
    def forward(ctx: Any, *terms: Tensor | None) -> Tensor:
        """The log partitions `(B,)`."""
        total: Tensor
        total, *statistics = torch.ops.semicrf.posteriors(*terms, needs_boundaries(terms))
        ctx.save_for_backward(*terms, *statistics)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the terms; to differentiate them takes one more scan."""
        saved = ctx.saved_tensors
        terms, statistics = saved[: len(SHAPES)], saved[len(SHAPES) :]
        if torch.is_grad_enabled():
            statistics = torch.ops.semicrf.posteriors(*terms, needs_boundaries(terms))[1:]
        return gradients(grad, statistics, terms, ctx.needs_input_grad)


def needs_boundaries(terms: Terms) -> bool:
    """Whether gradients take `begins` and `ends`: where there is a term for them."""
    begin, finish = terms[5:7]
    return begin is not None or finish is not None


def gradients(
    grad: Tensor, statistics: Statistics, terms: Terms, needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Gradient of every term that needs one, given `(B,)` gradients of the log partitions."""
    position, begins, ends, transitions, durations, first, last = statistics
    counted = (position, transitions, durations, first, last, begins, ends)
    weigh = _weighing(grad, position)

    def weighted(name: str, counts: Tensor, term: Tensor | None, needed: bool) -> Tensor | None:
        if term is None or not needed:
            return None
        return weigh(counts, term.dtype, axes_of(name, term)[0] == "B")

    with np.errstate(all="ignore"):
        return *map(weighted, SHAPES, counted, terms, needed), None, None


def _weighing(grad: Tensor, counts: Tensor) -> Weighing:
    """By numpy, on one thread, where nothing is recorded, be it for gradients or by a mode."""
    weights = grad.to(counts.dtype)
    recorded = torch.is_grad_enabled() or _get_current_dispatch_mode() is not None
    if for_numpy(counts) and type(counts) is type(weights) is Tensor and not recorded:
        with suppress(RuntimeError):  # no memory of its own, as under vmap
            return partial(_weighted_by_numpy, weights.numpy(force=True))
    return partial(_weighted, weights)


def _weighted_by_numpy(weights: Any, counts: Tensor, dtype: torch.dtype, each: bool) -> Tensor:
    own, real = counts.numpy(), DTYPES.get(str(dtype))
    if real is None:
        return _weighted_by_numpy(weights, counts, counts.dtype, each).to(dtype)
    if each:
        found = np.empty(own.shape, real)
        np.multiply(own, weights.reshape(-1, *(1,) * (own.ndim - 1)), out=found, casting="same_kind")
    else:  # not by BLAS, whose threads go on spinning beside those of the scans
        found = np.einsum("b,b...->...", weights, own).astype(real, copy=False)
    return torch.from_numpy(found)


def _weighted(weights: Tensor, counts: Tensor, dtype: torch.dtype, each: bool) -> Tensor:
    found = counts * weights.reshape(-1, *(1,) * (counts.ndim - 1))
    if not each:  # not as a product of matrices, which autocast would round
        found = found.sum(0)
    return found.to(dtype)
