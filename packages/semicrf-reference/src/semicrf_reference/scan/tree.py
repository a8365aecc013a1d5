"""Neighbouring spans composed two by two.

The *window* at a boundary holds the messages there and at the K - 1 boundaries before it, the newest first.
A *span* of n positions is the matrix that takes the window at its left end to the part of the window at its
right end that lies within: `(K, C, w, C)` with `w = min(n, K)`. Entry `[r, i, q, j]` sums all ways from the
boundary r positions before the left end to the boundary q positions before the right end, with all boundaries
between them inside. The rest of the new window is the old one, moved on by n.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semicrf_reference.scan.linear import opened
from semicrf_reference.scan.steps import steps
from semicrf_spec import LOG, Semiring


def binary_tree(
    edges: Tensor, lengths: Tensor | None = None, semiring: Semiring = LOG, *others: Tensor
) -> Tensor:
    """`linear_scan` as a balanced tree of products of matrices over (boundary, label).

    Arguments, results and errors are those of `linear_scan`.

    Cost: O(B T K^2 C^3) time and memory, log2 T products deep.
    Source: Särkkä & García-Fernández 2021, for Markov chains; `docs/semirings.md` for the matrices.
    """
    first, last = steps(edges, lengths, semiring, others)
    window = opened(semiring.lift(*first), edges.shape[2], semiring)
    if edges.shape[1]:
        window = _through(semiring, window, *last)
    found: Tensor = semiring.sum(window[:, 0], 1)
    return found


def binary_tree_sharded(
    edges: Tensor,
    lengths: Tensor | None = None,
    semiring: Semiring = LOG,
    *others: Tensor,
    positions: int | None = None,
) -> Tensor:
    """`binary_tree` of one shard of the positions after the other, each computed again in the backward pass.

    Arguments, results and errors are those of `linear_scan`, and by name:

    Args:
        positions: of a shard, at least 1; the lowest power of 2 that is not below K if missing.
    Raises: also ValueError for a shard without positions.
    Cost: O(B T K^2 C^3) time, with gradients twice, T / positions times log2 positions products deep;
        memory beyond the edges, by where they end, is that of one shard and of T / positions windows.
    Source: Chen, Xu, Zhang & Guestrin 2016; `binary_tree`.
    """
    longest = edges.shape[2] if edges.ndim == 5 else 1
    if positions is None:
        positions = 1 << (longest - 1).bit_length()
    if positions < 1:
        raise ValueError(f"positions is {positions}; expected at least 1")
    first, last = steps(edges, lengths, semiring, others)
    window = opened(semiring.lift(*first), longest, semiring)
    if edges.shape[1]:
        for shard in zip(*(torch.split(x, positions, 1) for x in last), strict=True):
            window = checkpoint(
                _through, semiring, window, *shard, use_reentrant=False, preserve_rng_state=False
            )
    found: Tensor = semiring.sum(window[:, 0], 1)
    return found


def _through(semiring: Semiring, window: Tensor, *last: Tensor) -> Tensor:
    """The window `(B, K, C)` behind some positions, from the one before them and the scores of `Steps`."""
    spans = semiring.lift(*last)[:, :, :, :, None]  # (B, n, K, C, 1, C): of one position each
    odd = []  # spans without a right neighbour, the shortest first
    while spans.shape[1] > 1:
        if spans.shape[1] % 2:
            odd.append(spans[:, -1:])
            spans = spans[:, :-1]
        left, right = spans.unflatten(1, (-1, 2)).unbind(2)
        spans = composed(left, right, semiring)
    for span in reversed(odd):
        spans = composed(spans, span, semiring)
    span = spans[:, 0]
    within, classes = span.shape[3:5]
    found = semiring.dot(window.flatten(1, 2)[:, :, None], span.flatten(3, 4).flatten(1, 2), 1)
    kept = window[:, : window.shape[1] - within]
    return torch.cat([found.unflatten(1, (within, classes)), kept], 1)


def composed(left: Tensor, right: Tensor, semiring: Semiring) -> Tensor:
    """The spans `(B, n, K, C, w, C)` that neighbours make together.

        both[r, q] = sum_p left[r, p] * right[p, q] + right[r + n, q]    q within the right span
        both[r, q] = left[r, q - m]                                      q within the left one

    for spans of n and m positions, p being a boundary within the left one. The second term of the first line
    is a segment that begins before the left span and ends behind it.

    Cost: O(B n K C^3 w^2) time; as much memory in one `dot`.
    """
    longest, middle, within = left.shape[2], left.shape[4], right.shape[4]
    arriving = left.flatten(4, 5).flatten(2, 3)  # (B, n, K C, w C)
    leaving = right.flatten(4, 5)[:, :, :middle].flatten(2, 3)  # (B, n, w C, w C)
    found = semiring.dot(arriving[:, :, :, :, None], leaving[:, :, None], 3)
    found = found.unflatten(3, right.shape[4:6]).unflatten(2, left.shape[2:4])
    across = semiring.add(found[:, :, : longest - middle], right[:, :, middle:])
    found = torch.cat([across, found[:, :, longest - middle :]], 2)
    return torch.cat([found, left[:, :, :, :, : longest - within]], 4)
