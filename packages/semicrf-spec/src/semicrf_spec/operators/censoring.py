"""Sequences that were cut off mid-segment, as potentials over copies of the labels, which backends take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from semicrf_spec.operators.expectations import Posteriors
from semicrf_spec.operators.gold import score_at, sound
from semicrf_spec.operators.segmentation import NO_LABEL, Segmentation
from semicrf_spec.operators.sums import logsumexp
from semicrf_spec.potentials import Potentials

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

    def between(self, transition: Tensor) -> Tensor:
        """`(..., C count, C count)`: nothing leads to a copy that is first, or from one that is last."""
        wide = self.spread(transition).repeat_interleave(self.count, -2)
        first, last = self.marks(wide.device)
        return wide.masked_fill((last[:, None] | first).repeat(*transition.shape[-2:]), -math.inf)

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

    Args:
        left: whether first segments may have begun before position 0.
        right: whether last segments may have gone on after the last position.
        best: whether the best of the durations that are not seen stands for their sum.
    Cost: that of as many labels as there are copies: 2 C where one side is censored, 4 C where both are.
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
            potentials: the terms.
            copies: those that are wanted, `self.copies` among them.
        Raises: ValueError for terms by which a segment's score depends on more than its place.
        """
        copies = self.copies if copies is None else copies
        if copies.count == 1:
            return potentials
        check_summable(potentials)
        given = potentials
        first, last = copies.marks(given.emissions.device)
        changed: dict[str, Any] = {
            "emissions": copies.spread(given.emissions),
            "transition": copies.between(given.transition),
            "duration": self._durations(given.duration, copies),
            "start": copies.at_edge(given.start, first if copies.first else None, given.emissions),
            "end": copies.at_edge(given.end, last if copies.last else None, given.emissions),
            "begin": None if given.begin is None else copies.spread(given.begin),
            "finish": None if given.finish is None else copies.spread(given.finish),
        }
        return replace(given, **changed)

    def _durations(self, duration: Tensor, copies: Copies) -> Tensor:
        """`(K, C count)`, or `(B, K, C count)` where sequences differ: float64, for the sums."""
        seen = duration.double()
        one_end = survivors(seen, self.best)
        both_ends = survivors(one_end, self.best)
        rows = []
        for first, last in copies.places:
            left, right = first and self.left, last and self.right
            rows.append(_where(right, _where(left, both_ends, one_end), _where(left, one_end, seen)))
        alike = torch.broadcast_tensors(*rows)  # type: ignore[no-untyped-call]  # PyTorch's
        return torch.stack(alike, dim=-1).flatten(-2)

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


def check_summable(potentials: Potentials[Tensor]) -> None:
    """Raise unless the score of a duration is the same wherever a segment is.

    Raises: ValueError naming the term.
    """
    for name, legal, number in (
        ("duration", "(K, C) or (B, K, C)", (2, 3)),
        ("transition", "(C, C) or (B, T, C, C)", (2, 4)),
    ):
        term: Tensor = getattr(potentials, name)
        if term.ndim not in number:
            raise ValueError(
                f"{name} has shape {tuple(term.shape)}, which cannot be combined with segments that were cut "
                f"off: of what is not seen there is no position, or no duration. Expected {legal}, or "
                "left_censored and right_censored False"
            )


def _where(side: Side, censored: Tensor, seen: Tensor) -> Tensor:
    """Each sequence's durations, or everyone's."""
    if isinstance(side, bool):
        return censored if side else seen
    return torch.where(side[:, None, None], censored, seen)
