"""Sequences that were cut off mid-segment, by enumeration: the definition of censoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from semicrf_spec.enumeration import Enumeration, Floats, Segments, enumerate_batch
from semicrf_spec.potentials import Potentials
from semicrf_spec.score import score_sequence
from semicrf_spec.semirings import logsumexp


@dataclass(frozen=True)
class CensoredEnumeration(Enumeration):
    """All segmentations that may be seen of one sequence, with their scores in nats.

        score(seen) = score(seen without durations) + sum_i log sum of exp(duration[d - 1, c_i])

    over all that segment i may have lasted, `d = before + its seen positions + after` up to K, where `before`
    is 0 but for a first segment cut off on the left, and `after` but for a last one cut off on the right.

    Args:
        terms: dense potentials of a batch, float64.
        sequence: which sequence of the batch.
        left: whether the first segment may have begun before position 0.
        right: whether the last segment may have gone on after the last position.
    Source: Guédon 2003 for the right side; Yu 2010.
    """

    left: bool = False
    right: bool = False

    @cached_property
    def scores(self) -> Floats:
        """`(N,)`, in the order of `all`."""
        duration: Any = self.terms.duration
        timeless = replace(self.terms, duration=np.zeros_like(duration))
        return np.array(
            [score_sequence(timeless, self.sequence, y) + self._durations_score(y) for y in self.all]
        )

    def _durations_score(self, segments: Segments) -> float:
        duration: Any = self.terms.duration
        total = 0.0
        for number, (start, end, label) in enumerate(segments):
            extra = range(self.terms.max_duration)
            before = extra if self.left and number == 0 else (0,)
            after = extra if self.right and number == len(segments) - 1 else (0,)
            lasted = [b + end - start + a for b in before for a in after]
            possible = [d - 1 for d in lasted if d <= self.terms.max_duration]
            total += float(logsumexp(duration[self.sequence, possible, label], 0))
        return total


def enumerate_censored(
    potentials: Potentials[Any], left: bool | Sequence[bool], right: bool | Sequence[bool]
) -> list[CensoredEnumeration]:
    """One `CensoredEnumeration` per sequence of a batch of numpy potentials.

    Args:
        potentials: the terms, durations without a position axis.
        left: which sequences are cut off on the left; one answer for all, or one for each.
        right: likewise on the right.
    Raises: as `enumerate_batch`.
    """
    listed = enumerate_batch(potentials)
    sides = zip(*(np.broadcast_to(side, len(listed)).tolist() for side in (left, right)), strict=True)
    return [CensoredEnumeration(e.terms, e.sequence, *side) for e, side in zip(listed, sides, strict=True)]
