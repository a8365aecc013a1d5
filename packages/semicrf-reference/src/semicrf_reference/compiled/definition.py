"""Sums from their definition, in wide numbers: slow, and right whatever the scores.

The scans take one wherever their own sum is so small that something may be missing from it.
"""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.jit import jit
from semicrf_reference.compiled.state import CEILING_EXPONENT, PEAK, SCALE, STAR, STOP
from semicrf_reference.compiled.tally import count_waiting
from semicrf_reference.compiled.wide import add, exp_wide, normal, power_of_two


@jit
def arrive_exactly(chain, c):
    """One number of `star` from its definition."""
    total, exponent = 0.0, 0.0
    for i in range(chain.values.size):
        m, e = chain.values[i] * chain.mantissas[c, i], chain.exponents[i] + chain.powers[c, i]
        if m > 0.0:
            total, exponent = add(total, exponent, m, e)
    chain.star[c], chain.lift[c] = total, exponent - chain.scales[STAR]


@jit
def transitions_exactly(chain, half, c, row):
    """Transitions into one label, whose sum was taken from its definition."""
    for i in range(chain.values.size):
        m, e = chain.values[i] * chain.mantissas[c, i], chain.exponents[i] + chain.powers[c, i]
        m, e = normal(m, e)
        exponent = e - chain.lift[c] - chain.scales[STAR]
        share = half.entering[c] / chain.star[c] * m * power_of_two(exponent)
        if half.backward:
            half.transitions[row, c, i] += share
        else:
            half.transitions[row, i, c] += share


@jit
def open_exactly(window, terms, step, c):
    """Write into `opened` what the open segments of one label weigh, by duration, without their durations'.

    Returns: how many there are.
    """
    keep = window.stars.shape[0]
    score, count = 0.0, 0
    for d in range(min(keep, step + 1 - window.oldest[c])):
        u = step - d
        row = u % keep
        score += np.float64(terms.emissions[u, c]) - window.times[row, PEAK]
        begin = np.float64(terms.begin[u, c]) if terms.begin.shape[1] > 0 else 0.0
        m, e = exp_wide(score + begin)
        window.opened[0, d] = m * window.stars[row, c]
        window.opened[1, d] = e + window.lifts[row, c] + window.times[row, SCALE]
        count = d + 1
    return count


@jit
def close_exactly(window, terms, step, c):
    """The sum of `close` for one label from its definition; the tape is written anew."""
    count_waiting(window)
    count = open_exactly(window, terms, step, c)
    total, exponent, ending, highest = 0.0, 0.0, -math.inf, -math.inf
    for d in range(count):
        if window.opened[0, d] > 0.0:
            m, e = exp_wide(terms.duration[d, c])
            m, e = normal(window.opened[0, d] * m, window.opened[1, d] + e)
            highest = max(highest, window.opened[1, d])
            if m > 0.0:
                ending = max(ending, e)
                total, exponent = add(total, exponent, m, e)
    if total == 0.0:
        return 0.0, 0.0
    # relative to the largest that may end now, unless another would be too large for the tape
    top = max(ending - window.best_exponent[c], highest - CEILING_EXPONENT)
    stop = window.marks[STOP]
    for d in range(count):
        window.tape[c, stop - 1 - d] = (
            window.opened[0, d] * power_of_two(window.opened[1, d] - top) * window.best[c]
        )
    window.gain[c], window.reference[c] = 1.0, top + window.best_exponent[c]
    return normal(total, exponent)


@jit
def count_exactly(window, terms, step, steps, c, ending, durations):
    """What `count` does for a label whose sum over the tape did not serve; `durations` is added to."""
    count = open_exactly(window, terms, step, c)
    total, exponent = 0.0, 0.0
    for d in range(count):
        m, e = exp_wide(terms.duration[d, c])
        m, e = normal(window.opened[0, d] * m, window.opened[1, d] + e)
        window.opened[0, d], window.opened[1, d] = m, e
        total, exponent = add(total, exponent, m, e)
    for d in range(min(count, steps)):
        durations[d, c] += ending / total * window.opened[0, d] * power_of_two(window.opened[1, d] - exponent)


@jit
def crossing_exactly(terms, window, back_terms, back_window, c, steps, back_steps):
    """The same sum from its definition, in wide numbers."""
    count = open_exactly(window, terms, steps - 1, c)
    back_count = open_exactly(back_window, back_terms, back_steps - 1, c)
    total, exponent = 0.0, 0.0
    for d in range(count):
        for back_d in range(min(back_count, window.weights.shape[1] - 2 - d + 1)):
            m, e = exp_wide(terms.duration[d + back_d + 1, c])
            m *= window.opened[0, d] * back_window.opened[0, back_d]
            e += window.opened[1, d] + back_window.opened[1, back_d]
            total, exponent = add(total, exponent, m, e)
    return normal(total, exponent)
