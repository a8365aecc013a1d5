"""The window of a scan: for every label, the open segments and what each of them weighs so far.

A segment of label c that began d positions ago weighs

    tape[c, stop - d] * gain[c] * 2**reference[c]

so an emission is one multiplication a label, not one a segment, and the sum over durations is a dot product
with `weights[c]`, the exponentials of the duration scores from the longest to the shortest. These are
relative to the largest duration score of the label, which a segment pays when it begins.

Entries of the tape that are far below the reference become 0, and those before the oldest that is not are
looked at no more. Where so little of a sum is left that it may matter, it is taken once more from its
definition, in wide numbers, and the tape is written anew around it.
"""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.definition import close_exactly
from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.rows import dot, move_to_front
from semicrf_reference.compiled.state import (
    CEILING_EXPONENT,
    LATER,
    LOWEST_FACTOR,
    NO_REFERENCE,
    SAFE_DOT,
    STOP,
    WAITING,
)
from semicrf_reference.compiled.tally import count_waiting
from semicrf_reference.compiled.tape import entries_of, entry_of, skip_lost
from semicrf_reference.compiled.vectors import (
    LANES,
    block,
    every,
    exponents_of,
    largest_of,
    powers_of_two,
    put_block,
    smallest_of,
    where,
    within,
)
from semicrf_reference.compiled.wide import exp_wide, power_of_two

CEILING = 2.0**CEILING_EXPONENT
FARTHEST_DRIFT = 2.0**40
"""Drift from which on exponents are counted anew: float64 still holds every integer near it."""


@jit
def clear(window):
    """No segment is open, none has been counted."""
    classes, max_duration = window.weights.shape
    window.marks[STOP] = window.marks[WAITING] = 0
    for c in range(0, classes, LANES):  # the gain of whole blocks, as something is divided by it
        put_block(window.gain, c, every(1.0))
    for c in range(classes):
        window.toll[c], window.toll_exponent[c] = 1.0, window.best_exponent[c]
        for k in range(max_duration):
            window.tally[c, k] = 0.0
        window.reference[c], window.drift[c] = NO_REFERENCE, 0.0
        window.begun[c], window.cleared[c], window.oldest[c] = -1, 0, 0


@jit
def read_durations(window, duration, length):
    """Exponentials of the durations that a sequence has room for, in linear form and as wide numbers.

    Both are relative to the largest of their exponents, which is taken off as an integer: nothing is rounded.
    """
    classes, max_duration = window.weights.shape
    rows = min(len(duration), length)
    window.marks[LATER] = 0
    for c in range(classes):
        best = -math.inf
        for d in range(max_duration):
            m, e = exp_wide(duration[d, c] if d < rows else -math.inf)
            k = max_duration - 1 - d
            window.weight_mantissas[c, k], window.weight_exponents[c, k] = m, e
            best = larger(best, e if m > 0.0 else -math.inf)
        window.best_exponent[c] = best if best > -math.inf else 0.0
        for k in range(max_duration):
            window.weight_exponents[c, k] -= window.best_exponent[c]
            exponent = window.weight_exponents[c, k]
            weight = window.weight_mantissas[c, k] * power_of_two(exponent)
            window.weights[c, k] = weight if weight >= LOWEST_FACTOR else 0.0
        window.shortest[c], window.longest[c] = 1, 0
        for d in range(max_duration, 0, -1):
            if window.weight_mantissas[c, max_duration - d] > 0.0:
                window.shortest[c], window.longest[c] = d, max(d, window.longest[c])
        window.marks[LATER] = max(window.marks[LATER], window.shortest[c] - 1)


@inlined
def enter(window, begin, step, star, lift, scale):
    """Segments of every label begin, each weighing `star * 2**(lift + scale)` and its toll.

    On the tape come those that may end at this step, and might not before: where single positions are
    segments these, else older ones.
    """
    place = next_place(window)
    set_toll(window, begin, step)
    for c in range(0, star.size, LANES):
        weight = block(star, c) * block(window.toll, c) / block(window.gain, c)
        shift = exponents_of(weight)
        exponent = block(lift, c) + scale + block(window.toll_exponent, c)
        put_block(window.mantissa, c, weight * powers_of_two(0.0 - shift))
        put_block(window.exponent, c, shift + exponent - block(window.drift, c))
        put_block(window.entry, c, entries_of(weight, exponent - block(window.reference, c)))
    for c in range(star.size):
        window.mantissas[c, place] = window.mantissa[c]
        window.exponents[c, place] = window.exponent[c]
        window.begun[c] = step if window.mantissa[c] > 0.0 else window.begun[c]
    window.marks[STOP] = place + 1
    if window.marks[LATER] > 0:
        for c in range(star.size):
            window.entry[c] = entry_later(window, c, step) if window.shortest[c] > 1 else window.entry[c]
    highest = 0.0
    for c in range(star.size):
        highest = larger(highest, window.entry[c])
    if highest > CEILING:
        for c in range(star.size):
            window.entry[c] = rebase(window, c)
    for c in range(star.size):
        window.tape[c, max(window.marks[STOP] - window.shortest[c], 0)] = window.entry[c]


@jit
def entry_later(window, c, step):
    """The entry of those segments of one label that may first end at this step."""
    place = window.marks[STOP] - window.shortest[c]
    if step + 1 < window.shortest[c]:
        return 0.0
    above = window.exponents[c, place] + window.drift[c] - window.reference[c]
    return entry_of(window.mantissas[c, place], above)


@inlined
def set_toll(window, begin, step):
    """What segments pay when they begin: the largest duration score and that of beginning here."""
    if begin.shape[1] > 0:
        for c in range(window.toll.size):
            m, e = exp_wide(np.float64(begin[step, c]))
            window.toll[c], window.toll_exponent[c] = m, window.best_exponent[c] + e


