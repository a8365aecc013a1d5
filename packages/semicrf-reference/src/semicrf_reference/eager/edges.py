"""Potentials as edge tensors, which `semicrf_reference.scan` sums over and which can say more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semicrf_reference.eager.scan import by_duration, prepared
from semicrf_spec import Potentials


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
