"""Every segmentation of a tiny case, and what follows from the list alone.

Nothing here knows a recursion: this is the definition that decides every other test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from semicrf_spec.dense import DensePotentials
from semicrf_spec.potentials import Potentials
from semicrf_spec.score import duration_place, score_sequence, transition_place
from semicrf_spec.segments import UNKNOWN, Segment, segments_to_labels

Floats = npt.NDArray[np.float64]
Segments = tuple[Segment, ...]


def segmentations(length: int, num_classes: int, max_duration: int) -> Iterator[Segments]:
    """Every tiling of `[0, length)` by segments of `1..max_duration` positions.

    Cost: `C (1 + C)^(L-1)` of them when `K >= L`.
    """
    if length == 0:
        yield ()
        return
    for duration in range(1, min(max_duration, length) + 1):
        for head in segmentations(length - duration, num_classes, max_duration):
            for label in range(num_classes):
                yield (*head, Segment(length - duration, length, label))


def preference(segments: Segments) -> tuple[tuple[int, int], ...]:
    """The order among segmentations of one score, least first.

    Read from the last segment backwards: the lowest label, then the shortest duration.
    """
    return tuple((segment.label, segment.duration) for segment in reversed(segments))


@dataclass(frozen=True)
class Enumeration:
    """All segmentations of one sequence, with their scores in nats.

    Args:
        terms: dense potentials of a batch, float64.
        sequence: which sequence of the batch.
    """

    terms: DensePotentials[Any]
    sequence: int

    @cached_property
    def all(self) -> list[Segments]:
        """Every segmentation, forbidden ones too."""
        _, _, num_classes = self.terms.shape
        return list(segmentations(self.length, num_classes, self.terms.max_duration))

    @property
    def length(self) -> int:
        """Positions in the sequence."""
        return int(self.terms.lengths[self.sequence])

    @cached_property
    def scores(self) -> Floats:
        """`(N,)`, in the order of `all`."""
        return np.array([score_sequence(self.terms, self.sequence, y) for y in self.all])

    @cached_property
    def log_partition(self) -> float:
        """`log sum_y exp(score(y))`."""
        return _log_sum(self.scores)

    @cached_property
    def probabilities(self) -> Floats:
        """`(N,)`; all 0 when nothing is allowed."""
        if np.isneginf(self.log_partition):
            return np.zeros_like(self.scores)
        weights = np.exp(self.scores - self.scores.max())
        return np.asarray(weights / weights.sum())

    @property
    def count(self) -> int:
        """How many segmentations are not forbidden."""
        return int(np.sum(self.scores > -np.inf))

    @property
    def entropy(self) -> float:
        """`-sum_y p(y) log p(y)`; 0 when nothing is allowed."""
        p = self.probabilities[self.probabilities > 0]
        return float(0.0 - np.sum(p * np.log(p)))

    def top_k(self, k: int) -> list[tuple[float, Segments]]:
        """The k best allowed segmentations with their scores, ties by `preference`."""
        ranked = sorted(
            (-value, preference(y), y)
            for value, y in zip(self.scores.tolist(), self.all, strict=True)
            if value > -np.inf
        )
        return [(-negated, y) for negated, _, y in ranked[:k]]

    def draw(self, uniforms: Floats) -> Segments:
        """The sample that uniform numbers `(T, 2)` in `[0, 1)` select; empty when nothing is allowed.

        From the last segment backwards: the label of the one that ends at t by `uniforms[t - 1, 0]`, then its
        duration by `uniforms[t - 1, 1]`, each the first whose cumulative probability, given the segments
        behind it, is above the number.
        """
        left = [(p, y) for p, y in zip(self.probabilities, self.all, strict=True) if p > 0.0]
        behind: Segments = ()
        stop = self.length if left else 0
        while stop > 0:
            last = -1 - len(behind)
            label = _drawn([(p, y[last].label) for p, y in left], uniforms[stop - 1, 0])
            left = [(p, y) for p, y in left if y[last].label == label]
            duration = _drawn([(p, y[last].duration) for p, y in left], uniforms[stop - 1, 1])
            left = [(p, y) for p, y in left if y[last].duration == duration]
            behind = (Segment(stop - duration, stop, label), *behind)
            stop -= duration
        return behind

    def label_log_prob(self, labels: list[int]) -> float:
        """Log of the summed probability of what agrees with the labels, `-100` being unknown."""
        agrees = [
            all(given in (UNKNOWN, found) for given, found in zip(labels, segments_to_labels(y), strict=True))
            for y in self.all
        ]
        agreeing = _log_sum(self.scores[np.array(agrees, dtype=bool)])
        return agreeing - self.log_partition if agreeing > -np.inf else agreeing

    def counts(self, segments: Segments) -> dict[str, Floats]:
        """How often one segmentation uses each score of the terms.

        position, begins, ends `(T, C)`; transitions `(T, C, C)` or `(T, K, C, C)`, entry `s` at the boundary
        before position `s`; durations `(K, C)` or `(T, K, C)`; first and last label `(C,)`.
        """
        terms = self.terms
        _, time, classes = terms.shape
        found = {
            "position": np.zeros((time, classes)),
            "begins": np.zeros((time, classes)),
            "ends": np.zeros((time, classes)),
            "transitions": np.zeros(terms.transition.shape[1:]),
            "durations": np.zeros(terms.duration.shape[1:]),
            "first": np.zeros(classes),
            "last": np.zeros(classes),
        }
        for segment in segments:
            start, end, label = segment
            found["position"][start:end, label] = 1.0
            found["begins"][start, label] = 1.0
            found["ends"][end - 1, label] = 1.0
            found["durations"][duration_place(terms, segment)] += 1.0
        for left, right in pairwise(segments):
            found["transitions"][transition_place(terms, left, right)] = 1.0
        if segments:
            found["first"][segments[0].label] = found["last"][segments[-1].label] = 1.0
        return found

    @cached_property
    def posteriors(self) -> dict[str, Floats]:
        """Expected counts; all 0 when nothing is allowed."""
        return self._weighted(self.probabilities)

    def covariances(self, values: dict[str, Floats]) -> dict[str, Floats]:
        """Of every count with the value of a segmentation, `sum_y p(y) (V(y) - E[V]) counts(y)`.

        Args:
            values: of the counts of the same names; what is missing is worth nothing.
        """
        counts = map(self.counts, self.all)
        each = np.array([sum(np.vdot(n[name], value) for name, value in values.items()) for n in counts])
        return self._weighted(self.probabilities * (each - self.probabilities @ each))

    def _weighted(self, weights: Floats) -> dict[str, Floats]:
        """The sum of the counts of all, each times its weight."""
        total = {name: np.zeros_like(count) for name, count in self.counts(()).items()}
        for weight, segments in zip(weights, self.all, strict=True):
            if weight != 0.0:
                for name, count in self.counts(segments).items():
                    total[name] += weight * count
        return total


def enumerate_batch(potentials: Potentials[Any]) -> list[Enumeration]:
    """One `Enumeration` per sequence of a batch of numpy potentials.

    Raises: ValueError naming the argument that holds NaN or `+inf`, or the length out of range.
    """
    potentials.check_values()
    terms = DensePotentials.of(potentials.as_float64())
    return [Enumeration(terms, b) for b in range(terms.shape[0])]


def _drawn(weighted: list[tuple[float, int]], uniform: float) -> int:
    """The first integer, in rising order, whose cumulative share is above the number."""
    choices = sorted({choice for _, choice in weighted})
    cumulative = np.cumsum([sum(p for p, choice in weighted if choice == each) for each in choices])
    return choices[int(np.sum(cumulative <= uniform * cumulative[-1]))]


def _log_sum(scores: Floats) -> float:
    if scores.size == 0 or np.isneginf(scores.max()):
        return -np.inf
    return float(scores.max() + np.log(np.sum(np.exp(scores - scores.max()))))
