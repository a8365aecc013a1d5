"""The k best segmentations: the call that every backend shares, and what it asks of a backend."""

from __future__ import annotations

from collections.abc import Callable
from operator import index

import torch
from torch import Tensor

from semicrf_spec.operators.calls import OverTerms, over_terms
from semicrf_spec.operators.gold import lengths_of
from semicrf_spec.operators.segmentation import Segmentation
from semicrf_spec.potentials import Potentials

Rank = Callable[..., tuple[Tensor, ...]]
"""Of the terms and k, scores `(k, B)` float64 that do not rise, labels and durations `(k, B, T)` int64.

Where there are fewer than k segmentations, scores are `-inf`, labels -1 and durations 0.
"""


def ranking(rank: Rank) -> OverTerms[Segmentation]:
    """`top_k`, with the lists of a backend."""

    @over_terms
    def top_k(potentials: Potentials[Tensor], k: int) -> Segmentation:
        """The k segmentations of highest score, best first, each another.

        Of equal scores the one that is preferred comes first, as `viterbi` does: read from the last segment
        backwards, the lowest label, then the shortest duration. Arguments and errors are those of
        `log_partition`, and by name:

        Args:
            k: how many, at least 1.
        Returns: `Segmentation` of shape `(k, B, T)` with its scores, not differentiable. Where fewer than k
            are allowed, the others have no segments and score `-inf`. An empty sequence has one, of score 0.
        Raises: also TypeError for a k that is no integer, and ValueError for one below 1.
        Cost: O(k B T C (K + C)) time, O(k B T C) memory.
        Source: Chow & Schwartz 1989; Huang & Chiang 2005, algorithm 1.
        """
        count = _checked(k)
        with torch.no_grad():
            scores, labels, durations = rank(*potentials.terms(), count)
        return Segmentation(labels, durations, lengths_of(potentials), scores)

    return top_k


def _checked(k: int) -> int:
    try:
        count = index(k)
    except TypeError:
        raise TypeError(f"k is {k!r}; expected an integer") from None
    if count < 1:
        raise ValueError(f"k is {count}; expected at least 1")
    return count
