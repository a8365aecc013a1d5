"""The chain of a scan: from the segments that ended to those that begin."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.definition import arrive_exactly
from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.rows import apply_matrix
from semicrf_reference.compiled.state import CLOSED, MATRIX, RUN, STAR
from semicrf_reference.compiled.vectors import (
    LANES,
    block,
    every,
    largest_of,
    put_block,
    smallest_of,
    some,
    where,
    within,
)
from semicrf_reference.compiled.wide import (
    FLOOR,
    SAFE_SUM,
    all_exp_wide,
    all_powers_of_two,
    exp_wide,
    two_sum,
)


@jit
def read_matrix(chain, transition):
    """Exponentials of the transitions into the next step, as wide numbers and in linear form."""
    top, lowest, classes = every(-math.inf), every(math.inf), chain.star.size
    for i in range(classes):
        for c in range(classes):
            chain.matrix[i, c] = transition[i, c]
        for c in range(0, classes, LANES):
            mantissa, power = all_exp_wide(block(chain.matrix[i], c))
            mantissa = where(within(c, classes), mantissa, every(0.0))
            put_block(chain.mantissas[i], c, mantissa)
            put_block(chain.powers[i], c, power)
            top = larger(top, where(mantissa > 0.0, power, every(-math.inf)))
    highest = largest_of(top)
    scale = highest if highest > -math.inf else 0.0
    for i in range(classes):
        for c in range(0, classes, LANES):
            mantissa = block(chain.mantissas[i], c)
            weight = mantissa * all_powers_of_two(block(chain.powers[i], c) - scale)
            weight = where(weight < FLOOR, every(0.0), weight)
            put_block(chain.matrix[i], c, weight)
            lowest = smaller(lowest, where(mantissa > 0.0, weight, every(math.inf)))
    chain.scales[MATRIX], chain.good[MATRIX] = scale, 1.0 if smallest_of(lowest) > 0.0 else 0.0


@inlined
def arrive(terms, chain, step):
    """The row `star` of a step, from `closed` of the one before."""
    chain.good[STAR] = 1.0
    if step == 0:
        scale = -math.inf
        for c in range(chain.star.size):
            chain.star[c], chain.lift[c] = exp_wide(terms.start[c])
            scale = larger(scale, chain.lift[c] if chain.star[c] > 0.0 else -math.inf)
        scale = scale if scale > -math.inf else 0.0
        for c in range(chain.star.size):
            chain.lift[c] -= scale
        chain.scales[STAR], chain.good[STAR] = scale, 0.0
        return
    if terms.transition.strides[0] != 0 and step > 1:
        read_matrix(chain, terms.transition[step - 1])
    lowest = every(math.inf)
    apply_matrix(chain.linear, chain.matrix, chain.star)
    for c in range(0, chain.star.size, LANES):
        put_block(chain.lift, c, every(0.0))
        own = within(c, chain.star.size)
        lowest = smaller(lowest, where(own, block(chain.star, c), every(math.inf)))
    chain.scales[STAR] = chain.scales[CLOSED] + chain.scales[MATRIX]
    if smallest_of(lowest) < SAFE_SUM:
        nothing_lost = chain.good[CLOSED] * chain.good[MATRIX] == 1.0
        above = 0.0 if nothing_lost else -math.inf  # a 0 of which nothing was lost is right
        for c in range(0, chain.star.size, LANES):
            star = block(chain.star, c)
            left_out = within(c, chain.star.size) & (star < SAFE_SUM) & (star > above)
            if some(left_out):
                arrive_exactly(chain, c, left_out)
                chain.good[STAR] = 0.0


@inlined
def read_emissions(terms, chain, step):
    """Where the emissions of a step begin in their run, which is read at its first step."""
    if step % RUN == 0:
        read_run(terms, chain, step)
    return offset_of(chain, step)


@inlined
def offset_of(chain, step):
    """Where the emissions of a step begin in their run."""
    return step % RUN * (len(chain.emissions) // RUN)


@inlined
def level_of(scores, first, count):
    """The level of a position: of the scores of its labels, that which is nearest to 0."""
    below, above = -math.inf, math.inf
    for c in range(first, first + count):
        score = np.float64(scores[c])
        below = larger(below, score if score <= 0.0 else -math.inf)
        above = smaller(above, score if score > 0.0 else math.inf)
    level = below if -below <= above else above
    return level if level > -math.inf else 0.0


@jit
def read_run(terms, chain, first):
    """Emissions from a step on, less the level of their position.

    Levels are summed. So an emission is rounded by no more than its own spacing, whatever the others are.
    """
    classes, filled = chain.star.size, len(chain.emissions) // RUN
    count = min(RUN, len(terms.emissions) - first)
    for row in range(count):
        offset = row * filled
        for c in range(classes):
            chain.emissions[offset + c] = np.float64(terms.emissions[first + row, c])
        level = level_of(chain.emissions, offset, classes)
        for c in range(0, classes, LANES):
            score = where(within(c, classes), block(chain.emissions, offset + c) - level, every(0.0))
            put_block(chain.emissions, offset + c, score)
        chain.levels[0], error = two_sum(chain.levels[0], level)
        chain.levels[1] += error
    for i in range(count * filled):
        chain.growth[i], chain.growth_exponents[i] = exp_wide(chain.emissions[i])
