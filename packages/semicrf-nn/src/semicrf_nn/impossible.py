"""Why a gold segmentation is impossible, said before its infinite loss ends a training run."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_nn.distribution import Segments, SemiCRF
from semicrf_spec import DensePotentials, Segment
from semicrf_spec.operators import Segmentation, can_look
from semicrf_spec.score import duration_place, transition_place


def check_possible(distribution: SemiCRF, gold: Segments | Tensor, weight: Tensor) -> None:
    """Raise if the log of a weight of gold, `(B,)`, is `-inf`.

    Raises: ValueError naming the first sequence, and for segments the term that forbids it.
    """
    impossible = torch.isneginf(weight.detach())
    if not can_look(impossible) or not bool(impossible.any()):
        return
    b = int(impossible.nonzero()[0])
    if isinstance(gold, Tensor):
        raise ValueError(
            f"sequence {b}: no segmentation that the constraints allow agrees with its labels; check "
            "min_duration, max_duration, forbidden_transitions and emissions of -inf"
        )
    found = distribution._segmentation(gold)
    copied = distribution.censoring.copies.labels_of(found.labels, found.durations)
    copies = Segmentation(copied, found.durations, found.lengths).to_list()[b]
    raise ValueError(
        f"sequence {b} has probability 0: {_reason(distribution, b, found.to_list()[b], copies)}"
    )


def check_possible_labels(labels: Tensor, losses: Tensor) -> None:
    """Raise if the loss of a position is infinite.

    Raises: ValueError naming the first sequence, position and label.
    """
    impossible = torch.isinf(losses.detach())
    if can_look(impossible) and bool(impossible.any()):
        b, t = impossible.nonzero()[0].tolist()
        raise ValueError(
            f"sequence {b}: no segmentation that the constraints allow has label {int(labels[b, t])} at "
            f"position {t}; check min_duration, max_duration, forbidden_transitions and emissions of -inf"
        )


def _reason(distribution: SemiCRF, b: int, segments: list[Segment], copies: list[Segment]) -> str:
    """The first term that forbids one of the segments, which bear these copies of their labels."""
    terms = DensePotentials.of(distribution._unfolded)
    for number, (start, end, label) in enumerate(copies):
        segment = f"segment {number} {tuple(segments[number])}"
        scores = {
            "duration": terms.duration[b, *duration_place(terms, copies[number])],
            "emissions": terms.emissions[b, start:end, label].min(),
            "begin": terms.begin[b, start, label],
            "finish": terms.finish[b, end - 1, label],
        }
        if number == 0:
            scores["start"] = terms.start[label]
        else:
            place = transition_place(terms, copies[number - 1], copies[number])
            scores["transition"] = terms.transition[b, *place]
        if number == len(segments) - 1:
            scores["end"] = terms.end[label]
        for name, score in scores.items():
            if score == -torch.inf:
                before = f" from label {segments[number - 1].label}" if name == "transition" else ""
                length = f" of {end - start} positions" if name == "duration" else ""
                return (
                    f"{segment} is forbidden by {name}{before}{length}. Change the segment, or the "
                    "constraint that forbids it"
                )
    return "its score is -inf"
