"""Sums from their definition, in wide numbers: slow, and right whatever the scores.

The scans take one wherever their own sum is so small that something may be missing from it.
"""

from __future__ import annotations

import math

from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.rows import dot_wide
from semicrf_reference.compiled.state import CEILING_EXPONENT, STAR, STOP
from semicrf_reference.compiled.tally import count_waiting
from semicrf_reference.compiled.tape import entry_of, skip_lost
from semicrf_reference.compiled.vectors import block, every, exponents_of, powers_of_two, put_block, where
from semicrf_reference.compiled.wide import add, all_powers_of_two, normal


@jit
def arrive_exactly(chain, c, left_out):
    """Those numbers of a block of `star` that are left out, from their definition."""
    top = every(-math.inf)
    for i in range(chain.values.size):
        product, exponent = onward(chain, i, c)
        top = larger(top, where(product > 0.0, exponent, every(-math.inf)))
    top, total = where(top > -math.inf, top, every(0.0)), every(0.0)
    for i in range(chain.values.size):
        product, exponent = onward(chain, i, c)
        total += product * all_powers_of_two(exponent - top)
    shift = where(total > 0.0, exponents_of(total), every(0.0))
    star, lift = total * powers_of_two(0.0 - shift), top + shift - chain.scales[STAR]
    put_block(chain.star, c, where(left_out, star, block(chain.star, c)))
    put_block(chain.lift, c, where(left_out, lift, block(chain.lift, c)))


@inlined
def onward(chain, i, c):
    """What goes from one label to a block of them, as wide numbers: products, and their exponents."""
    product = block(chain.mantissas[i], c) * chain.values[i]
    return product, block(chain.powers[i], c) + chain.exponents[i]


@jit
def transitions_exactly(chain, apart, c, entering):
    """Transitions into a block of labels, which enter with those posteriors, are added to `apart`."""
    shares, lift = entering / block(chain.star, c), block(chain.lift, c) + chain.scales[STAR]
    for i in range(chain.values.size):
        product, exponent = onward(chain, i, c)
        shift = exponents_of(product)
        power = all_powers_of_two(exponent + shift - lift)
        share = shares * (product * powers_of_two(0.0 - shift)) * power
        share = where(entering > 0.0, smaller(share, entering), every(0.0))
        put_block(apart[i], c, block(apart[i], c) + share)


@jit
def close_exactly(window, reach, c):
    """The sum of `close` for one label from its definition; the tape is written anew."""
    count_waiting(window)
    start, first = window.marks[STOP] - reach, window.weights.shape[1] - reach
    count = reach + 1 - window.shortest[c]
    mantissas, exponents = window.mantissas[c], window.exponents[c]
    weights, powers = window.weight_mantissas[c], window.weight_exponents[c]
    total, ending = dot_wide(mantissas, exponents, start, weights, powers, first, window.products[:count])
    if total == 0.0:
        return 0.0, 0.0
    highest = -math.inf
    for k in range(start, start + count):
        highest = larger(highest, exponents[k] if mantissas[k] > 0.0 else -math.inf)
    # relative to the largest that may end now, unless another would be too large for the tape
    top = max(ending, highest - CEILING_EXPONENT)
    for k in range(start, start + count):
        window.tape[c, k] = entry_of(mantissas[k], exponents[k] - top)
    skip_lost(window, c, start, start + count)
    window.reference[c] = top + window.drift[c]
    return normal(total * window.gain[c], ending + window.drift[c])


@jit
def count_exactly(window, reach, steps, c, ending, durations):
    """What `count` does for a label whose sum over the tape did not serve; `durations` is added to."""
    start, first = window.marks[STOP] - reach, window.weights.shape[1] - reach
    mantissas, exponents = window.mantissas[c], window.exponents[c]
    weights, powers = window.weight_mantissas[c], window.weight_exponents[c]
    products = window.products[:reach]
    total, _ = dot_wide(mantissas, exponents, start, weights, powers, first, products)
    share = ending / total if total > 0.0 else 0.0
    for d in range(min(reach, steps)):
        durations[d, c] += share * products[reach - 1 - d]


@jit
def crossing_exactly(window, back_window, c, reach, back_reach):
    """The same sum from its definition, in wide numbers."""
    max_duration = window.weights.shape[1]
    stop, back_stop = window.marks[STOP], back_window.marks[STOP]
    weight, exponent = 0.0, 0.0
    for d in range(1, min(reach, max_duration - 1) + 1):
        count = min(back_reach, max_duration - d)
        total, top = dot_wide(
            back_window.mantissas[c], back_window.exponents[c], back_stop - count,
            window.weight_mantissas[c], window.weight_exponents[c], max_duration - d - count,
            window.products[:count],
        )  # fmt: skip
        total *= window.mantissas[c, stop - d]
        weight, exponent = add(weight, exponent, total, top + window.exponents[c, stop - d])
    weight *= window.gain[c] * back_window.gain[c]
    exponent += window.drift[c] + back_window.drift[c] - window.best_exponent[c]
    return normal(weight, exponent)
