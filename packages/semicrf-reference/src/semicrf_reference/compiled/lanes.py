"""Lanes: sequences scanned side by side where no segment is longer than a position.

    star[s, c]   = sum_i closed[s, i] * matrix[c, i],  exp(start[c]) at s = 0
    closed[t, c] = star[t - 1, c] * growth[t - 1, c],  the exponential of emission and duration

The C numbers of a step are too few to fill vector registers and wait for one another; the same number of
several sequences does neither. Each lane is relative to powers of two of its own, which serves for scores
within some 170 nats of one another. Beyond, the lanes say so, and the scan answers instead.

A loop over lanes runs over the constant `LANES`, so that nothing is left over after vector instructions,
unless there is so little in it that the compiler would write it out without them: such a loop asks an array
for its size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from semicrf_reference.compiled.extremes import larger
from semicrf_reference.compiled.jit import apart, inlined, jit
from semicrf_reference.compiled.problem import Array, Problem
from semicrf_reference.compiled.state import BLOCK
from semicrf_reference.compiled.wide import exp_wide, exponent_of, power_of_two, two_sum
from semicrf_spec.cost import Size

LANES = 16
"""Sequences side by side."""

MOST_STEPS = 1.5
"""Steps of lanes for a position, idle and finished ones included, up to which they are faster than scans."""

MOST_ENTRIES = 2**16
"""Numbers of a lane up to which those of all of them stay near the processor: 8 MB."""

LOWEST = 2.0**-250
"""Four numbers at or above it can be multiplied: a message, a transition, an emission and a duration."""


class Lanes(NamedTuple):
    """What goes from step to step; a row is `(LANES,)`, and a message `(C, LANES)`."""

    matrix: Array  # (C, C): `matrix[c, i]` is `exp(transition[i, c])` relative to a power of two
    transposed: Array
    start: Array  # (C,)
    end: Array  # (C,)
    closed: Array  # (T, C, LANES): forward, what ends at each position, its largest in [1, 2)
    growth: Array  # (T, C, LANES): what the message is multiplied with at each position
    joint: Array  # (C, C, LANES): posteriors of transitions, for a unit of their weight
    shares: Array  # (BLOCK, C, LANES): what begins after a position, for a unit of what ends there
    duration: Array  # the first message
    opening: Array  # backward, what begins next
    closing: Array  # backward, what ends here
    here: Array  # posteriors of a position
    covered: Array  # the sum of them
    exponent: Array  # of the forward message, the first row
    step_exponent: Array  # of what every step but the first multiplies it with
    end_exponent: Array
    level: Array  # of the emissions of a position: their largest
    high: Array  # the sum of the levels, as two float64
    low: Array
    factor: Array
    floor: Array  # of what serves at a position
    lengths: Array  # 0 where there is no sequence


LANES_STATE = "Tuple((float64[:,::1], float64[:,:,::1], float64[:,::1], int64[::1]))"
"""Types of the arrays of `lanes_state`."""


def lanes_state(size: Size) -> tuple[Array, ...]:
    """The memory of `Lanes`."""
    _, time, _, classes = size
    return (
        np.empty((2 * classes + 2, classes)),
        np.empty((2 * time + classes + BLOCK + 5, classes, LANES)),
        np.empty((8, LANES)),
        np.empty(LANES, np.int64),
    )


@inlined
def lanes_in(state, time):
    """Names for that memory, of `time` positions."""
    weights, messages, rows, lengths = state
    classes = weights.shape[1]
    tables, row = messages[2 * time :], messages[2 * time + classes + BLOCK :]
    return Lanes(
        weights[:classes], weights[classes : 2 * classes], weights[2 * classes], weights[2 * classes + 1],
        messages[:time], messages[time : 2 * time], tables[:classes], tables[classes : classes + BLOCK],
        row[0], row[1], row[2], row[3], row[4],
        rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], lengths,
    )  # fmt: skip


def side_by_side(problem: Problem) -> bool:
    """Whether lanes may serve: a linear chain of shared transitions, the sequences alike in length.

    Of two labels at least, as they take two rows at once.
    """
    batch, time, max_duration, classes = problem.size
    begin, finish, lengths = problem.arrays[6:9]
    shared = not (problem.by_position or problem.by_segment) and begin.shape[2] == finish.shape[2] == 0
    if not shared or max_duration > 1 or classes < 2 or (2 * time + classes) * classes > MOST_ENTRIES:
        return False
    steps = math.ceil(batch / LANES) * LANES * int(lengths.max(initial=0))
    return 0 < steps <= MOST_STEPS * int(lengths.sum())


@jit
def read_weights(lanes, transition, duration, start, end):
    """Exponentials of what all positions share, relative to powers of two. Returns whether lanes serve."""
    scale = -math.inf
    for i in range(len(transition)):
        scale = larger(scale, top_exponent(transition[i]))
    scale = scale if scale > -math.inf else 0.0  # single positions need none
    good = True
    for i in range(len(transition)):
        good &= read_row(transition[i], scale, lanes.transposed[i])
        for c in range(len(transition)):
            lanes.matrix[c, i] = lanes.transposed[i, c]
    start_scale, end_scale = top_exponent(start), top_exponent(end)
    good &= read_row(start, start_scale, lanes.start) & read_row(end, end_scale, lanes.end)
    for g in range(lanes.lengths.size):
        row = duration[min(g, len(duration) - 1), 0]
        duration_scale = top_exponent(row)
        good &= read_row(row, duration_scale, lanes.duration[:, g])
        lanes.exponent[g], lanes.step_exponent[g] = start_scale + duration_scale, scale + duration_scale
        lanes.end_exponent[g] = end_scale
    return good


@jit
def top_exponent(scores):
    """The largest exponent of the exponentials."""
    top = -math.inf
    for c in range(scores.size):
        weight, exponent = exp_wide(scores[c])
        top = larger(top, exponent if weight > 0.0 else -math.inf)
    return top


@jit
def read_row(scores, scale, weights):
    """`weights = exp(scores) / 2**scale`. Returns whether lanes serve."""
    good = True
    for c in range(scores.size):
        weight, exponent = exp_wide(scores[c])
        power = power_of_two(exponent - scale)
        weights[c] = weight * power
        good &= (weight == 0.0) | (power >= LOWEST)
    return good


@inlined
def read_emissions(lanes, emissions, t):
    """What the messages grow by at a position. Returns whether lanes serve."""
    growth = lanes.growth[t]
    for g in range(LANES):
        if t < lanes.lengths[g]:
            for c in range(len(growth)):
                growth[c, g] = emissions[g, t, c]
        else:
            for c in range(len(growth)):
                growth[c, g] = 0.0
    find_largest(growth, -math.inf, lanes.level)
    add_levels(lanes.level, lanes.high, lanes.low)
    return exponentiate(growth, lanes.level, lanes.duration)


@apart
def find_largest(message, least, top):
    """`top[g] = max_c message[c, g]`, or the least."""
    for g in range(LANES):
        top[g] = least
    for c in range(len(message)):
        for g in range(LANES):
            top[g] = max(top[g], message[c, g])


@apart
def add_levels(level, high, low):
    """`high + low` grow by the level of a position, 0 where nothing is allowed there."""
    for g in range(LANES):
        level[g] = level[g] if level[g] > -math.inf else 0.0
        high[g], error = two_sum(high[g], level[g])
        low[g] += error


@apart
def exponentiate(scores, level, duration):
    """`scores[c, g] = exp(scores[c, g] - level[g]) * duration[c, g]`. Returns whether lanes serve."""
    good = True
    for c in range(len(scores)):
        for g in range(LANES):
            weight, exponent = exp_wide(scores[c, g] - level[g])
            power = power_of_two(exponent)
            scores[c, g] = weight * power * duration[c, g]
            good &= (weight == 0.0) | (power >= LOWEST)
    return good


@apart
def apply_to_lanes(matrix, message, out):
    """`out = matrix @ message`, two rows at once."""
    classes, blocked = len(message), len(message) // 4 * 4
    for begun in range(0, classes, 2):
        c = min(begun, classes - 2)  # of an odd number, one row twice
        first, second = out[c], out[c + 1]
        for g in range(LANES):
            first[g] = second[g] = 0.0
        for i in range(0, blocked, 4):
            add_four(matrix[c], matrix[c + 1], message, i, first, second)
        for i in range(blocked, classes):
            add_one(matrix[c], matrix[c + 1], message, i, first, second)


@apart
def add_four(weights, other_weights, message, i, row, other):
    """Four products of each lane in one pass over both rows."""
    a, b, d, e = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
    p, q, r, s = other_weights[i], other_weights[i + 1], other_weights[i + 2], other_weights[i + 3]
    for g in range(LANES):
        w, x, y, z = message[i, g], message[i + 1, g], message[i + 2, g], message[i + 3, g]
        row[g] = row[g] + a * w + b * x + d * y + e * z
        other[g] = other[g] + p * w + q * x + r * y + s * z


@apart
def add_one(weights, other_weights, message, i, row, other):
    """One product of each lane."""
    a, p = weights[i], other_weights[i]
    for g in range(row.size):
        row[g] += a * message[i, g]
        other[g] += p * message[i, g]


@apart
def multiply(message, factors, out):
    """`out = message * factors`."""
    for c in range(len(message)):
        for g in range(out.shape[1]):
            out[c, g] = message[c, g] * factors[c, g]


@apart
def multiply_lanes(message, factor, floor):
    """`message[c, g] *= factor[g]`. Returns whether all that is not 0 is at least the floor of its lane."""
    good = True
    for c in range(len(message)):
        for g in range(factor.size):
            message[c, g] *= factor[g]
            good &= (message[c, g] == 0.0) | (message[c, g] >= floor[g])
    return good


@inlined
def rescale(lanes, message, t):
    """Divide by the power of two that brings each largest to [1, 2). Returns whether lanes serve."""
    find_largest(message, 0.0, lanes.factor)
    for g in range(LANES):
        exponent = exponent_of(lanes.factor[g])
        lanes.exponent[g] += exponent
        lanes.factor[g] = power_of_two(-exponent)
        lanes.floor[g] = LOWEST if t < lanes.lengths[g] else 0.0
    return multiply_lanes(message, lanes.factor, lanes.floor)
