"""From a loss a sequence to one number."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semicrf_spec.operators import can_look

Reduction = Literal["mean", "sum", "token", "none"]


def reduced(losses: Tensor, sizes: Tensor, reduction: Reduction, weight: Tensor | None = None) -> Tensor:
    """The losses of sequences, weighted, in one number unless `reduction` is `"none"`.

        mean:   sum_b weight[b] * losses[b] / sum_b weight[b]
        token:  sum_b weight[b] * losses[b] / sum_b weight[b] * sizes[b]

    A sequence of weight 0 counts for nothing, whatever its loss. 0 where all weigh nothing.

    Args:
        losses: `(B,)` nats.
        sizes: `(B,)` positions, or what their weights sum to.
        reduction: how.
        weight: `(B,)`, at least 0; 1 if missing.
    Raises: ValueError for weights of another shape or below 0.
    """
    shares = torch.ones_like(losses) if weight is None else weight.to(losses)
    if shares.shape != losses.shape:
        raise ValueError(
            f"sequence_weight has shape {tuple(shares.shape)}; expected (B,) = {tuple(losses.shape)}, one "
            "weight a sequence"
        )
    if can_look(shares) and not bool((shares >= 0.0).all()):  # false for NaN
        b = int((~(shares >= 0.0)).nonzero()[0])
        raise ValueError(f"sequence_weight[{b}] is {float(shares[b])}; expected at least 0")
    weighted = torch.where(shares == 0.0, 0.0, shares * losses)
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    parts = shares if reduction == "mean" else shares * sizes
    total = parts.sum()
    return weighted.sum() / torch.where(total > 0.0, total, 1.0)
