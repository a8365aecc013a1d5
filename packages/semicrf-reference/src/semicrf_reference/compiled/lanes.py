"""Lanes: sequences scanned side by side where no segment is longer than a position.

    star[s, c]   = sum_i closed[s, i] * matrix[c, i],  exp(start[c]) at s = 0
    closed[t, c] = star[t - 1, c] * growth[t - 1, c],  the exponential of emission and duration

The C numbers of a step are too few to fill vector registers and wait for one another; the same number of
several sequences does neither. Each lane is relative to powers of two of its own, which serves for scores
within some 170 nats of one another. Beyond, the lanes say so, and the scan answers instead.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.problem import Array, Problem
from semicrf_reference.compiled.state import BLOCK
from semicrf_reference.compiled.vectors import (
    LANES,
    empty_rows,
    every,
    exponents_of,
    gathered,
    powers_of_two,
    put,
    vector_of,
    where,
)
from semicrf_reference.compiled.wide import exp_near_zero, exp_wide, power_of_two, reduced
from semicrf_spec.cost import Size

POSITIONS = 3
"""How many positions a scan passes at least while lanes take a step: so many sequences are enough."""

MOST_ENTRIES = 2**19
"""Numbers of a lane up to which those of all of them are no burden: 32 MB."""

LOWEST = 2.0**-250
"""Three numbers at or above it can be multiplied: a message, a transition, and what a message grows by."""

LOWEST_GROWTH = math.log(LOWEST)

ROWS = 4
"""Rows of a matrix that are applied at once; the last ones are filled up."""


class Lanes(NamedTuple):
    """What goes from step to step; a message is `(C, LANES)`."""

    matrix: Array  # (C and some, C): `matrix[c, i]` is `exp(transition[i, c])` relative to a power of two
    transposed: Array
    start: Array  # (C,)
    end: Array  # (C,)
    closed: Array  # (T, C, LANES): forward, what ends at each position; without gradients the last two
    growth: Array  # (T, C, LANES): what the message is multiplied with at each position; or the last two
    joint: Array  # (C, C, LANES): posteriors of transitions, for a unit of their weight
    shares: Array  # (BLOCK, C, LANES): what begins after a position, for a unit of what ends there
    duration: Array  # a message: scores of segments, relative to the level of their lane
    opening: Array  # backward, what begins next
    here: Array  # posteriors of a position
    covered: Array  # the sum of them
    arrived: Array  # (C and some, LANES): forward, what begins; backward, what ends here
    lengths: Array  # (LANES,): 0 where there is no sequence
    totals: Array  # (4, LANES): weight of everything, its exponent, the sum of the levels as two float64


LANES_STATE = "Tuple((float64[:,::1], float64[:,:,::1], float64[:,::1], float64[:,::1]))"
"""Types of the arrays of `lanes_state`."""


def lanes_state(size: Size, gradients: bool) -> tuple[Array, ...]:
    """The memory of `Lanes`."""
    _, time, _, classes = size
    filled, kept = classes + ROWS - 1, time if gradients else 2
    return (
        np.empty((2 * filled + 2, classes)),
        empty_rows(2 * kept + classes + BLOCK + 4, classes),
        empty_rows(filled),
        empty_rows(5),
    )


@inlined
def lanes_in(state):
    """Names for that memory."""
    weights, messages, arrived, rows = state
    classes, filled = weights.shape[1], len(arrived)
    kept = (len(messages) - classes - BLOCK - 4) // 2
    tables, row = messages[2 * kept :], messages[2 * kept + classes + BLOCK :]
    return Lanes(
        weights[:filled], weights[filled : 2 * filled], weights[2 * filled], weights[2 * filled + 1],
        messages[:kept], messages[kept : 2 * kept], tables[:classes], tables[classes : classes + BLOCK],
        row[0], row[1], row[2], row[3], arrived, rows[0], rows[1:],
    )  # fmt: skip


def side_by_side(problem: Problem, threads: int = 1) -> bool:
    """Whether lanes serve: a linear chain of shared transitions, in so many sequences that lanes are faster.

    Args:
        threads: among which the work is shared; 1 where the bits are others than those of scans, as they must
            not depend on it.
    """
    batch, time, max_duration, classes = problem.size
    begin, finish, lengths = problem.arrays[6:9]
    shared = not (problem.by_position or problem.by_segment) and begin.shape[2] == finish.shape[2] == 0
    if not shared or max_duration > 1 or (2 * time + classes) * classes > MOST_ENTRIES:
        return False
    rounds = math.ceil(batch / (LANES * threads))
    return 0 < rounds * POSITIONS * int(lengths.max(initial=0)) <= int(lengths.sum()) / min(batch, threads)


@jit
def read_weights(lanes, transition, start, end):
    """Exponentials of what all positions share, relative to powers of two.

    Returns: their exponents, of `start`, `transition` and `end`, and whether lanes serve.
    """
    classes, served = start.size, True
    scale = -math.inf
    for i in range(classes):
        scale = larger(scale, top_exponent(transition[i]))
    scale = scale if scale > -math.inf else 0.0  # single positions need none
    for i in range(classes):
        served &= read_row(transition[i], scale, lanes.transposed[i])
    for i in range(classes, len(lanes.matrix)):
        for c in range(classes):
            lanes.transposed[i, c] = lanes.matrix[i, c] = 0.0
    for i in range(classes):
        for c in range(classes):
            lanes.matrix[c, i] = lanes.transposed[i, c]
    start_scale, end_scale = top_exponent(start), top_exponent(end)
    served &= read_row(start, start_scale, lanes.start) & read_row(end, end_scale, lanes.end)
    return (start_scale, scale, end_scale), served


@jit
def top_exponent(scores):
    """The largest exponent of the exponentials."""
    top = -math.inf
    for c in range(scores.size):
        top = larger(top, scores[c])
    _, exponent = exp_wide(top)
    return exponent if top > -math.inf else -math.inf


@jit
def read_row(scores, scale, weights):
    """`weights = exp(scores) / 2**scale`. Returns whether lanes serve."""
    for c in range(scores.size):
        weights[c] = scores[c]
    served = True
    for c in range(weights.size):
        weight, exponent = exp_wide(weights[c])
        power = power_of_two(exponent - scale)
        weights[c] = weight * power
        served &= (weight == 0.0) | (power >= LOWEST)
    return served


@inlined
def read_scores(array, t, live, scores):
    """`array[g, t]` of the lanes that live, 0 of others. Returns their levels: the largest of each, or 0."""
    level = every(-math.inf)
    for c in range(len(scores)):
        score = where(live, gathered(array, t, c), every(0.0))
        put(scores[c], score)
        level = larger(level, score)
    return where(level > -math.inf, level, every(0.0))


@inlined
def subtract(level, scores):
    """What the scores are relative to the level."""
    for c in range(len(scores)):
        put(scores[c], vector_of(scores[c]) - level)


@inlined
def exponentiate(scores, level, duration):
    """Scores of a position become what a message grows by there.

    Returns: the lowest score that is not forbidden, of every lane, relative to the level.
    """
    lowest = every(0.0)
    for c in range(len(scores)):
        score = (vector_of(scores[c]) - level) + vector_of(duration[c])
        allowed = score > -math.inf
        lowest = smaller(lowest, where(allowed, score, every(0.0)))
        exponent, r = reduced(larger(score, every(LOWEST_GROWTH)))
        grown = exp_near_zero(r) * powers_of_two(exponent)
        put(scores[c], where(allowed, grown, every(0.0)))
    return lowest


@inlined
def apply_to_lanes(matrix, message, out):
    """`out = matrix @ message`, some rows at once."""
    classes = matrix.shape[1]
    for c in range(0, classes, ROWS):
        first = second = third = fourth = every(0.0)
        for i in range(classes):
            own = vector_of(message[i])
            first += matrix[c, i] * own
            second += matrix[c + 1, i] * own
            third += matrix[c + 2, i] * own
            fourth += matrix[c + 3, i] * own
        put(out[c], first)
        put(out[c + 1], second)
        put(out[c + 2], third)
        put(out[c + 3], fourth)


@inlined
def grow_lanes(message, growth, factor, out):
    """`out = message * growth * factor`. Returns the largest of it, and the lowest that is not 0."""
    top, lowest = every(0.0), every(math.inf)
    for c in range(len(growth)):
        grown = vector_of(message[c]) * (vector_of(growth[c]) * factor)
        put(out[c], grown)
        top = larger(top, grown)
        lowest = smaller(lowest, where(grown > 0.0, grown, every(math.inf)))
    return top, lowest


@inlined
def scaling(top):
    """The power of two that brings it to [1, 2), and the exponent that this takes off; 1 and 0 for 0."""
    exponent = where(top > 0.0, exponents_of(top), every(0.0))
    return powers_of_two(0.0 - exponent), exponent
