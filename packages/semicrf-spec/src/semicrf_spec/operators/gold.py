"""The score of given segmentations, vectorised and differentiable: plain torch, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_spec.operators.checks import can_look, validating
from semicrf_spec.operators.segmentation import Segmentation, check_label_grid
from semicrf_spec.potentials import Potentials, axes_of
from semicrf_spec.segments import UNKNOWN


def score(
    segmentation: Segmentation,
    emissions: Tensor,
    transition: Tensor,
    duration: Tensor,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    lengths: Tensor | None = None,
    cuts: Tensor | None = None,
) -> Tensor:
    """Score of given segmentations.

    Args:
        segmentation: one segmentation per sequence, of the lengths given.
        emissions: this and the other arguments are those of `log_partition`.
    Returns: `(B,)` float64 nats, `(..., B)` of a segmentation `(..., B, T)`; 0 for an empty sequence.
    Raises: ValueError naming the sequence and the segment that leaves a gap, overlaps, exceeds K or has a
        label out of range.
    Cost: O(B T) time and memory.
    Source: `semicrf_spec.score`, whose formula this is.
    """
    potentials = Potentials(emissions, transition, duration, start, end, begin, finish, lengths, cuts)
    if can_look(emissions):
        potentials.check_values()
    return score_of(segmentation, potentials)


def lengths_of(potentials: Potentials[Tensor]) -> Tensor:
    """`(B,)` int64, T where no lengths were given."""
    batch, time, _ = potentials.shape
    if potentials.lengths is None:
        return torch.full((batch,), time, dtype=torch.int64, device=potentials.emissions.device)
    return potentials.lengths.long()


def score_of(segmentation: Segmentation, potentials: Potentials[Tensor]) -> Tensor:
    """`(..., B)` float64 score of a segmentation `(..., B, T)`, differentiable in the potentials.

    `-inf` where its own score says so and there are no segments: of what a backend found nothing for.
    """
    labels, durations, absent = sound(segmentation, potentials)
    return torch.where(absent, -torch.inf, score_at(labels, durations, potentials))


def sound(segmentation: Segmentation, potentials: Potentials[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Labels and durations `(..., B, T)`, once they are found sound, and `(..., B)` where there are none.

    Raises: TypeError for what is no segmentation, ValueError for one of other sequences, and that of
        `check_segmentation`.
    """
    if not isinstance(segmentation, Segmentation):
        raise TypeError(
            f"segmentation is a {type(segmentation).__name__}; expected a Segmentation, which "
            "Segmentation.from_list makes of lists of (start, end, label)"
        )
    batch, time, classes = potentials.shape
    lengths = lengths_of(potentials)
    if segmentation.labels.shape[-2:] != (batch, time):
        raise ValueError(
            f"the segmentation has shape {tuple(segmentation.labels.shape)}; "
            f"expected (..., B, T) = (..., {batch}, {time})"
        )
    absent = torch.zeros_like(segmentation.num_segments, dtype=torch.bool)
    if segmentation.scores is not None:
        absent = torch.isneginf(segmentation.scores) & (segmentation.num_segments == 0)
    labels, durations = torch.ops.semicrf.check_segmentation(
        segmentation.labels,
        segmentation.durations,
        torch.where(absent, 0, lengths),
        classes,
        potentials.max_duration,
        validating(),
    )
    return labels, durations, absent


def score_at(labels: Tensor, durations: Tensor, potentials: Potentials[Tensor]) -> Tensor:
    """`(..., B)` float64 score of labels and durations `(..., B, T)` that are known to be sound.

    Past the lengths the label is 0.
    """
    batch, time, _ = potentials.shape
    if time == 0:  # 0, and part of the graph
        return potentials.emissions.sum((1, 2), dtype=torch.float64).expand(labels.shape[:-1])
    lengths = lengths_of(potentials)
    place = torch.arange(time, device=labels.device)
    starts = durations > 0
    within = place < lengths[:, None]
    stops = (starts.roll(-1, -1) | (place == lengths[:, None] - 1)) & within

    def at_label(term: Tensor, where: Tensor) -> Tensor:
        each = term.expand(*labels.shape[:-2], *term.shape)
        picked = each.gather(-1, labels[..., None]).squeeze(-1)
        return torch.where(where, picked, 0.0).sum(-1, dtype=torch.float64)

    total = at_label(potentials.emissions, within)
    if potentials.begin is not None:
        total = total + at_label(potentials.begin, starts)
    if potentials.finish is not None:
        total = total + at_label(potentials.finish, stops)
    sequence = torch.arange(batch, device=labels.device)[:, None]
    row = (durations - 1).clamp(min=0)
    where = {"B": sequence, "T": place, "K": row}

    def indexed(name: str, *labels: Tensor) -> Tensor:
        """What a term that has any of these axes says of the segments that begin at each position."""
        term = getattr(potentials, name)
        axes = axes_of(name, term)[: -len(labels)]
        picked: Tensor = term[(*(where[letter] for letter in axes), *labels)]
        return picked

    total = total + torch.where(starts, indexed("duration", labels), 0.0).sum(-1, dtype=torch.float64)
    transition = indexed("transition", labels.roll(1, -1), labels)[..., 1:]
    total = total + torch.where(starts[..., 1:], transition, 0.0).sum(-1, dtype=torch.float64)
    present = lengths > 0
    final = (lengths[:, None] - 1).clamp(min=0).expand(*labels.shape[:-1], 1)
    last = labels.gather(-1, final).squeeze(-1)
    for term, label in ((potentials.start, labels[..., 0]), (potentials.end, last)):
        if term is not None:
            total = total + torch.where(present, term[label].double(), 0.0)
    if potentials.cuts is not None:
        across = potentials.cuts & within & ~starts
        across[..., :1] = False
        total = torch.where(across.any(-1), -torch.inf, total)
    return total


def agreeing(potentials: Potentials[Tensor], labels: Tensor) -> Tensor:
    """`(B, T, C)` emissions with `-inf` wherever the labels say otherwise.

    Args:
        potentials: the terms.
        labels: `(B, T)` integers, `-100` where the label is unknown; past the lengths anything may stand.
    Raises: ValueError naming the sequence and the position of a label out of range.
    """
    batch, time, classes = potentials.shape
    check_label_grid(labels, (batch, time))
    known = torch.ops.semicrf.check_labels(labels, lengths_of(potentials), classes, validating())
    label = torch.arange(classes, device=labels.device)
    contradicted = (known != UNKNOWN)[:, :, None] & (known[:, :, None] != label)
    return potentials.emissions.masked_fill(contradicted, -torch.inf)
