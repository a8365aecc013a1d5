"""Where the two scans meet: what one kept, the other multiplies with, and posteriors are the products.

The forward scan keeps its messages over the first half of the positions, the backward scan over the second;
then each goes on over the half of the other. At a position, a scan's own `star` and the other's `closed` make
the posterior of the boundary at which it enters, its own `closed` and the other's `star` that of the boundary
at which it leaves. Everything else follows in proportions: transitions as shares of what entered, durations
as shares of what left, positions as what entered and has not left.
"""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.chain import offset_of
from semicrf_reference.compiled.definition import count_exactly, crossing_exactly, transitions_exactly
from semicrf_reference.compiled.extremes import smaller
from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.rows import PRODUCT_EXPONENT, add_outer, dot, multiply_linear
from semicrf_reference.compiled.state import CLOSED, SAFE_DOT, STAR
from semicrf_reference.compiled.tally import add_tally, count
from semicrf_reference.compiled.tape import open_row
from semicrf_reference.compiled.vectors import (
    LANES,
    block,
    every,
    exponents_of,
    powers_of_two,
    put_block,
    some,
    sum_of,
    where,
    within,
)
from semicrf_reference.compiled.wide import FLOOR, add, all_powers_of_two, normal, power_of_two

PASSING, KEEPING, MEETING = np.arange(3)  # not literals, each of which would compile the scan anew
"""What a scan does beside scanning: nothing, keep its messages, multiply them with those of the other."""

ROUNDING = 2.0**-38
"""What is left of probabilities, added up and taken off again, is less: relative to their sum, or to 1."""


@inlined
def place(half, step):
    """The position of a step."""
    return half.length - 1 - step if half.backward else step


@inlined
def keep(chain, half, step):
    """Keep the messages of a step: in linear form where that is good, else with their exponents."""
    at = place(half, step)
    for row in (STAR, CLOSED):
        half.scales[at, row] = chain.scales[row]
        half.good[at, row] = chain.good[row]
    for c in range(chain.star.size):
        half.stars[at, c] = chain.star[c]
        half.closeds[at, c] = chain.linear[c]
    if chain.good[STAR] == 0.0:
        for c in range(chain.star.size):
            half.lifts[at, c] = chain.lift[c]
    if chain.good[CLOSED] == 0.0:
        for c in range(chain.star.size):
            half.closeds[at, c] = chain.values[c]
            half.exponents[at, c] = chain.exponents[c] - chain.scales[CLOSED]


@inlined
def meet_star(chain, half, step):
    """Posteriors of what enters at a step, and of the transitions that lead there."""
    at = place(half, step)
    good = chain.good[STAR] * half.good[at, CLOSED]
    exponents = half.exponents[at] if half.good[at, CLOSED] == 0.0 else half.zeros
    scale, kept_scale = chain.scales[STAR], half.scales[at, CLOSED]
    posteriors_of(
        half, good, chain.star, scale, chain.star, chain.lift, scale, half.closeds[at], exponents, kept_scale,
        half.entering,
    )  # fmt: skip
    if step <= half.first:  # none leads to step 0, and that in the middle is the forward scan's
        return
    row = 0
    if len(half.transitions) > 1:
        row = at + 1 if half.backward else at
    for c in range(0, chain.star.size, LANES):
        star, entering = block(chain.star, c), block(half.entering, c)
        linear = (block(chain.lift, c) == 0.0) & (star > 0.0)
        put_block(half.shares, c, where(linear, entering / star, every(0.0)))
        entering = where(within(c, chain.star.size), entering, every(0.0))
        apart = where(linear, every(0.0), entering)
        if some(apart > 0.0):
            transitions_exactly(chain, half.apart, c, apart)
    add_outer(chain.linear, half.shares, half.joint)
    if len(half.transitions) > 1:
        count_transitions(chain, half, row)


