"""Positions by themselves: how probable their labels are, and how sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semicrf_nn.losses import check_weights
from semicrf_spec import UNKNOWN

RESOLVED = {torch.float64: 1e-4, torch.float32: 1e-2}
"""Posteriors of positions are differences; of smaller ones the logarithm would lose digits."""


def log_prob_of_labels(
    position: Tensor, labels: Tensor, by_scan: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """`(B, T)` float64 log-probability of each label by itself; 0 where it is unknown.

    How many there are that posteriors do not resolve decides what is computed: so this waits for a GPU,
    values checked or not, and no CUDA graph captures it.

    Args:
        position: `(B, T, C)` posteriors.
        labels: `(B, T)` int64, `-100` where unknown.
        by_scan: of sequences, given by their numbers `(N,)`, and labels `(N, T)` the log-probability `(N,)`,
            for those that posteriors do not resolve.
    """
    known = labels != UNKNOWN
    picked = position.gather(2, labels.clamp(min=0)[:, :, None]).squeeze(2)
    small = known & (picked < RESOLVED[picked.dtype])
    found = torch.where(known & ~small, picked.double(), 1.0).log()
    sequence, place = small.nonzero(as_tuple=True)
    if len(sequence) == 0:
        return found
    alone = torch.full_like(labels[sequence], UNKNOWN)
    alone[torch.arange(len(place), device=place.device), place] = labels[sequence, place]
    return found.index_put((sequence, place), by_scan(sequence, alone))


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

    Raises: ValueError for weights of another shape, below 0 or infinite.
    """
    known = labels != UNKNOWN
    weights = known.double()
    if class_weight is not None:
        of_classes = torch.as_tensor(class_weight, dtype=torch.float64)
        _check_shape("class_weight", of_classes, (num_classes,))
        check_weights("class_weight", of_classes)
        weights = weights * of_classes.to(labels.device)[labels.clamp(min=0)]
    if position_weight is not None:
        of_positions = torch.as_tensor(position_weight, dtype=torch.float64, device=labels.device)
        _check_shape("position_weight", of_positions, tuple(labels.shape))
        check_weights("position_weight", of_positions, known)
        weights = torch.where(known, weights * of_positions, 0.0)
    return weights


def _check_shape(name: str, weights: Tensor, shape: tuple[int, ...]) -> None:
    if weights.shape != shape:
        raise ValueError(f"{name} has shape {tuple(weights.shape)}; expected {shape}")
