"""Samples: the scan, and a walk back from the end that draws each label and duration."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_reference.eager.scan import by_duration, by_end, messages, prepared
from semicrf_spec import LOG, Potentials
from semicrf_spec.operators import NO_LABEL, first_above, sampling


def draw(*arguments: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and durations, as `semicrf_spec.operators.Draw` says.

    What ends at a boundary bears a label with the weight `closed` times that of what comes next, and lasts d
    positions with the weight `open[d] * duration[d]`.

    Cost: O(B T C (K + C)) time and O(B T C K) memory, and O(n B T (K + C)), in a Python loop over T.
    """
    *given, uniforms = arguments
    terms = prepared(Potentials(*given))
    batch, time, classes = terms.shape
    sequence = torch.arange(batch, device=uniforms.device)
    place = torch.arange(time, device=uniforms.device)
    lengths = terms.lengths.long()
    labels = torch.full(uniforms.shape[:-1], NO_LABEL, device=uniforms.device)
    durations = torch.zeros_like(labels)
    stop = lengths.expand(len(uniforms), -1).clone()  # (n, B): where the next segment ends
    following = torch.zeros_like(stop)  # the label of the one after it
    row = torch.zeros_like(stop)  # and which of the transitions lead to one of its duration
    transitions, scores_of = by_duration(terms), by_end(terms)
    for t, (open_, closed) in reversed([*enumerate(messages(terms, LOG), start=1)]):
        into = transitions[:, min(t, time - 1)]  # (B, D, C, C)
        after = torch.where((lengths == t)[:, None], terms.end, into[sequence, row, :, following])
        scores = closed + after
        here = (stop == t) & (scores > -torch.inf).any(-1)
        label = first_above(_weights(scores), uniforms[:, :, t - 1, 0]).clamp(max=classes - 1)
        ending = (open_ + scores_of[:, t - 1])[sequence, :, label]
        duration = first_above(_weights(ending), uniforms[:, :, t - 1, 1]) + 1
        inside = here[..., None] & (place < t) & (place >= t - duration[..., None])
        labels = torch.where(inside, label[..., None], labels)
        durations = torch.where(inside & (place == t - duration[..., None]), duration[..., None], durations)
        stop, following = torch.where(here, t - duration, stop), torch.where(here, label, following)
        row = torch.where(here, (duration - 1).clamp(max=transitions.shape[2] - 1), row)
    return labels, durations


def _weights(scores: Tensor) -> Tensor:
    """Along the last axis, relative to the largest; 0 where nothing is allowed."""
    peak = scores.amax(-1, keepdim=True)
    return torch.where(peak > -torch.inf, (scores - peak).exp(), 0.0)


sample = sampling(draw)