@inlined
def posteriors_of(
    half, good, linear, linear_scale, values, exponents, scale, kept, kept_exponents, kept_scale, out
):
    """The product of an own and a kept message over the weight of everything.

    The own one is given as `linear * 2**linear_scale`, which serves where both are good, and as
    `values * 2**(exponents + scale)`, the kept one as `kept * 2**(kept_exponents + kept_scale)`.
    """
    for c in range(out.size):
        half.kept[c] = kept[c]
    exponent = linear_scale + kept_scale - half.total[1]
    if good == 1.0 and abs(exponent) <= PRODUCT_EXPONENT:
        multiply_linear(linear, half.kept, 1.0 / half.total[0], exponent, out)
    else:
        for c in range(out.size):
            half.kept_exponents[c] = kept_exponents[c]
        exponent = scale + kept_scale - half.total[1]
        for c in range(0, out.size, LANES):
            product = block(values, c) * block(half.kept, c)
            shift = exponents_of(product)
            power = block(exponents, c) + block(half.kept_exponents, c) + exponent + shift
            share = product * powers_of_two(0.0 - shift) / half.total[0]
            put_block(out, c, smaller(share * all_powers_of_two(power), every(1.0)))


@jit
def count_transitions(chain, half, row):
    """Add what `joint` and `apart` hold to the transitions, and empty them."""
    for i in range(chain.star.size):
        for c in range(chain.star.size):
            share = half.joint[i, c] * chain.matrix[i, c] if chain.matrix[i, c] > 0.0 else 0.0
            share += half.apart[i, c]
            half.joint[i, c] = half.apart[i, c] = 0.0
            if half.backward:
                half.transitions[row, c, i] += share
            else:
                half.transitions[row, i, c] += share


@inlined
def meet_single(half, step):
    """Posteriors of a position where no segment is longer: what enters leaves again."""
    at = place(half, step)
    for c in range(half.entering.size):
        half.leaving[c] = half.entering[c]
        half.covering[c] = half.entering[c]
        half.durations[0, c] += half.entering[c]
    write_position(half, at)
    write_boundaries(half, at)


@inlined
def meet_closed(chain, window, half, step):
    """Posteriors of what leaves at a step, of its durations, and of the position between."""
    at, offset = place(half, step), offset_of(chain, step)
    good = chain.good[CLOSED] * half.good[at, STAR]
    lifts = half.lifts[at] if half.good[at, STAR] == 0.0 else half.zeros
    scale, kept_scale = chain.scales[CLOSED], half.scales[at, STAR]
    posteriors_of(
        half, good, chain.linear, scale, chain.values, chain.exponents, 0.0, half.stars[at], lifts,
        kept_scale, half.leaving,
    )  # fmt: skip

    steps = step + 1 - half.first
    count(window, steps, half.leaving)
    classes = half.leaving.size
    for c in range(0, classes, LANES):
        left_out = (block(window.dots, c) == 0.0) & (block(half.leaving, c) > 0.0)
        if some(within(c, classes) & left_out):
            count_left_out(window, half, steps, min(window.weights.shape[1], step + 1), c)

    for c in range(0, classes, LANES):
        entering = block(half.entering, c)
        covering = block(half.covering, c) + entering
        allowed = block(chain.emissions, offset + c) > -math.inf
        put_block(half.covering, c, where(allowed, covering, every(0.0)))
        put_block(half.passed, c, block(half.passed, c) + entering)
    write_position(half, at)
    for c in range(0, classes, LANES):
        passed = block(half.passed, c)
        left = block(half.covering, c) - block(half.leaving, c)
        over = left < ROUNDING * smaller(passed, every(1.0))
        put_block(half.covering, c, where(over, every(0.0), left))
        put_block(half.passed, c, where(over, every(0.0), passed))
    write_boundaries(half, at)


@jit
def count_left_out(window, half, steps, reach, first):
    """Count the durations of those of some labels for which the sums over the tape did not serve."""
    for c in range(first, min(first + LANES, half.leaving.size)):
        if window.dots[c] == 0.0 and half.leaving[c] > 0.0:
            count_exactly(window, reach, steps, c, half.leaving[c], half.durations)


