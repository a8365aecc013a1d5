"""The scans of all lanes: forward for the log partitions, and back with the posteriors."""

from __future__ import annotations

import math

from semicrf_reference.compiled.jit import inlined, jit, kernel
from semicrf_reference.compiled.lanes import (
    LANES_STATE,
    LOWEST,
    LOWEST_GROWTH,
    apply_to_lanes,
    exponentiate,
    grow_lanes,
    lanes_in,
    read_scores,
    read_weights,
    scaling,
    subtract,
)
from semicrf_reference.compiled.problem import ANSWERS, TERMS
from semicrf_reference.compiled.rows import clear_past
from semicrf_reference.compiled.state import BLOCK
from semicrf_reference.compiled.vectors import every, put, some, vector_of, where
from semicrf_reference.compiled.wide import log_wide, two_sum


@kernel(f"boolean(int64, int64, boolean, {TERMS}, {ANSWERS}, {LANES_STATE})")
def lanes_batch(first, last, gradients, arrays, answers, state):
    """Sequences `first .. last - 1`, at most LANES. Returns whether the answers hold."""
    emissions, transition, _, duration, start, end, _, _, lengths, _ = arrays
    longest = 0
    for b in range(first, last):
        longest = max(longest, lengths[b])
    lanes = lanes_in(state)
    for g in range(lanes.lengths.size):
        lanes.lengths[g] = lengths[first + g] if first + g < last else 0
    scales, served = read_weights(lanes, transition[0, 0], start, end)
    served = served and scan_forward(
        lanes, longest, scales, emissions[first:last], duration[first:last, 0], answers[0][first:last]
    )
    if served and gradients:
        served = scan_backward(lanes, longest, answers, first)
        if served:  # else the scan adds to what stands there
            write_sums(lanes, answers, first)
            for b in range(first, last):
                clear_past(answers[1:4], b, lengths[b])
    return served


@jit
def scan_forward(lanes, longest, scales, emissions, duration, totals):
    """Messages of what ends at each position, up to the longest, and the log of the weight of everything.

    Returns: whether lanes serve.
    """
    for b in range(totals.size):
        totals[b] = 0.0  # as it stays where there are no positions
    start_scale, scale, end_scale = scales
    lengths = vector_of(lanes.lengths)
    per_segment = read_scores(duration, 0, lengths > -1.0, lanes.duration)
    subtract(per_segment, lanes.duration)
    exponent, high, low, factor = every(start_scale), every(0.0), every(0.0), every(1.0)
    nothing = every(0.0)
    for t in range(longest):
        live, kept = lengths > t, t % len(lanes.closed)
        growth, closed = lanes.growth[kept], lanes.closed[kept]
        level = read_scores(emissions, t, live, growth)
        high, error = two_sum(high, level)
        low += error
        high, error = two_sum(high, where(live, per_segment, nothing))
        low += error
        lowest_score = exponentiate(growth, level, lanes.duration)
        if t > 0:
            apply_to_lanes(lanes.matrix, lanes.closed[(t - 1) % len(lanes.closed)], lanes.arrived)
            exponent += scale
        else:
            for c in range(lanes.start.size):
                put(lanes.arrived[c], every(lanes.start[c]))
        top, lowest = grow_lanes(lanes.arrived, growth, factor, closed)
        if some((lowest_score < LOWEST_GROWTH) | (live & (lowest < LOWEST))):
            return False
        if some(lengths == t + 1):
            weigh(lanes, closed, exponent + end_scale, high, low)
            for g in range(totals.size):
                if lanes.lengths[g] == t + 1:
                    totals[g] = log_total(lanes.totals[:, g])
                    if totals[g] == -math.inf:
                        return False
        factor, shift = scaling(top)
        exponent += shift
    return True


@inlined
def weigh(lanes, closed, exponent, high, low):
    """Write down, for every lane, the weight of everything that ends here."""
    total = every(0.0)
    for c in range(lanes.end.size):
        total += lanes.end[c] * vector_of(closed[c])
    put(lanes.totals[0], total)
    put(lanes.totals[1], exponent)
    put(lanes.totals[2], high)
    put(lanes.totals[3], low)


@jit
def log_total(totals):
    """Log of the weight of everything in a lane; lanes do not serve where that is 0."""
    total, exponent, high, low = totals
    return log_wide(total, exponent, high, low) if total > 0.0 else -math.inf


