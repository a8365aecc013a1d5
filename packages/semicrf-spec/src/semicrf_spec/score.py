"""The score of a segmentation, as it is defined."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from semicrf_spec.dense import DensePotentials
from semicrf_spec.potentials import Potentials
from semicrf_spec.segments import Segment, check_segments


def score(
    potentials: Potentials[Any], segmentations: Sequence[Sequence[tuple[int, int, int]]]
) -> npt.NDArray[np.float64]:
    """Score of one segmentation per sequence.

        score(y) = start[c_1] + end[c_n]
                 + sum_i ( sum_{u=s_i}^{e_i-1} emissions[u, c_i] + duration[e_i-s_i-1, c_i]
                           + begin[s_i, c_i] + finish[e_i-1, c_i] )
                 + sum_{i>=2} transition[c_{i-1}, c_i]

    and `-inf` where a segment lies across one of the cuts.

    Args:
        potentials: the terms, as numpy arrays.
        segmentations: B lists of `(start, end, label)` that tile `[0, length)`.
    Returns: `(B,)` float64 nats; `-inf` for a segmentation that is forbidden.
    Raises: ValueError naming the argument that holds NaN or `+inf`, the length out of range, or the
        sequence and the segment that does not fit.
    Cost: O(L) a sequence, and one pass over the terms.
    Source: Sarawagi & Cohen 2004.
    """
    potentials.check_values()
    terms = DensePotentials.of(potentials.as_float64())
    if len(segmentations) != potentials.shape[0]:
        raise ValueError(
            f"{len(segmentations)} segmentations given; expected B = {potentials.shape[0]}, one a sequence"
        )
    return np.array(
        [score_sequence(terms, b, segments) for b, segments in enumerate(segmentations)],
        dtype=np.float64,
    )


def score_sequence(
    terms: DensePotentials[Any], b: int, segmentation: Sequence[tuple[int, int, int]]
) -> float:
    """Score of a segmentation of sequence `b`; `terms` are dense."""
    _, _, num_classes = terms.shape
    segments = check_segments(
        segmentation,
        int(terms.lengths[b]),
        num_classes=num_classes,
        max_duration=terms.max_duration,
        sequence=b,
    )
    if not segments:
        return 0.0
    inner = sum(_segment_score(terms, b, segment) for segment in segments)
    between = sum(_transition_score(terms, b, left, right) for left, right in pairwise(segments))
    first, last = segments[0].label, segments[-1].label
    return _at(terms.start, first) + inner + between + _at(terms.end, last)


def _segment_score(terms: DensePotentials[Any], b: int, segment: Segment) -> float:
    start, end, label = segment
    if np.any(terms.cuts[b, start + 1 : end]):
        return -np.inf
    return (
        float(np.sum(terms.emissions[b, start:end, label]))
        + _at(terms.duration, b, *duration_place(terms, segment))
        + _at(terms.begin, b, start, label)
        + _at(terms.finish, b, end - 1, label)
    )


def _transition_score(terms: DensePotentials[Any], b: int, left: Segment, right: Segment) -> float:
    return _at(terms.transition, b, *transition_place(terms, left, right))


def duration_place(terms: DensePotentials[Any], segment: Segment) -> tuple[int, ...]:
    """Which entry of a sequence's durations scores a segment."""
    by_position = terms.duration.ndim == 4
    return *((segment.start,) if by_position else ()), segment.duration - 1, segment.label


def transition_place(terms: DensePotentials[Any], left: Segment, right: Segment) -> tuple[int, ...]:
    """Which entry of a sequence's transitions scores that a segment follows another."""
    by_duration = terms.transition.ndim == 5
    return right.start, *((right.duration - 1,) if by_duration else ()), left.label, right.label


def _at(term: Any, *index: int) -> float:
    return float(term[index])
