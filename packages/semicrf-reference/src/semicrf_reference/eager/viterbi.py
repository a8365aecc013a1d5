"""The best segmentation: the recursion over (max, +) with backpointers, and a walk from the end."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_reference.eager.scan import prepared, shifted
from semicrf_spec import Potentials, Segment
from semicrf_spec.operators import Segmentation, over_terms


@over_terms
def viterbi(potentials: Potentials[Tensor]) -> Segmentation:
    """The segmentation of highest score.

        argmax_y score(y)

    Of equal scores the same one wins on every backend: read from the last segment backwards, the lowest
    label, then the shortest duration.

    Args: the terms of `semicrf_spec.Potentials`.
    Returns: `Segmentation` with its scores, not differentiable; without segments and with score `-inf`
        where nothing is allowed.
    Raises: ValueError or TypeError naming the argument, what was expected and what was given.
    Cost: O(B T C (K + C)) time in a Python loop over T.
    Source: Sarawagi & Cohen 2004.
    """
    with torch.no_grad():
        terms = prepared(potentials)
        batch, time, classes = terms.shape
        closed = terms.emissions.new_full((batch, classes), -torch.inf)
        open_ = terms.emissions.new_full((batch, terms.max_duration, classes), -torch.inf)
        previous, durations, totals = [], [], [torch.zeros_like(closed)]
        for t in range(time):
            arriving, label = first_max(closed[:, :, None] + terms.transition[:, t])
            star = terms.start.expand(batch, -1) if t == 0 else arriving
            lasting = torch.where(terms.cuts[:, t, None, None], -torch.inf, open_)
            open_ = shifted(star + terms.begin[:, t], lasting) + terms.emissions[:, t, None]
            best, row = first_max(open_ + terms.duration)
            closed = terms.finish[:, t] + best
            previous.append(label.tolist())
            durations.append((row + 1).tolist())
            totals.append(closed + terms.end)
        segments, scores = [], []
        for b, length in enumerate(terms.lengths.tolist()):
            score, label = first_max(totals[length][b, :, None])
            scores.append(score)
            allowed = bool(score > -torch.inf)
            segments.append(walk(b, length if allowed else 0, int(label), durations, previous))
    return _assembled(segments, terms.lengths.long(), time, torch.cat(scores or [closed[:0, 0]]))


def first_max(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over axis -2 and the first index that attains it."""
    index = x.argmax(dim=-2, keepdim=True)
    return x.gather(-2, index).squeeze(-2), index.squeeze(-2)


def walk(
    b: int, end: int, label: int, durations: list[list[list[int]]], previous: list[list[list[int]]]
) -> list[Segment]:
    """The segments of sequence `b`, followed back from the last one."""
    segments: list[Segment] = []
    while end > 0:
        start = end - durations[end - 1][b][label]
        segments.append(Segment(start, end, label))
        end, label = start, previous[start][b][label]
    return segments[::-1]


def _assembled(segments: list[list[Segment]], lengths: Tensor, time: int, scores: Tensor) -> Segmentation:
    found = Segmentation.from_list(segments, num_positions=time, device=lengths.device)
    return Segmentation(found.labels, found.durations, lengths, scores)