@jit
def scan_backward(lanes, longest, answers, first):
    """Posteriors, relative at each position to their sum there. Returns whether lanes serve."""
    nothing, lengths, factor = every(0.0), vector_of(lanes.lengths), every(1.0)
    for c in range(lanes.end.size):
        put(lanes.arrived[c], nothing)
        put(lanes.opening[c], nothing)
        put(lanes.covered[c], nothing)
        for j in range(BLOCK):
            put(lanes.shares[j, c], nothing)
        for i in range(lanes.end.size):
            put(lanes.joint[i, c], nothing)
    for t in range(longest - 1, -1, -1):
        live, ending = lengths > t, lengths == t + 1
        if some(ending):
            begin_lanes(lanes, ending)
            factor = where(ending, every(1.0), factor)
        meet(lanes, longest, live, t)
        write_position(lanes, answers, first, t)
        top, lowest = grow_lanes(lanes.arrived, lanes.growth[t], factor, lanes.opening)
        if some(live & (lowest < LOWEST)):
            return False
        apply_to_lanes(lanes.transposed, lanes.opening, lanes.arrived)
        factor, _ = scaling(top)
    return True


@inlined
def begin_lanes(lanes, ending):
    """Lanes begin, backward, where their sequences end."""
    for c in range(lanes.end.size):
        put(lanes.arrived[c], where(ending, every(lanes.end[c]), vector_of(lanes.arrived[c])))
        put(lanes.opening[c], where(ending, every(0.0), vector_of(lanes.opening[c])))


@inlined
def meet(lanes, longest, live, t):
    """Posteriors of a position, and of the transitions out of it."""
    closed, shares, total = lanes.closed[t], lanes.shares[t % BLOCK], every(0.0)
    for c in range(len(closed)):
        here = vector_of(closed[c]) * vector_of(lanes.arrived[c])
        put(lanes.here[c], here)
        total += here
    factor = where(live, 1.0 / total, every(0.0))
    for c in range(len(closed)):
        here = vector_of(lanes.here[c]) * factor
        put(lanes.here[c], here)
        put(lanes.covered[c], vector_of(lanes.covered[c]) + here)
        put(shares[c], vector_of(lanes.opening[c]) * factor)
    if t % BLOCK == 0:
        count_transitions(lanes.closed[:longest], t, lanes.shares, lanes.joint)


@inlined
def count_transitions(closed, t, shares, joint):
    """Add the products of BLOCK positions to the posteriors of transitions, two rows of these at once."""
    for i in range(0, len(joint), 2):
        j = min(i + 1, len(joint) - 1)  # of an odd number the last row stands for both, and is written twice
        first, second = of_block(closed, t, i), of_block(closed, t, j)
        for c in range(len(joint)):
            begun = of_block(shares, 0, c)
            row = add_products(vector_of(joint[i, c]), first, begun)
            other = add_products(vector_of(joint[j, c]), second, begun)
            put(joint[i, c], row)
            put(joint[j, c], other)


@inlined
def of_block(messages, t, c):
    """A label's numbers at BLOCK positions, those from t on; behind the end the last again."""
    last = len(messages) - 1
    return (
        vector_of(messages[t, c]),
        vector_of(messages[min(t + 1, last), c]),
        vector_of(messages[min(t + 2, last), c]),
        vector_of(messages[min(t + 3, last), c]),
    )


@inlined
def add_products(total, left, right):
    """The total, and the products of BLOCK numbers."""
    return total + left[0] * right[0] + left[1] * right[1] + left[2] * right[2] + left[3] * right[3]


@inlined
def write_position(lanes, answers, first, t):
    """What covers a position begins and ends there."""
    _, position, begins, ends, edges, _, _ = answers
    for g in range(lanes.lengths.size):
        b, n = first + g, lanes.lengths[g]
        if t < n:
            for c in range(len(lanes.here)):
                position[b, t, c] = lanes.here[c, g]
            if begins.shape[1] > 0:
                for c in range(len(lanes.here)):
                    begins[b, t, c] = ends[b, t, c] = lanes.here[c, g]
            if t == 0:
                for c in range(len(lanes.here)):
                    edges[0, b, c] = lanes.here[c, g]
            if t == n - 1:
                for c in range(len(lanes.here)):
                    edges[1, b, c] = lanes.here[c, g]


@jit
def write_sums(lanes, answers, first):
    """Posteriors of transitions and durations."""
    _, _, _, _, _, transitions, durations = answers
    for g in range(lanes.lengths.size):
        if lanes.lengths[g] > 0:
            for i in range(len(lanes.here)):
                durations[0, first + g, 0, 0, i] = lanes.covered[i, g]
                for c in range(len(lanes.here)):
                    transitions[0, first + g, 0, i, c] = lanes.joint[i, c, g] * lanes.matrix[c, i]
