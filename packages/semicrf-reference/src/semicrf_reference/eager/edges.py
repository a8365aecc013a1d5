"""The same sum over edge tensors, which can say what factored potentials cannot."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semicrf_reference.eager.scan import by_duration, prepared
from semicrf_spec import LOG, Potentials, Semiring
from semicrf_spec.potentials import check_lengths


def edges(potentials: Potentials[Tensor]) -> Tensor:
    """The score of every segment after every label: `(B, T, K, C, C)` float64 nats.

    Entry `[b, s, d - 1, i, j]` scores a segment of label j over `[s, s + d)` after a segment of label i; at
    s = 0 it does not depend on i. Segments past the length are `-inf`.

    Cost: O(B T K C^2) time and memory.
    Source: Sarawagi & Cohen 2004.
    """
    terms = prepared(potentials)
    time = terms.shape[1]
    place = torch.arange(time, device=terms.emissions.device)
    into = by_duration(terms).clone()
    into[:, :1] = terms.start
    durations = terms.duration if terms.duration.ndim == 4 else terms.duration[:, None]
    lasting = terms.begin
    found = []
    for d in range(1, terms.max_duration + 1):
        stop = place + d - 1
        last = stop.clamp(max=max(time - 1, 0))
        across = terms.cuts[:, last] & (stop > place)
        lasting = torch.where(across[:, :, None], -math.inf, lasting + terms.emissions[:, last])
        closing = terms.finish[:, last] + durations[:, :, d - 1]
        ends_here = (stop + 1 == terms.lengths[:, None])[:, :, None]
        segment = lasting + closing + torch.where(ends_here, terms.end, 0.0)
        fits = (stop < terms.lengths[:, None])[:, :, None]
        segment = torch.where(fits, segment, -math.inf)
        found.append(into[:, :, min(d, into.shape[2]) - 1] + segment[:, :, None, :])
    return torch.stack(found, dim=2)


def edge_partition(edges: Tensor, lengths: Tensor | None = None, semiring: Semiring = LOG) -> Tensor:
    """Semiring sum over segmentations, given a score for every (previous label, segment).

        closed[t, j] = sum_{d, i} closed[t-d, i] * edges[t-d, d-1, i, j]

    Args:
        edges: `(B, T, K, C, C)` nats as in `edges`; at s = 0 row i = 0 counts and the others do not.
        lengths: `(B,)` integers in `[0, T]`; T if missing.
        semiring: what sum and product mean.
    Returns: `(B,)` float64 semiring elements; `one` for an empty sequence.
    Raises: ValueError for NaN, `+inf` and lengths out of range.
    Cost: O(B T K C^2) time.
    Source: Sarawagi & Cohen 2004.
    """
    batch, time, max_duration, classes, _ = edges.shape
    if edges.numel() and not edges.amax() < math.inf:
        raise ValueError("edges hold NaN or +inf; expected finite scores, or -inf, which forbids")
    if lengths is not None:
        check_lengths(lengths, time)
    edges = edges.double()
    lifted = semiring.lift(edges)
    first = edges.new_full((batch, classes), semiring.zero)
    first[:, 0] = semiring.one
    closed = [first]
    for t in range(1, time + 1):
        ways = [
            semiring.mul(closed[t - d][:, :, None], lifted[:, t - d, d - 1])
            for d in range(1, min(max_duration, t) + 1)
        ]
        closed.append(semiring.sum(torch.cat(ways, dim=1), 1))
    totals = torch.stack([semiring.sum(message, 1) for message in closed], dim=1)
    if lengths is None:
        return totals[:, -1]
    return totals.gather(1, lengths[:, None].long()).squeeze(1)