@inlined
def next_place(window):
    """Where on the tape the next segments go; at its end the window moves to its beginning."""
    stop = window.marks[STOP]
    if stop == window.tape.shape[1]:
        count_waiting(window)
        kept = window.weights.shape[1]
        move_to_front(window.tape, stop, kept)
        move_to_front(window.mantissas, stop, kept)
        move_to_front(window.exponents, stop, kept)
        for c in range(window.oldest.size):
            window.oldest[c] = max(0, window.oldest[c] - (stop - kept))
        stop = kept
    return stop


@jit
def rebase(window, c):
    """The entry of one label; where it is above the ceiling it becomes the reference."""
    if window.entry[c] <= CEILING:
        return window.entry[c]
    count_waiting(window)
    stop = window.marks[STOP]
    place = stop - window.shortest[c]
    reference = window.exponents[c, place] + window.drift[c]
    below = window.reference[c] - reference
    first = max(window.oldest[c], stop - window.weights.shape[1])
    for k in range(first, place):
        window.tape[c, k] = entry_of(window.tape[c, k], below)
    skip_lost(window, c, first, place)
    window.reference[c] = reference
    return window.mantissas[c, place]


@inlined
def advance(window, chain, step, offset):
    """Every open segment grows by one position, of which the emissions begin at `offset`."""
    classes, lowest, farthest = window.gain.size, every(0.0), every(0.0)
    for c in range(0, classes, LANES):
        own = within(c, classes)
        lowest = smaller(lowest, where(own, block(chain.emissions, offset + c), every(0.0)))
        grown = block(window.gain, c) * block(chain.growth, offset + c)
        shift = exponents_of(grown)
        change = block(chain.growth_exponents, offset + c) + shift
        drift = block(window.drift, c) + change
        put_block(window.gain, c, grown * powers_of_two(0.0 - shift))
        put_block(window.reference, c, block(window.reference, c) + change)
        put_block(window.drift, c, drift)
        farthest = larger(farthest, where(own, larger(drift, 0.0 - drift), every(0.0)))
    if largest_of(farthest) > FARTHEST_DRIFT:
        stop_drift(window)
    if smallest_of(lowest) == -math.inf:
        for c in range(window.gain.size):
            if chain.emissions[offset + c] == -math.inf:
                forbid(window, step, c)


@jit
def stop_drift(window):
    """Count exponents from 0 again, before small ones are lost beside the drift."""
    stop = window.marks[STOP]
    for c in range(window.drift.size):
        for k in range(max(0, stop - window.weights.shape[1]), stop):
            window.exponents[c, k] += window.drift[c]
        window.drift[c] = 0.0


@jit
def cut(window, step):
    """Every open segment is lost before a step."""
    for c in range(window.gain.size):
        forbid(window, step - 1, c)


@jit
def forbid(window, step, c):
    """Every open segment of a label is lost."""
    cleared, begun = window.cleared[c], window.begun[c]
    window.cleared[c], window.begun[c] = step + 1, -1
    window.gain[c], window.reference[c] = 1.0, NO_REFERENCE
    if begun < 0:  # there is none
        return
    count_waiting(window)
    stop = window.marks[STOP]
    for k in range(max(0, stop - (step + 1 - cleared), stop - window.weights.shape[1]), stop):
        window.tape[c, k] = window.mantissas[c, k] = 0.0
    window.oldest[c] = stop


@inlined
def close(window, terms, step, values, exponents):
    """The summed weight of every label's segments that end here, each times its duration's: wide numbers.

    `dots` keeps the sum over the tape, 0 where it did not serve.
    """
    max_duration = window.weights.shape[1]
    reach = min(max_duration, step + 1)
    stop = window.marks[STOP]
    for c in range(values.size):
        most = min(min(reach, window.longest[c]), stop - window.oldest[c])
        window.live[c] = max(most - window.shortest[c] + 1, 0)
    for c in range(values.size):
        live = window.live[c]
        past = live + window.shortest[c] - 1
        window.dots[c] = dot(window.weights[c], max_duration - past, window.tape[c], stop - past, live)
    lowest = every(math.inf)
    for c in range(0, values.size, LANES):
        dots = block(window.dots, c)
        put_block(values, c, dots * block(window.gain, c))
        put_block(exponents, c, block(window.reference, c))
        lowest = smaller(lowest, where(within(c, values.size), dots, every(math.inf)))
    if smallest_of(lowest) < SAFE_DOT:
        for c in range(values.size):
            if window.dots[c] < SAFE_DOT and may_end(window, step, reach, c):
                values[c], exponents[c] = close_exactly(window, reach, c)
                window.dots[c] = 0.0
    finish(terms.finish, step, values, exponents)


@inlined
def may_end(window, step, reach, c):
    """Whether a segment is open that may end here, so that their sum is not 0."""
    newest = min(window.begun[c], step + 1 - window.shortest[c])
    if newest < max(window.cleared[c], step + 1 - min(reach, window.longest[c])):
        return False
    first, count = window.weights.shape[1] - reach, reach + 1 - window.shortest[c]
    mantissas, weights = window.mantissas[c], window.weight_mantissas[c]  # each is 0, or near 1
    return dot(mantissas, window.marks[STOP] - reach, weights, first, count) > 0.0


@inlined
def finish(scores, step, values, exponents):
    """Segments end here, for which each label has a score."""
    if scores.shape[1] > 0:
        for c in range(values.size):
            m, e = exp_wide(np.float64(scores[step, c]))
            values[c] *= m
            exponents[c] += e
