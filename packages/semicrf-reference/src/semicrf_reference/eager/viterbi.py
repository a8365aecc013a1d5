"""The best segmentations: the recursion over (max, +) with backpointers, and walks from the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semicrf_reference.eager.scan import by_duration, by_end, of_age, prepared, shifted
from semicrf_spec import Potentials, Segment
from semicrf_spec.operators import Segmentation, lengths_of, over_terms, ranking

Pointers = list[list[list[list[int]]]]
"""By position, sequence, rank and label."""

EnteringPointers = list[list[list[list[list[int]]]]]
"""By position, sequence, duration if transitions depend on it, rank and label."""


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
        scores, labels, durations = rank(*potentials.terms(), 1)
    return Segmentation(labels[0], durations[0], lengths_of(potentials), scores[0])


def rank(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, labels and durations, as `semicrf_spec.operators.Rank` says.

        star[s, :, c]   = the k best of  closed[s, r, c'] + transition[s, c', c]  over c' and r
        closed[t, :, c] = finish[t - 1, c] + the k best of  open[t, d, r, c] + duration[d - 1, c]  over d, r

    Cost: O(k B T C (K + C)) time in a Python loop over T.
    """
    *given, k = arguments
    terms = prepared(Potentials(*given))
    batch, time, classes = terms.shape
    transitions, durations = by_duration(terms), by_end(terms)
    closed = absent = terms.emissions.new_full((batch, k, classes), -torch.inf)
    open_ = absent[:, None, None].expand(-1, terms.max_duration, transitions.shape[2], -1, -1)
    entered, lasted, totals = [], [], [absent]
    for t in range(time):
        star, way = best(closed.mT[:, None, ..., None] + transitions[:, t, :, :, None], k)
        if t == 0:
            first = terms.start.expand(batch, 1, classes)
            star = torch.cat([first, absent[:, 1:]], dim=1)[:, None].expand_as(star)
        lasting = torch.where(terms.cuts[:, t, None, None, None, None], -torch.inf, open_)
        open_ = (
            shifted(star + terms.begin[:, t, None, None], lasting) + terms.emissions[:, t, None, None, None]
        )
        closed, row = best(of_age(open_) + durations[:, t, :, None], k)
        closed = closed + terms.finish[:, t, None]
        entered.append(way.tolist())
        lasted.append(row.tolist())
        totals.append(closed + terms.end)
    scores = absent[:, :, 0].clone()
    found: list[list[list[Segment]]] = [[] for _ in range(k)]
    for b, length in enumerate(terms.lengths.tolist()):
        last = [0] * k
        if length == 0:
            scores[b, 0] = 0.0
        else:
            scores[b : b + 1, :, None], way = best(totals[length][b : b + 1].mT[..., None], k)
            last = way.flatten().tolist()
        for segments, score, place in zip(found, scores[b].tolist(), last, strict=True):
            segments.append(walk(b, length if score > -torch.inf else 0, place, lasted, entered))
    ranks = [Segmentation.from_list(y, num_positions=time, device=scores.device) for y in found]
    return scores.mT, torch.stack([y.labels for y in ranks]), torch.stack([y.durations for y in ranks])


def best(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best over lists and ranks of `(..., lists, ranks, C)`, and where in both; of equals the first."""
    ways = x.flatten(-3, -2)
    if k == 1:
        index = ways.argmax(-2, keepdim=True)
        return ways.gather(-2, index), index
    values, index = ways.sort(dim=-2, descending=True, stable=True)
    return values[..., :k, :], index[..., :k, :]


def walk(b: int, end: int, way: int, lasted: Pointers, entered: EnteringPointers) -> list[Segment]:
    """The segments of sequence `b`, followed back from the last one, whose label and rank `way` says."""
    segments: list[Segment] = []
    ranks = len(lasted[0][b]) if lasted else 1
    while end > 0:
        label, rank = divmod(way, ranks)
        row, rank = divmod(lasted[end - 1][b][rank][label], ranks)
        start = end - row - 1
        segments.append(Segment(start, end, label))
        ways = entered[start][b]
        end, way = start, ways[min(row, len(ways) - 1)][rank][label]
    return segments[::-1]


top_k = ranking(rank)
