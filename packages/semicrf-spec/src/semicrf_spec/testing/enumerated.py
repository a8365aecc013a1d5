"""What every operator must answer, by enumeration; importing this module needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semicrf_spec.enumeration import Enumeration, Segments, enumerate_batch
from semicrf_spec.operators import Segmentation
from semicrf_spec.operators.contracts import statistics_shapes
from semicrf_spec.potentials import SHAPES, Potentials, axes_of

STATISTICS = ("position", "begins", "ends", "transitions", "durations", "first", "last")
"""The counts of `semicrf::posteriors`, by their names in `Enumeration.counts`."""

NONE: tuple[float, Segments] = (-np.inf, ())
"""In place of a segmentation that there is not."""


def answer(operator: str, *arguments: Any) -> tuple[Tensor, ...]:
    """What `semicrf::operator` returns for tensors, scores taken as float64."""
    terms: Potentials[Tensor] = Potentials(*arguments[: len(SHAPES)])
    return KERNELS[operator](as_numpy(terms), *arguments[len(SHAPES) :])


def as_numpy(potentials: Potentials[Tensor]) -> Potentials[Any]:
    """Detached arrays, scores in float64."""
    return potentials.map(lambda x: (x.detach().double() if x.is_floating_point() else x).numpy())


def log_partition(potentials: Potentials[Any]) -> tuple[Tensor, ...]:
    """Log of the summed weight of all segmentations."""
    return (torch.tensor([e.log_partition for e in enumerate_batch(potentials)], dtype=torch.float64),)


def posteriors(potentials: Potentials[Any], boundaries: bool = True) -> tuple[Tensor, ...]:
    """The log partition and every expected count."""
    counts = [e.posteriors for e in enumerate_batch(potentials)]
    return *log_partition(potentials), *stacked(potentials, counts, boundaries)


def covariances(potentials: Potentials[Any], *arguments: Any) -> tuple[Tensor, ...]:
    """Of every count with a value."""
    *values, boundaries = arguments

    def own(b: int) -> dict[str, Any]:
        given = {n: v[b].detach().numpy() for n, v in zip(STATISTICS, values, strict=True) if v is not None}
        if "transitions" in given and _shared(potentials):
            given["transitions"] = np.repeat(given["transitions"][None], potentials.shape[1], axis=0)
        return {name: value for name, value in given.items() if value.size}

    found = [e.covariances(own(b)) for b, e in enumerate(enumerate_batch(potentials))]
    return stacked(potentials, found, boundaries)


def _shared(potentials: Potentials[Any]) -> bool:
    """Whether all boundaries have the same transitions."""
    return "T" not in axes_of("transition", potentials.transition)


def stacked(
    potentials: Potentials[Any], counts: Sequence[dict[str, Any]], boundaries: bool
) -> tuple[Tensor, ...]:
    """The counts of each sequence, as tensors of the batch."""
    found = [np.zeros(shape) for shape in statistics_shapes(potentials.terms(), True)]
    for b, own in enumerate(counts):
        for name, batched in zip(STATISTICS, found, strict=True):
            batched[b] = own[name].sum(0) if name == "transitions" and _shared(potentials) else own[name]
    position, begins, ends, *rest = map(torch.from_numpy, found)
    return (position, begins, ends, *rest) if boundaries else (position, begins[:, :0], ends[:, :0], *rest)


def viterbi(potentials: Potentials[Any]) -> tuple[Tensor, ...]:
    """The best segmentations."""
    return tuple(found[0] for found in top_k(potentials, 1))


def top_k(potentials: Potentials[Any], k: int) -> tuple[Tensor, ...]:
    """The k best segmentations."""
    best = [(e.top_k(k) + [NONE] * k)[:k] for e in enumerate_batch(potentials)]
    scores = torch.tensor([[ranked[i][0] for ranked in best] for i in range(k)], dtype=torch.float64)
    return scores, *grids(potentials, [[ranked[i][1] for ranked in best] for i in range(k)])


def sample(potentials: Potentials[Any], uniforms: Tensor) -> tuple[Tensor, ...]:
    """The samples that uniform numbers select."""
    listed: list[Enumeration] = enumerate_batch(potentials)
    drawn = [[e.draw(u) for e, u in zip(listed, each, strict=True)] for each in uniforms.numpy()]
    return grids(potentials, drawn)


def grids(potentials: Potentials[Any], several: Sequence[Sequence[Segments]]) -> tuple[Tensor, Tensor]:
    """Labels and durations of several segmentations of the batch, `(n, B, T)`."""
    time = potentials.shape[1]
    found = [Segmentation.from_list(segments, num_positions=time) for segments in several]
    return torch.stack([y.labels for y in found]), torch.stack([y.durations for y in found])


KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    function.__name__: function
    for function in (log_partition, posteriors, covariances, viterbi, top_k, sample)
}
"""Of numpy potentials, by the operators' names."""
