"""One position after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_reference.scan.steps import steps
from semicrf_spec import LOG, Semiring


def linear_scan(
    edges: Tensor, lengths: Tensor | None = None, semiring: Semiring = LOG, *others: Tensor
) -> Tensor:
    """Semiring sum over segmentations, given a score for every segment after every label.

        closed[t, j] = sum_{d, i} closed[t - d, i] * edges[t - d, d - 1, i, j]

    One position after the other, and in it one duration after the other: the definition of the sum.

    Args:
        edges: `(B, T, K, C, C)` nats: entry `[b, s, d - 1, i, j]` scores a segment of label j over
            `[s, s + d)` after one of label i, as `semicrf_reference.eager.edges` makes them. At s = 0 row
            i = 0 counts and the others do not.
        lengths: `(B,)` integers in `[0, T]`; T if missing. What goes past them counts for nothing.
        semiring: what sum and product mean.
        others: what else the semiring lifts beside the score, of the same shape: scores of another model,
            also in nats, or values of segments.
    Returns: `(B,)` float64 elements of the semiring, `(B, n)` if they have n numbers; `one` for an empty
        sequence, `zero` where nothing is allowed. Differentiable by autograd.
    Raises: ValueError for NaN, `+inf`, shapes, lengths out of range, and for as many tensors as the semiring
        does not lift.
    Cost: O(B T K C^2) time in a Python loop over T K; O(B K C) memory beyond the edges, by where they end,
        without gradients.
    Source: Sarawagi & Cohen 2004.
    """
    first, last = steps(edges, lengths, semiring, others)
    closed = [semiring.lift(*first)]  # by how long ago
    for step in zip(*(x.unbind(1) for x in last), strict=True):
        by_duration = zip(*(x.unbind(1) for x in step), strict=True)
        ways = [
            semiring.dot(message[:, :, None], semiring.lift(*edge), 1)
            for message, edge in zip(closed, by_duration, strict=False)
        ]
        closed = [semiring.sum(torch.stack(ways, 1), 1), *closed[: edges.shape[2] - 1]]
    found: Tensor = semiring.sum(closed[0], 1)
    return found


def linear_scan_vectorized(
    edges: Tensor, lengths: Tensor | None = None, semiring: Semiring = LOG, *others: Tensor
) -> Tensor:
    """`linear_scan` with the K durations of a position at once, over a window of the last K messages.

    Arguments, results and errors are those of `linear_scan`.

    Cost: O(B T K C^2) time in a Python loop over T; O(B K C^2) memory beyond the edges, by where they end,
        without gradients.
    Source: Sarawagi & Cohen 2004.
    """
    first, last = steps(edges, lengths, semiring, others)
    window = opened(semiring.lift(*first), edges.shape[2], semiring)
    for step in zip(*(x.unbind(1) for x in last), strict=True):
        ways = semiring.lift(*step).flatten(1, 2)  # (B, K C, C)
        closed = semiring.dot(window.flatten(1, 2)[:, :, None], ways, 1)
        window = torch.cat([closed[:, None], window[:, :-1]], 1)
    found: Tensor = semiring.sum(window[:, 0], 1)
    return found


def opened(first: Tensor, longest: int, semiring: Semiring) -> Tensor:
    """`(B, K, C)` messages, the newest first: the one at boundary 0, and none before it."""
    batch, classes = first.shape[:2]
    return torch.cat([first[:, None], semiring.zeros((batch, longest - 1, classes), first)], 1)