@inlined
def write_position(half, at):
    """What covers a position, in proportions."""
    masses = every(0.0)
    for c in range(0, half.covering.size, LANES):
        own = within(c, half.covering.size)
        masses += where(own, block(half.covering, c), every(0.0))
    mass = sum_of(masses)  # 1, but for the rounding of the two scans
    share = 1.0 / mass if mass >= FLOOR else 0.0
    for c in range(half.covering.size):
        half.position[at, c] = half.covering[c] * share


@inlined
def write_boundaries(half, at):
    """What enters and what leaves, in the order of the positions, where anybody asks for it."""
    begins = half.leaving if half.backward else half.entering
    ends = half.entering if half.backward else half.leaving
    if len(half.begins) > 0:
        for c in range(begins.size):
            half.begins[at, c], half.ends[at, c] = begins[c], ends[c]
    if at == 0:
        for c in range(begins.size):
            half.edges[0, c] = begins[c]
    if at == half.length - 1:
        for c in range(ends.size):
            half.edges[1, c] = ends[c]


@jit
def forget(half):
    """Nothing is allowed, so every posterior is 0."""
    for u in range(half.length):
        for c in range(half.position.shape[1]):
            half.position[u, c] = 0.0
        if len(half.begins) > 0:
            for c in range(half.position.shape[1]):
                half.begins[u, c] = half.ends[u, c] = 0.0


@jit
def close_half(chain, window, half):
    """Add what was counted for the whole half."""
    add_tally(window, half.durations)
    if len(half.transitions) == 1 and half.length > 1:
        count_transitions(chain, half, 0)


@jit
def join(forward, window, half, backward, back_window, back_half):
    """The weight of everything, from the states of both scans between the halves.

    A segmentation has a boundary there, or a segment that crosses it: the sum is over both. `covering` of
    each half becomes the posterior of the segments that cross, by label.
    """
    weight, exponent = 0.0, 0.0
    for c in range(forward.star.size):
        m, e = forward.star[c] * backward.values[c], forward.lift[c] + backward.exponents[c]
        weight, exponent = add(weight, exponent, m, e + forward.scales[STAR])
    for c in range(forward.star.size):
        m, e = crossing(window, half, back_window, back_half, c)
        half.covering[c], half.entering[c] = m, e  # until the sum is known
        weight, exponent = add(weight, exponent, m, e)
    weight, exponent = normal(weight, exponent)
    for c in range(forward.star.size):
        m, e = half.covering[c], half.entering[c]
        share = m / weight * power_of_two(e - exponent) if weight > 0.0 else 0.0
        half.covering[c] = half.passed[c] = back_half.covering[c] = back_half.passed[c] = share
    half.total[0] = back_half.total[0] = weight
    half.total[1] = back_half.total[1] = exponent


@jit
def crossing(window, half, back_window, back_half, c):
    """The weight of the segments of one label that begin in the first half and end in the second."""
    max_duration = window.weights.shape[1]
    if window.longest[c] < 2:
        return 0.0, 0.0
    reach, back_reach = min(max_duration, half.length - back_half.first), min(max_duration, back_half.first)
    live, top = open_row(window, reach, c)
    back_live, back_top = open_row(back_window, back_reach, c)
    total = 0.0
    for d in range(1, min(live, max_duration - 1) + 1):
        ends = min(back_live, max_duration - d)
        first = max_duration - ends
        ending = dot(back_window.products, first, window.weights[c], first - d, ends)
        total += window.products[max_duration - d] * ending
    if total >= SAFE_DOT:
        exponent = top + window.drift[c] + back_top + back_window.drift[c] - window.best_exponent[c]
        return normal(total * window.gain[c] * back_window.gain[c], exponent)
    if live == 0 or back_live == 0:
        return 0.0, 0.0
    return crossing_exactly(window, back_window, c, reach, back_reach)
