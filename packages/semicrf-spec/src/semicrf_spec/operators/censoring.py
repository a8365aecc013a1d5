"""Sequences that were cut off mid-segment, as potentials over copies of the labels, which backends take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from semicrf_spec.operators.expectations import Posteriors
from semicrf_spec.operators.gold import score_at, sound
from semicrf_spec.operators.segmentation import NO_LABEL, Segmentation
from semicrf_spec.operators.sums import logsumexp
from semicrf_spec.potentials import Potentials, axes_of

Side = bool | Tensor
"""Whether sequences are cut off on one side: all alike, or `(B,)` booleans."""


@dataclass(frozen=True)
class Copies:
    """Copies of every label, one for each place of a segment that counts: copy i of c is `c * count + i`.

    The copies of a label are neighbours, those that are first after those that are not. So the order of ties
    is that of the labels themselves: of all segments that end somewhere a first one is the longest.

    Args:
        first: whether the first segment has a copy of its own.
        last: whether the last one has.
    """

    first: bool
    last: bool

    @property
    def places(self) -> list[tuple[bool, bool]]:
        """Of each copy, whether it is the first segment and whether it is the last."""
        choices = ((False, True) if copied else (False,) for copied in (self.last, self.first))
        return [(first, last) for last, first in product(*choices)]

    @property
    def count(self) -> int:
        """How many copies of a label there are."""
        return (1 + self.first) * (1 + self.last)

    def united(self, other: Copies) -> Copies:
        """The copies that both need."""
        return Copies(self.first or other.first, self.last or other.last)

    def marks(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """`places` as two tensors of booleans `(count,)`, made on the device: nothing is copied there."""
        number = torch.arange(self.count, device=device)
        return number % (1 + self.first) == 1, number // (1 + self.first) == 1

    def spread(self, term: Tensor) -> Tensor:
        """`(..., C count)`: a score that all copies of a label share."""
        return term.repeat_interleave(self.count, -1)

    def each(self, terms: Iterable[Tensor]) -> Tensor:
        """`(..., C count)`: a score of its own for each copy, in the order of `places`."""
        alike = torch.broadcast_tensors(*terms)  # type: ignore[no-untyped-call]  # PyTorch's
        return torch.stack(alike, dim=-1).flatten(-2)

    def between(self, into: Tensor) -> Tensor:
        """`(..., C count, C count)`: nothing leads to a copy that is first, or from one that is last."""
        wide = into.repeat_interleave(self.count, -2)
        first, last = self.marks(wide.device)
        return wide.masked_fill((last[:, None] | first).repeat(into.shape[-2], into.shape[-2]), -math.inf)

    def at_edge(self, score: Tensor | None, own: Tensor | None, like: Tensor) -> Tensor | None:
        """`(C count,)` scores of the first or the last label, which only its own copies can be, if any."""
        if own is None:
            return None if score is None else self.spread(score)
        given = like.new_zeros(like.shape[-1]) if score is None else score
        return self.spread(given).masked_fill(~own.repeat(len(given)), -math.inf)

    def labels_of(self, labels: Tensor, durations: Tensor) -> Tensor:
        """`(..., B, T)` labels in copies, of labels and durations that are known to be sound."""
        starts = durations > 0
        number = starts.cumsum(-1)
        which = torch.zeros_like(labels)
        if self.first:
            which = which + (number == 1)
        if self.last:
            which = which + (number == starts.sum(-1, keepdim=True)) * (1 + self.first)
        return labels * self.count + which

    def folded(self, segmentation: Segmentation) -> Segmentation:
        """What was found in copies, in labels."""
        if self.count == 1:
            return segmentation
        labels = segmentation.labels
        return replace(segmentation, labels=torch.where(labels == NO_LABEL, NO_LABEL, labels // self.count))

    def summed(self, posteriors: Posteriors) -> Posteriors:
        """Expected counts of labels, of those of their copies."""
        if self.count == 1:
            return posteriors
        over_copies = Posteriors(*(self._sum(counts, -1) for counts in posteriors))
        return over_copies._replace(transitions=self._sum(over_copies.transitions, -2))

    def _sum(self, counts: Tensor, axis: int) -> Tensor:
        each: Tensor = counts.unflatten(axis, (-1, self.count))  # type: ignore[no-untyped-call]  # PyTorch's
        return each.sum(axis)


@dataclass(frozen=True, eq=False)
class Censoring:
    """Which sequences may have been cut off mid-segment, and what that makes of their potentials.

    A segment of which m positions are seen has, in place of `duration[m - 1]`,

        S[m - 1]  = log sum_{d >= m} exp(duration[d - 1])                  where one of its ends is cut off
        S2[m - 1] = log sum_{d >= m} (d - m + 1) exp(duration[d - 1])      where both are

    of the row of the position where it is first seen, where durations have an axis of positions. Transitions
    that depend on durations are summed with them, into a last segment cut off on the right:

        log sum_{d >= m} exp(duration[d - 1] + transition[d - 1, i])

    Args:
        left: whether first segments may have begun before position 0.
        right: whether last segments may have gone on after the last position.
        best: whether the best of the durations that are not seen stands for their sum.
    Cost: that of as many labels as there are copies: 2 C where one side is censored, 4 C where both are. Of
        durations `(B, T, K, C)` as many tables, of transitions by duration the square of it, in float64, and
        O(log K) passes over what is given where the right side is censored.
    Source: Guédon 2003; Yu 2010.
    """

    left: Side = False
    right: Side = False
    best: bool = False

    @property
    def copies(self) -> Copies:
        """The copies that tell the segments apart; none where nothing is cut off."""
        return Copies(self.left is not False, self.right is not False)

    @property
    def unweighted(self) -> Censoring:
        """The same, but segments that score 0 however long they lasted score 0, not the log of a number."""
        return replace(self, best=True)

    def selected(self, sequences: Tensor) -> Censoring:
        """That of some sequences, given by their numbers."""
        left, right = (
            side if isinstance(side, bool) else side[sequences] for side in (self.left, self.right)
        )
        return replace(self, left=left, right=right)

    def unfolded(self, potentials: Potentials[Tensor], copies: Copies | None = None) -> Potentials[Tensor]:
        """The potentials of the copies: their segmentations are those seen of the labels, one to one.

        Args:
            potentials: the terms; what counts of them has been checked.
            copies: those that are wanted, `self.copies` among them.
        """
        copies = self.copies if copies is None else copies
        if copies.count == 1:
            return potentials
        given = potentials
        first, last = copies.marks(given.emissions.device)
        changed: dict[str, Any] = {
            "emissions": copies.spread(given.emissions),
            "transition": self._transition(given, copies),
            "duration": self._durations(given, copies),
            "start": copies.at_edge(given.start, first if copies.first else None, given.emissions),
            "end": copies.at_edge(given.end, last if copies.last else None, given.emissions),
            "begin": None if given.begin is None else copies.spread(given.begin),
            "finish": None if given.finish is None else copies.spread(given.finish),
        }
        return replace(given, **changed)

    def summed(self, posteriors: Posteriors, potentials: Potentials[Tensor]) -> Posteriors:
        """Expected counts of the potentials, of those of the copies."""
        found = self.copies.summed(posteriors)
        if found.transitions.ndim - 1 > potentials.transition.ndim:  # those of sequences have positions too
            return found._replace(transitions=found.transitions.sum(1))
        return found

    def _durations(self, given: Potentials[Tensor], copies: Copies) -> Tensor:
        """`(..., K, C count)`, for each sequence where they differ: float64, for the sums."""
        seen = self._counted("duration", given)
        begun = seen[:, :1] if seen.ndim == 4 else seen  # at position 0, as first segments are
        rows = []
        for first, last in copies.places:
            row = begun if first else seen
            for side in (first and self.left, last and self.right):
                if side is not False:
                    row = _where(side, survivors(row, self.best), row)
            rows.append(row)
        return copies.each(rows)

    def _transition(self, given: Potentials[Tensor], copies: Copies) -> Tensor:
        """`(..., C count, C count)`, of each sequence and position where sequences differ.

        Into a last copy leads the log of the mean of exp(transition) over what it may have lasted: with its
        duration, which is S, the two add up to their joint sum.
        """
        transition = given.transition
        if self.right is False or "K" not in axes_of("transition", transition):
            return copies.between(copies.spread(transition))
        duration, seen = (self._counted(name, given) for name in ("duration", "transition"))
        duration = duration[None, None] if duration.ndim == 2 else duration
        duration = duration[:, None] if duration.ndim == 3 else duration  # (1 or B, 1 or T, K, C)
        seen = seen if seen.ndim == 5 else seen[None, None]
        alone = survivors(duration, self.best)
        both: Tensor = survivors((duration[..., None, :] + seen).flatten(-2), self.best)
        joint: Tensor = both.unflatten(-1, seen.shape[-2:])  # type: ignore[no-untyped-call]  # PyTorch's
        mean = joint - torch.where(alone == -math.inf, 0.0, alone)[..., None, :]
        mean = _where(self.right, mean, seen)
        wide = copies.between(copies.each(mean if last else seen for _, last in copies.places))
        if transition.ndim == 3 and wide.shape[:2] == (1, 1):
            return wide[0, 0]
        return wide.expand(*given.shape[:2], *wide.shape[2:])

    def _counted(self, name: str, given: Potentials[Tensor]) -> Tensor:
        """A term in float64, and `-inf` where it counts for nothing, whatever stands there."""
        within = given.within(name, self.left, self.right)
        term: Tensor = getattr(given, name).double()
        if within is None:
            return term
        if name == "transition":
            within[:, :1] = False  # no transition enters the first segment
        return term.masked_fill(~within, -math.inf)

    def score(
        self,
        segmentation: Segmentation,
        potentials: Potentials[Tensor],
        unfolded: Potentials[Tensor] | None = None,
    ) -> Tensor:
        """`(..., B)` float64 nats of what is seen, differentiable; as `semicrf_spec.operators.score_of`.

        `unfolded` are those of the copies, where they are there already.
        """
        labels, durations, absent = sound(segmentation, potentials)
        terms = self.unfolded(potentials) if unfolded is None else unfolded
        found = score_at(self.copies.labels_of(labels, durations), durations, terms)
        return torch.where(absent, -torch.inf, found)


def survivors(duration: Tensor, best: bool = False) -> Tensor:
    """`(..., K, C)`: row m - 1 is the logsumexp of the rows from m - 1 on, or the best of them.

    Cost: O(K C log K), in steps that double how far a sum reaches.
    """
    found, reach = duration, 1
    while reach < duration.shape[-2]:
        beyond = torch.full_like(found[..., :reach, :], -math.inf)
        both = torch.stack([found, torch.cat([found[..., reach:, :], beyond], -2)])
        found = both.amax(0) if best else logsumexp(both, 0)
        reach *= 2
    return found


def _where(side: Side, censored: Tensor, seen: Tensor) -> Tensor:
    """Each sequence's scores, or everyone's; of terms without an axis of sequences, those of durations."""
    if isinstance(side, bool):
        return censored if side else seen
    return torch.where(side.reshape(-1, *(1,) * (max(censored.ndim, 3) - 1)), censored, seen)
