"""Which segmentation to answer with, and what an answer costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from semicrf_nn.conditions import without_scores
from semicrf_nn.whole_segments import by_segment
from semicrf_spec import Potentials
from semicrf_spec.operators import Posteriors

Method = Literal["viterbi", "position", "segment_f1"]


def position_gains(potentials: Potentials[Tensor], position: Tensor) -> Potentials[Tensor]:
    """Potentials whose score is the expected number of right labels, and that allow what the others allow."""
    gains = position.masked_fill(potentials.emissions == -torch.inf, -torch.inf)
    return replace(without_scores(potentials), emissions=gains)


def segment_gains(potentials: Potentials[Tensor], segments: Tensor) -> Potentials[Tensor]:
    """Potentials whose score is the expected number of right segments, allowing what the others allow."""
    allowed = by_segment(without_scores(potentials))
    return replace(allowed, duration=allowed.duration + segments)


def expected_cost(posteriors: Posteriors, segments: Tensor | None, costs: Mapping[str, Tensor]) -> Tensor:
    """What a segmentation costs on average: `(B,)` float64.

    Args:
        posteriors: expected counts.
        segments: `(B, T, K, C)` probabilities of segments, if their costs are given.
        costs: of counts, by their names, and of `segments`.
    """
    counted = dict(posteriors._asdict(), segments=segments)
    total = posteriors.position.new_zeros(len(posteriors.position), dtype=torch.float64)
    for name, cost in costs.items():
        counts = counted.get(name)
        if counts is None:
            expected = ", ".join(counted)
            raise ValueError(f"costs are given for {name!r}; expected some of {expected}")
        try:
            given = torch.as_tensor(cost, device=counts.device)
            spread = given.expand(counts.shape)
        except RuntimeError:
            raise ValueError(
                f"the cost of {name} has shape {tuple(given.shape)}; expected one that broadcasts to "
                f"{tuple(counts.shape)}"
            ) from None
        charged = torch.where(counts == 0, 0.0, spread)  # what cannot be costs nothing, whatever stands there
        total = total + (counts.double() * charged).flatten(1).sum(1)
    return total
