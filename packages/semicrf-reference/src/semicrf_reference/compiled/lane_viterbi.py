"""Viterbi of all lanes: the sums and comparisons of the scan over (max, +), so the same bits.

Messages are kept instead of backpointers: a walk back asks at each position for one label, not for all.
"""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.extremes import larger
from semicrf_reference.compiled.jit import inlined, jit, kernel
from semicrf_reference.compiled.lanes import ROWS
from semicrf_reference.compiled.problem import TERMS, Array
from semicrf_reference.compiled.vectors import (
    LANES,
    empty_rows,
    every,
    gathered,
    lane,
    picked,
    put,
    vector_of,
    where,
)
from semicrf_spec.cost import Size

LANES_DECODING = "Tuple((int64[::1], float64[:,::1], float64[:,::1], float64[:,:,::1]))"
"""Types of the arrays of a `lanes_decoding_space`."""


def lanes_decoding_space(size: Size) -> tuple[Array, ...]:
    """What decoding takes from step to step, and its messages."""
    _, time, _, classes = size
    filled = classes + ROWS
    return (
        np.empty(LANES, np.int64),
        np.empty((filled, classes)),
        empty_rows(filled),
        empty_rows(time + 1, classes),
    )


@kernel(f"void(int64, int64, {TERMS}, float64[::1], int64[:,::1], int64[:,::1], {LANES_DECODING})")
def viterbi_lanes(first, last, arrays, totals, labels, durations, space):
    """Best segmentations of at most LANES sequences, into labels of -1 and durations of 0."""
    emissions, _, transposed, duration, start, end, _, _, lengths, _ = arrays
    after, matrix, star, messages = space
    weights, closed = messages[0], messages[1:]  # (C, LANES) each, as in lanes
    longest = 0
    for b in range(first, last):
        longest = max(longest, lengths[b])
        totals[b] = 0.0
    for i in range(start.size):
        for c in range(len(matrix)):
            matrix[c, i] = transposed[0, 0, c, i] if c < start.size else end[i]
        put(weights[i], gathered(duration[first:last, 0], 0, i))
        put(star[i], every(start[i]))
    for t in range(longest):
        if t > 0:
            arrive_best_lanes(matrix, closed[t - 1], star)
        take_best(star, emissions[first:last], t, weights, closed[t])
    walk_back(
        closed[:longest],
        matrix,
        after,
        lengths[first:last],
        totals[first:last],
        labels[first:last],
        durations[first:last],
    )


@inlined
def arrive_best_lanes(matrix, closed, star):
    """The best way to begin each label, some labels at once."""
    for c in range(0, len(closed), ROWS):
        first = second = third = fourth = every(-math.inf)
        for i in range(len(closed)):
            own = vector_of(closed[i])
            first = larger(first, own + matrix[c, i])
            second = larger(second, own + matrix[c + 1, i])
            third = larger(third, own + matrix[c + 2, i])
            fourth = larger(fourth, own + matrix[c + 3, i])
        put(star[c], first)
        put(star[c + 1], second)
        put(star[c + 2], third)
        put(star[c + 3], fourth)


@inlined
def take_best(star, emissions, t, weights, closed):
    """What begins covers the position and ends.

    Past the length of a sequence anything may stand: it stays in its lane, where nobody looks for it.
    """
    for c in range(len(closed)):
        put(closed[c], (vector_of(star[c]) + gathered(emissions, t, c)) + vector_of(weights[c]))


@jit
def walk_back(closed, matrix, after, lengths, totals, labels, durations):
    """Write the best paths, and their scores.

    Args:
        after: memory for the labels that follow, C behind the end: the row of the matrix that holds `end`.
    """
    classes = matrix.shape[1]
    for g in range(LANES):
        after[g] = classes
    for t in range(len(closed) - 1, -1, -1):
        best, label = best_before(closed[t], matrix, after)
        for g in range(totals.size):
            if lengths[g] == t + 1:
                totals[g] = lane(best, g)
            if lengths[g] > t and totals[g] > -math.inf:
                after[g] = labels[g, t] = lane(label, g)
                durations[g, t] = 1


@inlined
def best_before(closed, matrix, after):
    """The best score of what ended before these labels, and its label: of equal ones the first."""
    best, label = every(-math.inf), every(0.0)
    for i in range(len(closed)):
        score = vector_of(closed[i]) + picked(matrix, after, i)
        label = where(score > best, every(i), label)
        best = larger(best, score)
    return best, label
