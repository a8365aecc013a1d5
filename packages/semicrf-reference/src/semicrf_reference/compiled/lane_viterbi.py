"""Viterbi of all lanes: the sums and comparisons of the scan over (max, +), so the same bits.

Messages are kept instead of backpointers: a walk back asks at each position for one label, not for all.
"""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.jit import apart, inlined, jit, kernel
from semicrf_reference.compiled.lanes import LANES
from semicrf_reference.compiled.problem import TERMS, Array
from semicrf_spec.cost import Size

LANES_DECODING = "Tuple((float64[:,::1], float64[:,:,::1]))"
"""Types of the arrays of a `lanes_decoding_space`."""


def lanes_decoding_space(size: Size) -> tuple[Array, ...]:
    """What decoding takes from step to step, and its messages."""
    _, time, _, classes = size
    return np.empty((classes, classes)), np.empty((time + 3, classes, LANES))


@kernel(f"void(int64, int64, {TERMS}, float64[::1], int64[:,::1], int64[:,::1], {LANES_DECODING})")
def viterbi_lanes(first, last, arrays, totals, labels, durations, space):
    """Best segmentations of at most LANES sequences, into labels of -1 and durations of 0."""
    emissions, _, transposed, duration, start, end, _, _, lengths, _ = arrays
    matrix, messages = space
    scores, star, weights, closed = (
        messages[0],
        messages[1],
        messages[2],
        messages[3:],
    )  # (C, LANES), as in lanes
    longest = 0
    for b in range(first, last):
        longest = max(longest, lengths[b])
        totals[b] = 0.0
    for c in range(start.size):
        for i in range(start.size):
            matrix[c, i] = transposed[0, 0, c, i]
        for g in range(LANES):
            weights[c, g] = duration[min(first + g, last - 1), 0, 0, c]
            star[c, g], scores[c, g] = start[c], 0.0
    for t in range(longest):
        for b in range(first, last):
            if t < lengths[b]:
                for c in range(start.size):
                    scores[c, b - first] = emissions[b, t, c]
        if t > 0:
            arrive_best_lanes(matrix, closed[t - 1], star)
        take_best(star, scores, weights, closed[t])
    for b in range(first, last):
        if lengths[b] > 0:
            path = closed[: lengths[b], :, b - first]
            totals[b] = walk_back(path, matrix, end, labels[b], durations[b])


@apart
def arrive_best_lanes(matrix, closed, star):
    """The best way to begin each label."""
    classes, blocked = len(closed), len(closed) // 4 * 4
    for begun in range(0, classes, 2):
        c = min(begun, classes - 2)  # of an odd number, one row twice
        for g in range(LANES):
            star[c, g] = star[c + 1, g] = -math.inf
        for i in range(0, blocked, 4):
            best_of_four(matrix[c], matrix[c + 1], closed, i, star[c], star[c + 1])
        for i in range(blocked, classes):
            best_of_one(matrix[c], matrix[c + 1], closed, i, star[c], star[c + 1])


@apart
def best_of_four(weights, other_weights, message, i, best, other):
    """Four labels of each lane in one pass."""
    a, b, d, e = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
    p, q, r, s = other_weights[i], other_weights[i + 1], other_weights[i + 2], other_weights[i + 3]
    for g in range(LANES):
        w, x, y, z = message[i, g], message[i + 1, g], message[i + 2, g], message[i + 3, g]
        best[g] = max(best[g], w + a, x + b, y + d, z + e)
        other[g] = max(other[g], w + p, x + q, y + r, z + s)


@apart
def best_of_one(weights, other_weights, message, i, best, other):
    """One label of each lane."""
    a, p = weights[i], other_weights[i]
    for g in range(best.size):
        best[g] = max(best[g], message[i, g] + a)
        other[g] = max(other[g], message[i, g] + p)


@apart
def take_best(star, scores, weights, closed):
    """What begins covers the position and ends."""
    for c in range(len(star)):
        for g in range(star.shape[1]):
            closed[c, g] = (star[c, g] + scores[c, g]) + weights[c, g]


@jit
def walk_back(closed, matrix, end, labels, durations):
    """Write the best path of one lane. Returns its score."""
    total, label = best_before(closed[-1], end)
    if total == -math.inf:
        return total
    for t in range(len(closed) - 1, -1, -1):
        labels[t], durations[t] = label, 1
        if t > 0:
            _, label = best_before(closed[t - 1], matrix[label])
    return total


@inlined
def best_before(closed, weights):
    """The best score of what ended before these weights, and its label: of equal ones the first."""
    best, label = -math.inf, 0
    for i in range(weights.size):
        score = closed[i] + weights[i]
        label = i if score > best else label
        best = max(best, score)
    return best, label
