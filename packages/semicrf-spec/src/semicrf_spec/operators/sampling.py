"""Samples: the call that every backend shares, and what it asks of a backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import index

import torch
from torch import Generator, Tensor

from semicrf_spec.operators.calls import OverTerms, over_terms
from semicrf_spec.operators.checks import can_look
from semicrf_spec.operators.gold import lengths_of, score_at
from semicrf_spec.operators.segmentation import Segmentation
from semicrf_spec.potentials import Potentials

Draw = Callable[..., tuple[Tensor, Tensor]]
"""Of the terms and uniform numbers `(n, B, T, 2)` in `[0, 1)`, labels and durations `(n, B, T)`.

From the last segment backwards: the one that ends at a boundary `t` takes its label by
`uniforms[..., t - 1, 0]` and its duration by `uniforms[..., t - 1, 1]`. Each is the first whose cumulative
probability, given the segments behind it, is above the number. So every backend draws the same, but for
rounding.
"""


def sampling(draw: Draw) -> OverTerms[Segmentation]:
    """`sample`, with the draws of a backend."""

    @over_terms
    def sample(
        potentials: Potentials[Tensor],
        n: int | Sequence[int] = (),
        temperature: float = 1.0,
        generator: Generator | None = None,
    ) -> Segmentation:
        """Exact independent samples: forward filtering, backward sampling.

            p(y) = exp(score(y) / temperature) / sum_y' exp(score(y') / temperature)

        Arguments and errors are those of `log_partition`, and by name:

        Args:
            n: how many for each sequence, or a shape of them. One, without an axis of its own, if missing.
            temperature: above 0; near 0 only the best are drawn, far above 1 all alike.
            generator: where the uniform numbers come from, on the device of the emissions; the same seed
                gives the same samples. PyTorch's own if missing.
        Returns: `Segmentation` of shape `(n, B, T)`, with the scores of the samples at temperature 1, not
            differentiable; without segments and with score `-inf` where nothing is allowed.
        Raises: also ValueError for a negative n, and for a temperature that is not above 0 and finite.
        Cost: that of `log_partition`, O(B T C) memory, and O(T C) time and O(T) memory a sample; on a GPU
            O(S K C) time a sample of S segments, shared among threads.
        Source: Chib 1996; for segments, Murphy 2002.
        """
        shape = _shape(n)
        batch, time, _ = potentials.shape
        with torch.no_grad():
            uniforms = torch.rand(
                (math.prod(shape), batch, time, 2),
                dtype=torch.float64,
                device=potentials.emissions.device,
                generator=generator,
            )
            labels, durations = draw(*tempered(potentials, temperature).terms(), uniforms)
            scores = scores_of(labels, durations, potentials)
        return Segmentation(
            labels.reshape(*shape, batch, time),
            durations.reshape(*shape, batch, time),
            lengths_of(potentials),
            scores.reshape(*shape, batch),
        )

    return sample


def _shape(n: int | Sequence[int]) -> tuple[int, ...]:
    try:
        shape = tuple(map(index, n)) if isinstance(n, Sequence) else (index(n),)
    except TypeError:
        raise TypeError(f"n is {n!r}; expected an integer or a sequence of integers") from None
    if any(size < 0 for size in shape):
        raise ValueError(f"n is {n!r}; expected at least 0")
    return shape


def tempered(potentials: Potentials[Tensor], temperature: float) -> Potentials[Tensor]:
    """Every score divided by the temperature.

    Raises: ValueError unless the temperature is finite and above 0 and the scores stay finite.
    """
    if not 0.0 < temperature < math.inf:
        raise ValueError(
            f"temperature is {temperature}; expected a finite number above 0. At temperature 0 only the best "
            "segmentation would be drawn, which viterbi and SemiCRF.mode give"
        )
    if temperature == 1.0:
        return potentials

    def scaled(term: Tensor) -> Tensor:
        if not term.is_floating_point():
            return term
        found: Tensor = term.to(torch.promote_types(term.dtype, torch.float32)) / temperature
        if can_look(term) and bool((torch.isinf(found) & torch.isfinite(term)).any()):
            raise ValueError(
                f"temperature is {temperature}, by which scores overflow; expected a larger one. Near 0 only "
                "the best segmentation is drawn, which viterbi and SemiCRF.mode give"
            )
        return found

    return potentials.map(scaled)


def scores_of(labels: Tensor, durations: Tensor, potentials: Potentials[Tensor]) -> Tensor:
    """Scores of what a backend found; `-inf` for a sequence that has positions and no segments."""
    found = (durations > 0).any(-1) | (lengths_of(potentials) == 0)
    return torch.where(found, score_at(labels.clamp(min=0), durations, potentials), -torch.inf)


def first_above(weights: Tensor, uniform: Tensor) -> Tensor:
    """Where the cumulative share of weights, along the last axis, is first above a number in `[0, 1)`.

    Past the end where all weights are 0.
    """
    cumulative = weights.cumsum(-1)
    return (cumulative <= uniform[..., None] * cumulative[..., -1:]).sum(-1)
