"""The scans of all lanes: forward for the log partitions, and back with the posteriors."""

from __future__ import annotations

import math

from semicrf_reference.compiled.jit import apart, inlined, jit, kernel
from semicrf_reference.compiled.lanes import (
    LANES,
    LANES_STATE,
    apply_to_lanes,
    lanes_in,
    multiply,
    read_emissions,
    read_weights,
    rescale,
)
from semicrf_reference.compiled.problem import ANSWERS, TERMS
from semicrf_reference.compiled.state import BLOCK
from semicrf_reference.compiled.wide import log_wide


@kernel(f"boolean(int64, int64, boolean, {TERMS}, {ANSWERS}, {LANES_STATE})")
def lanes_batch(first, last, gradients, arrays, answers, state):
    """Sequences `first .. last - 1`, at most LANES. Returns whether the answers hold."""
    emissions, transition, _, duration, start, end, _, _, lengths, _ = arrays
    longest = 0
    for b in range(first, last):
        longest = max(longest, lengths[b])
    lanes = lanes_in(state, longest)
    for g in range(lanes.lengths.size):
        lanes.lengths[g] = lengths[first + g] if first + g < last else 0
        lanes.high[g] = lanes.low[g] = 0.0
    good = read_weights(lanes, transition[0, 0], duration[first:last, 0], start, end)
    good = good and scan_forward(lanes, emissions[first:last], answers[0][first:last])
    if good and gradients:
        good = scan_backward(lanes, answers, first)
        if good:  # else the scan adds to what stands there
            write_sums(lanes, answers, first)
    return good


@jit
def scan_forward(lanes, emissions, totals):
    """Messages of what ends at each position, and the log of the weight of everything.

    Returns: whether lanes serve.
    """
    for b in range(totals.size):
        totals[b] = 0.0  # as it stays where there are no positions
    for t in range(len(lanes.closed)):
        good = read_emissions(lanes, emissions, t)
        closed, growth = lanes.closed[t], lanes.growth[t]
        if t > 0:
            apply_to_lanes(lanes.matrix, lanes.closed[t - 1], lanes.opening)
        else:
            for c in range(lanes.start.size):
                for g in range(lanes.lengths.size):
                    lanes.opening[c, g] = lanes.start[c]
        multiply(lanes.opening, growth, closed)
        good &= rescale(lanes, closed, t)
        for g in range(totals.size):
            lanes.exponent[g] += lanes.step_exponent[g] if t > 0 else 0.0
            if lanes.lengths[g] == t + 1:
                totals[g] = log_total(lanes, closed, g)
                good &= totals[g] > -math.inf
        if not good:
            return False
    return True


@jit
def log_total(lanes, closed, g):
    """Log of the weight of everything in a lane; lanes do not serve where that is 0."""
    total = 0.0
    for c in range(lanes.end.size):
        total += closed[c, g] * lanes.end[c]
    if total == 0.0:
        return -math.inf
    return log_wide(total, lanes.exponent[g] + lanes.end_exponent[g], lanes.high[g], lanes.low[g])


@jit
def scan_backward(lanes, answers, first):
    """Posteriors, relative at each position to their sum there. Returns whether lanes serve."""
    for c in range(lanes.end.size):
        for g in range(lanes.lengths.size):
            lanes.closing[c, g], lanes.opening[c, g], lanes.covered[c, g] = lanes.end[c], 0.0, 0.0
            for j in range(BLOCK):
                lanes.shares[j, c, g] = 0.0
            for i in range(lanes.end.size):
                lanes.joint[i, c, g] = 0.0
    for t in range(len(lanes.closed) - 1, -1, -1):
        for g in range(lanes.lengths.size):
            if lanes.lengths[g] == t + 1:
                for c in range(lanes.end.size):
                    lanes.closing[c, g], lanes.opening[c, g] = lanes.end[c], 0.0
        meet(lanes, t)
        write_position(lanes, answers, first, t)
        multiply(lanes.closing, lanes.growth[t], lanes.opening)
        if not rescale(lanes, lanes.opening, t):
            return False
        apply_to_lanes(lanes.transposed, lanes.opening, lanes.closing)
    return True


@inlined
def meet(lanes, t):
    """Posteriors of a position, and of the transitions out of it."""
    multiply_summed(lanes.closed[t], lanes.closing, lanes.here, lanes.factor)
    for g in range(lanes.lengths.size):
        lanes.factor[g] = 1.0 / lanes.factor[g] if t < lanes.lengths[g] else 0.0
    share(lanes.here, lanes.opening, lanes.factor, lanes.covered, lanes.shares[t % BLOCK])
    if t % BLOCK == 0:
        count_transitions(lanes.closed, t, lanes.shares, lanes.joint)


@apart
def multiply_summed(message, other, out, total):
    """`out = message * other`, and the totals of the lanes."""
    for g in range(total.size):
        total[g] = 0.0
    for c in range(len(message)):
        for g in range(total.size):
            out[c, g] = message[c, g] * other[c, g]
            total[g] += out[c, g]


@apart
def share(here, opening, factor, covered, shares):
    """Posteriors of a position, their sum so far, and the shares of what begins next."""
    for c in range(len(here)):
        for g in range(factor.size):
            here[c, g] *= factor[g]
            covered[c, g] += here[c, g]
            shares[c, g] = opening[c, g] * factor[g]


@apart
def count_transitions(closed, t, shares, joint):
    """Add the products of BLOCK positions to the posteriors of transitions, in one pass over them."""
    last = len(closed) - 1
    a, b, d, e = closed[t], closed[min(t + 1, last)], closed[min(t + 2, last)], closed[min(t + 3, last)]
    for i in range(len(joint)):
        for c in range(len(joint)):
            row = joint[i, c]
            first, second, third, fourth = shares[0, c], shares[1, c], shares[2, c], shares[3, c]
            for g in range(LANES):
                total = row[g] + a[i, g] * first[g] + b[i, g] * second[g]
                row[g] = total + d[i, g] * third[g] + e[i, g] * fourth[g]


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
