"""Whole segments: the probability of each."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from semicrf_nn.conditions import KnownSegments, placed
from semicrf_spec import UNKNOWN, Potentials


def by_segment(potentials: Potentials[Tensor]) -> Potentials[Tensor]:
    """The same scores with a duration `(B, T, K, C)`, so that its posteriors are those of every segment."""
    if potentials.duration.ndim == 4:
        return potentials
    batch, time, classes = potentials.shape
    duration = potentials.duration[..., None, :, :]
    return replace(potentials, duration=duration.expand(batch, time, potentials.max_duration, classes))


def picked(probabilities: Tensor, segments: KnownSegments, potentials: Potentials[Tensor]) -> list[Tensor]:
    """Of the probabilities `(B, T, K, C)` those of given segments of each sequence, in their order."""
    max_duration = probabilities.shape[2]
    found = []
    for own, given in zip(probabilities, placed(segments, potentials), strict=True):
        start, end, label = torch.tensor(given, dtype=torch.int64, device=own.device).reshape(-1, 3).unbind(1)
        row = end - start - 1
        of_labels = own[start, row.clamp(max=max_duration - 1)]  # (N, C)
        known = of_labels.gather(1, label.clamp(min=0)[:, None]).squeeze(1)
        one = torch.where(label == UNKNOWN, of_labels.sum(1), known)
        found.append(torch.where(row < max_duration, one, 0.0))
    return found
