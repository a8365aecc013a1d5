"""Cross-entropy and Kullback-Leibler divergence: expectations under one model of the scores of another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from semicrf_spec.operators.calls import OverTerms, over_terms
from semicrf_spec.operators.checks import can_look
from semicrf_spec.operators.expectations import Posteriors, expected_score
from semicrf_spec.operators.gold import lengths_of
from semicrf_spec.potentials import DTYPES, SHAPES, Potentials, axes_of

Both = Callable[[Potentials[Tensor]], tuple[Tensor, Posteriors]]
"""Log partitions and posteriors of potentials."""

OfEach = Callable[[Potentials[Tensor]], Tensor]
"""A number of each sequence: its log partition, or its best score."""


def cross_entropy_by(both: Both, log_partition: OfEach, best_score: OfEach) -> OverTerms[Tensor]:
    """`cross_entropy`, with what a backend computes of one model."""

    @over_terms
    def cross_entropy(potentials: Potentials[Tensor], other: Potentials[Tensor]) -> Tensor:
        """Cross-entropy to another model of the same sequences, exact at any length.

            cross_entropy = -sum_y p(y) log q(y) = log_partition_q - E_p[score_q]

        Arguments and errors are those of `log_partition`, and by name:

        Args:
            other: the potentials of `q`, of the same `(B, T, C)` and lengths.
        Returns: `(B,)` float64 nats; infinite where `q` forbids what `p` allows, however improbable it is; 0
            where `p` allows nothing.
        Raises: also ValueError for potentials of other sequences.
        Cost: that of `posteriors`, of one more `log_partition` and of `viterbi`; transitions by position in
            `other` alone take O(B T C^2) memory.
        Source: Li & Eisner 2009.
        """
        ours, theirs = aligned(potentials, other)
        own, posteriors = both(ours)
        other_log_partition = _finite(log_partition(theirs))
        total = other_log_partition - expected_score(posteriors, theirs)
        return _where_defined(total, own, best_score, ours, theirs)

    return cross_entropy


def kl_divergence_by(both: Both, log_partition: OfEach, best_score: OfEach) -> OverTerms[Tensor]:
    """`kl_divergence`, with what a backend computes of one model."""

    @over_terms
    def kl_divergence(potentials: Potentials[Tensor], other: Potentials[Tensor]) -> Tensor:
        """Kullback-Leibler divergence from another model of the same sequences, exact at any length.

            kl_divergence = sum_y p(y) log(p(y) / q(y))
                          = log_partition_q - log_partition_p + E_p[score_p - score_q]

        Scores are subtracted before they are averaged, so two models that are nearly the same lose no digits.
        Arguments and errors are those of `cross_entropy`.

        Returns: `(B,)` float64 nats, at least 0 up to rounding and 0 for equal potentials; infinite and 0
            where `cross_entropy` is.
        Cost: that of `cross_entropy`.
        Source: Li & Eisner 2009.
        """
        ours, theirs = aligned(potentials, other)
        own, posteriors = both(ours)
        difference = _finite(log_partition(theirs)) - _finite(own)
        total = difference + expected_score(posteriors, _difference(ours, theirs))
        return _where_defined(total, own, best_score, ours, theirs)

    return kl_divergence


def aligned(
    potentials: Potentials[Tensor], other: Potentials[Tensor]
) -> tuple[Potentials[Tensor], Potentials[Tensor]]:
    """Both with transitions and durations of one kind, and the same longest duration.

    Raises: ValueError where they are not potentials of the same sequences.
    """
    if not isinstance(other, Potentials):
        raise TypeError(f"other is a {type(other).__name__}; expected Potentials")
    if potentials.shape != other.shape:
        raise ValueError(
            f"other has (B, T, C) = {other.shape}; expected {potentials.shape}, as the model it is compared "
            "with"
        )
    ours, theirs = lengths_of(potentials), lengths_of(other)
    if can_look(ours) and bool((ours != theirs).any()):
        b = int((ours != theirs).nonzero()[0])
        raise ValueError(
            f"sequence {b} of other has {int(theirs[b])} positions; expected {int(ours[b])}, as in the model "
            "it is compared with"
        )
    both = (potentials, other)
    longest = max(p.max_duration for p in both)
    wanted = {
        name: {letter for p in both for letter in axes_of(name, getattr(p, name))}
        for name in ("transition", "duration")
    }
    return _widened(potentials, longest, wanted), _widened(other, longest, wanted)


def _widened(potentials: Potentials[Tensor], longest: int, wanted: dict[str, set[str]]) -> Potentials[Tensor]:
    """The same scores, with the axes that are wanted, and durations up to the longest."""
    missing = longest - potentials.max_duration
    sizes = dict(zip("BTC", potentials.shape, strict=True)) | {"K": potentials.max_duration}

    def widened(name: str, beyond: float) -> Tensor:
        term = getattr(potentials, name)
        own = axes_of(name, term)
        axes = [letter for letter in SHAPES[name][-1].split() if letter in wanted[name]]
        inserted = term[tuple(slice(None) if letter in own else None for letter in axes)]
        spread: Tensor = inserted.expand([sizes[letter] for letter in axes])
        if missing == 0 or "K" not in axes:
            return spread
        at = axes.index("K")
        rest = [missing if i == at else size for i, size in enumerate(spread.shape)]
        return torch.cat([spread, spread.new_full(rest, beyond)], dim=at)

    return replace(potentials, transition=widened("transition", 0.0), duration=widened("duration", -math.inf))


def _finite(nats: Tensor) -> Tensor:
    """0 where something is forbidden: `_where_defined` says what becomes of it."""
    return torch.where(torch.isneginf(nats), 0.0, nats)


def _difference(ours: Potentials[Tensor], theirs: Potentials[Tensor]) -> Potentials[Tensor]:
    """Our scores less theirs, in float64; 0 where one of them forbids."""

    def less(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None:
            return None if b is None else -_finite(b.double())
        own = _finite(a.double())
        return own if b is None else own - _finite(b.double())

    scores = (name for name in SHAPES if name not in DTYPES)
    found: dict[str, Any] = {name: less(getattr(ours, name), getattr(theirs, name)) for name in scores}
    return replace(ours, **found)


def _where_defined(
    total: Tensor,
    log_partition: Tensor,
    best_score: OfEach,
    ours: Potentials[Tensor],
    theirs: Potentials[Tensor],
) -> Tensor:
    """The total, but infinite where they forbid what we allow, and 0 where we allow nothing."""
    with torch.no_grad():
        offences, none = _offences(ours, theirs)
        forbidden = best_score(offences) > none
    total = torch.where(forbidden, math.inf, total)
    return torch.where(torch.isneginf(log_partition), 0.0, total)


def _offences(ours: Potentials[Tensor], theirs: Potentials[Tensor]) -> tuple[Potentials[Tensor], Tensor]:
    """Potentials that allow what ours do and score how much theirs forbid of it; the `(B,)` score of none.

    Each score of `-inf` of theirs counts 1. A segment across a cut of theirs is not seen, so one that begins
    there counts -1 instead.
    """

    def offence(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        either = b if a is None else a
        if either is None:
            return None
        found = torch.zeros_like(either) if b is None else torch.isneginf(b).to(either.dtype)
        return found if a is None else found.masked_fill(torch.isneginf(a), -math.inf)

    scores = (name for name in SHAPES if name not in DTYPES)
    found: dict[str, Any] = {name: offence(getattr(ours, name), getattr(theirs, name)) for name in scores}
    none = lengths_of(ours) * 0
    if theirs.cuts is not None:
        place = torch.arange(theirs.cuts.shape[1], device=theirs.cuts.device)
        none = -(theirs.cuts & (place < lengths_of(ours)[:, None])).sum(1)
        kept = theirs.cuts[:, :, None].expand(ours.emissions.shape).to(ours.emissions.dtype)
        found["begin"] = -kept if found["begin"] is None else found["begin"] - kept
    return replace(ours, **found), none
