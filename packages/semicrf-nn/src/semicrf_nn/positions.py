"""Positions by themselves: how probable their labels are, and how sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semicrf_nn.conditions import with_labels
from semicrf_spec import UNKNOWN, Potentials
from semicrf_spec.operators import lengths_of
from semicrf_spec.potentials import axes_of

RESOLVED = {torch.float64: 1e-4, torch.float32: 1e-2}
"""Posteriors of positions are differences; of smaller ones the logarithm would lose digits."""


def log_prob_of_labels(
    potentials: Potentials[Tensor],
    position: Tensor,
    labels: Tensor,
    log_partition: Callable[[Potentials[Tensor]], Tensor],
) -> Tensor:
    """`(B, T)` float64 log-probability of each label by itself; 0 where it is unknown, and past the lengths.

    Args:
        potentials: the terms.
        position: `(B, T, C)` their posteriors.
        labels: `(B, T)` integers, `-100` where unknown.
        log_partition: for those that posteriors do not resolve, a scan each.
    """
    known = torch.ops.semicrf.check_labels(labels, lengths_of(potentials), potentials.shape[2])
    picked = position.gather(2, known.clamp(min=0)[:, :, None]).squeeze(2)
    small = (known != UNKNOWN) & (picked < RESOLVED[picked.dtype])
    found = torch.where((known == UNKNOWN) | small, 1.0, picked.double()).log()
    sequence, place = small.nonzero(as_tuple=True)
    if len(sequence) == 0:
        return found
    one = torch.full_like(known[sequence], UNKNOWN)
    one[torch.arange(len(place), device=place.device), place] = known[sequence, place]
    having = log_partition(with_labels(selected(potentials, sequence), one))
    of_all = log_partition(potentials)[sequence]
    exact = torch.where(having > -torch.inf, having - of_all, -torch.inf)
    return found.index_put((sequence, place), exact)


def selected(potentials: Potentials[Tensor], sequences: Tensor) -> Potentials[Tensor]:
    """The potentials of some sequences, any number of times each."""
    return Potentials(
        **{n: term[sequences] if axes_of(n, term)[0] == "B" else term for n, term in potentials.items()}
    )


def entropy_of_labels(position: Tensor) -> Tensor:
    """`(B, T)` nats: how unsure the label of a position is by itself."""
    possible = position > 0.0
    return -(position * torch.where(possible, position, 1.0).log()).sum(-1)


def position_weights(
    labels: Tensor,
    class_weight: Tensor | Sequence[float] | None,
    position_weight: Tensor | Sequence[Sequence[float]] | None,
    num_classes: int,
) -> Tensor:
    """`(B, T)` float64: how much each label counts, 0 where it is unknown.

    Raises: ValueError for weights of another shape or below 0.
    """
    known = labels != UNKNOWN
    weights = known.double()
    if class_weight is not None:
        of_classes = torch.as_tensor(class_weight, dtype=torch.float64, device=labels.device)
        _check("class_weight", of_classes, (num_classes,), known.new_ones(num_classes))
        weights = weights * of_classes[labels.clamp(min=0)]
    if position_weight is not None:
        of_positions = torch.as_tensor(position_weight, dtype=torch.float64, device=labels.device)
        _check("position_weight", of_positions, tuple(labels.shape), known)
        weights = torch.where(known, weights * of_positions, 0.0)
    return weights


def _check(name: str, weights: Tensor, shape: tuple[int, ...], used: Tensor) -> None:
    if weights.shape != shape:
        raise ValueError(f"{name} has shape {tuple(weights.shape)}; expected {shape}")
    bad = used & ~(weights >= 0.0)  # true for NaN
    if bool(bad.any()):
        at = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{name}[{', '.join(map(str, at))}] is {weights[tuple(at)].item()}; expected at least 0"
        )
