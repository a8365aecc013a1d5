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
        weight: `(B,)`, at least 0 and finite, on any device; 1 if missing.
    Raises: ValueError for weights of another shape, below 0 or infinite.
    """
    if weight is None:
        shares = torch.ones_like(losses)
    else:
        if weight.shape != losses.shape:
            raise ValueError(
                f"sequence_weight has shape {tuple(weight.shape)}; expected (B,) = {tuple(losses.shape)}, "
                "one weight a sequence"
            )
        check_weights("sequence_weight", weight)
        shares = weight.to(losses)
    weighted = torch.where(shares == 0.0, 0.0, shares * losses)
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    parts = shares if reduction == "mean" else shares * sizes
    total = parts.sum()
    return weighted.sum() / torch.where(total > 0.0, total, 1.0)


def check_weights(name: str, weights: Tensor, used: Tensor | None = None) -> None:
    """Raise unless weights, those that are used where it is said which, are at least 0 and finite.

    Raises: ValueError naming the first that is not.
    """
    if not can_look(weights):
        return
    bad = ~((weights >= 0.0) & (weights < torch.inf))  # true for NaN
    if used is not None:
        bad = bad & used
    if bool(bad.any()):
        at = bad.nonzero()[0].tolist()
        value = float(weights[tuple(at)])
        raise ValueError(f"{name}[{', '.join(map(str, at))}] is {value}; expected at least 0, and finite")
