"""Posteriors, and expectations under them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from semicrf_spec.potentials import Potentials


class Posteriors(NamedTuple):
    """Expected counts of every term: the derivatives of the log partition.

    Attributes:
        position: `(B, T, C)` probability that position t has label c.
        begins: `(B, T, C)` probability that a segment of c begins at t.
        ends: `(B, T, C)` probability that a segment of c has t as its last position.
        transitions: `(B, C, C)` expected number of transitions from row to column; with an axis of positions,
            of durations or of both where the transition has it.
        durations: `(B, K, C)` expected number of segments of c that last d positions, in row d - 1;
            `(B, T, K, C)`            of every segment its probability where the duration has a position axis.
    """

    position: Tensor
    begins: Tensor
    ends: Tensor
    transitions: Tensor
    durations: Tensor

    @property
    def boundary(self) -> Tensor:
        """`(B, T)` probability that a segment begins at t, whatever its label; 1 at position 0."""
        return self.begins.sum(-1)


def expected_score(posteriors: Posteriors, potentials: Potentials[Tensor]) -> Tensor:
    """`E[score]`, the inner product of expected counts and potentials: `(B,)` float64 nats.

    What is forbidden adds 0.
    """
    total = posteriors.position.new_zeros(len(posteriors.position), dtype=torch.float64)
    for counts, scores in _pairs(posteriors, potentials):
        counted = (counts != 0) & ~torch.isinf(scores)  # else gradients would be NaN
        allowed = torch.where(counted, scores.double(), 0.0)
        total = total + (counts.double() * allowed).flatten(1).sum(1)
    return total


def _pairs(posteriors: Posteriors, potentials: Potentials[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The counts of every term that there is, and its scores."""
    terms = (
        (posteriors.position, potentials.emissions),
        (posteriors.transitions, potentials.transition),
        (posteriors.durations, potentials.duration),
        (first_labels(posteriors.begins), potentials.start),
        (last_labels(posteriors.ends, potentials.lengths), potentials.end),
        (posteriors.begins, potentials.begin),
        (posteriors.ends, potentials.finish),
    )
    return ((counts, scores) for counts, scores in terms if scores is not None)


def first_labels(begins: Tensor) -> Tensor:
    """`(B, C)` probability of the first label: what begins at position 0."""
    batch, _, classes = begins.shape
    padded = torch.cat([begins, begins.new_zeros(batch, 1, classes)], dim=1)
    first: Tensor = padded[:, 0]
    return first


def last_labels(ends: Tensor, lengths: Tensor | None) -> Tensor:
    """`(B, C)` probability of the last label: what ends at position L - 1."""
    batch, time, classes = ends.shape
    if time == 0:
        return ends.new_zeros(batch, classes)
    if lengths is None:
        return ends[:, -1]
    last = (lengths.long() - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, classes)
    return ends.gather(1, last).squeeze(1)
