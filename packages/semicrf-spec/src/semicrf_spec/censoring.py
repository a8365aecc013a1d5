"""Sequences that were cut off mid-segment, by enumeration: the definition of censoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np

from semicrf_spec.enumeration import Enumeration, Floats, Segments, enumerate_batch
from semicrf_spec.potentials import Potentials
from semicrf_spec.score import duration_place, score_sequence, transition_place
from semicrf_spec.segments import Segment
from semicrf_spec.semirings import logsumexp


@dataclass(frozen=True)
class CensoredEnumeration(Enumeration):
    """All segmentations that may be seen of one sequence, with their scores in nats.

        score(seen) = log sum over before, after of exp(score(seen, lasting so much longer))

    Only a first segment cut off on the left has lasted `before` positions more than are seen, only a last
    one cut off on the right `after`, and none more than K. What is not seen counts in durations, and in
    transitions that depend on them: row `d - 1` is that of all that a segment has lasted, at the position
    where it is first seen. Everything else is scored as it is seen.

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
        transition: Any = self.terms.transition
        rest = replace(self.terms, duration=np.zeros_like(duration), transition=np.zeros_like(transition))
        return np.array([score_sequence(rest, self.sequence, y) + self._lasting_score(y) for y in self.all])

    def _lasting_score(self, seen: Segments) -> float:
        """Durations and transitions, summed over all that the segments may have lasted."""
        if not seen:
            return 0.0
        extra = range(self.terms.max_duration)
        ways = product(extra if self.left else (0,), extra if self.right else (0,))
        return float(logsumexp(np.array([self._one_way(seen, *way) for way in ways]), 0))

    def _one_way(self, seen: Segments, before: int, after: int) -> float:
        lasted = [segment.duration for segment in seen]
        lasted[0] += before
        lasted[-1] += after
        if max(lasted) > self.terms.max_duration:
            return -np.inf
        whole = [Segment(start, start + d, c) for (start, _, c), d in zip(seen, lasted, strict=True)]
        duration: Any = self.terms.duration[self.sequence]
        transition: Any = self.terms.transition[self.sequence]
        each = [duration[duration_place(self.terms, segment)] for segment in whole]
        between = [transition[transition_place(self.terms, *pair)] for pair in pairwise(whole)]
        return float(sum(each) + sum(between))


def enumerate_censored(
    potentials: Potentials[Any], left: bool | Sequence[bool], right: bool | Sequence[bool]
) -> list[CensoredEnumeration]:
    """One `CensoredEnumeration` per sequence of a batch of numpy potentials.

    Args:
        potentials: the terms.
        left: which sequences are cut off on the left; one answer for all, or one for each.
        right: likewise on the right.
    Raises: as `enumerate_batch`, for what may have lasted past the end too.
    """
    sides = [np.broadcast_to(side, potentials.shape[:1]) for side in (left, right)]
    potentials.check_values(*sides)
    flags = zip(*(side.tolist() for side in sides), strict=True)
    listed = enumerate_batch(potentials)
    return [CensoredEnumeration(e.terms, e.sequence, *own) for e, own in zip(listed, flags, strict=True)]
