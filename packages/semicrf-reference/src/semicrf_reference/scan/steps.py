"""Edges by where their segments end: what one step of a scan adds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semicrf_spec import Semiring
from semicrf_spec.potentials import check_lengths
from semicrf_spec.serial import largest


class Steps(NamedTuple):
    """What every algorithm sums.

        closed[t + 1, j] = sum_{d, i} closed[t + 1 - d, i] * step[t, d - 1, i, j]

    Both fields hold an array for each score that the semiring lifts.

    Attributes:
        first: `(B, C)`, the only message there is at boundary 0.
        last: `(B, T, K, C, C)`, by the last position of a segment. `-inf` for what would begin before 0. Past
            the length of a sequence, steps that leave everything as it is.
    """

    first: tuple[Tensor, ...]
    last: tuple[Tensor, ...]


def steps(edges: Tensor, lengths: Tensor | None, semiring: Semiring, others: tuple[Tensor, ...]) -> Steps:
    """What `semicrf_reference.scan.linear_scan` is given, checked and in float64.

    Raises: ValueError as it does.
    """
    scores = tuple(x.double() for x in _checked(edges, lengths, semiring, others))
    return Steps(tuple(map(_first, scores)), tuple(_by_last_position(x, lengths) for x in scores))


def _checked(
    edges: Tensor, lengths: Tensor | None, semiring: Semiring, others: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    if len(others) + 1 != semiring.arity:
        raise ValueError(
            f"the semiring '{semiring.name}' was given {len(others)} tensors beside edges; expected "
            f"{semiring.arity - 1}, of the same shape"
        )
    named = [("edges", edges), *((f"others[{n}]", other) for n, other in enumerate(others))]
    for name, x in named:
        if x.ndim != 5 or x.shape[-1] != x.shape[-2] or x.shape != edges.shape or 0 in x.shape[2:]:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; expected (B, T, K, C, C) with K and C at least 1"
                + ("" if x is edges else f", as edges have it: {tuple(edges.shape)}")
            )
    for (name, _), top in zip(named, largest(x for _, x in named), strict=True):
        if not top < math.inf:  # true for NaN
            raise ValueError(f"{name} holds NaN or +inf; expected finite scores, or -inf, which forbids")
    if lengths is not None:
        check_lengths(lengths, edges.shape[1])
    return edges, *others


def _first(x: Tensor) -> Tensor:
    """Label 0, whose row counts at position 0, and no other; part of the graph even when T = 0."""
    alone = x.new_full((x.shape[-1],), -math.inf)
    alone[0] = 0.0
    return alone + x[:, :0].sum((1, 2, 3, 4))[:, None]


def _by_last_position(x: Tensor, lengths: Tensor | None) -> Tensor:
    """`(B, T, K, C, C)`: entry `[t, d - 1]` is that of the segment of d positions whose last is t."""
    time, longest, classes = x.shape[1:4]
    place = torch.arange(time, device=x.device)
    age = torch.arange(longest, device=x.device)
    begin = place[:, None] - age
    flat = (begin.clamp(min=0) * longest + age).flatten()
    found = torch.unflatten(x.flatten(1, 2).index_select(1, flat), 1, (time, longest))
    found = torch.where((begin >= 0)[:, :, None, None], found, -math.inf)
    if lengths is None:
        return found
    unchanged = x.new_full((longest, classes, classes), -math.inf)
    unchanged[0].fill_diagonal_(0.0)
    within = place < lengths[:, None].to(place.device, place.dtype)
    return torch.where(within[:, :, None, None, None], found, unchanged)
