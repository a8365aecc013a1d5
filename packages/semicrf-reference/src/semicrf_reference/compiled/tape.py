"""Entries of a tape: 0 where they are far below the reference, and looked at from the oldest that is not."""

from __future__ import annotations

import math

from semicrf_reference.compiled.extremes import larger
from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.state import LOWEST_ENTRY, STOP
from semicrf_reference.compiled.vectors import every, where
from semicrf_reference.compiled.wide import all_powers_of_two, power_of_two


@inlined
def entry_of(mantissa, exponent):
    """What a wide number is on the tape, the exponent being relative to the reference."""
    weight = mantissa * power_of_two(exponent)
    return weight if weight >= LOWEST_ENTRY else 0.0


@inlined
def entries_of(mantissas, exponents):
    """The same of the numbers of vectors."""
    weights = mantissas * all_powers_of_two(exponents)
    return where(weights < LOWEST_ENTRY, every(0.0), weights)


@jit
def skip_lost(window, c, first, stop):
    """From the first entry of a label that is not 0 on they are looked at; all before `first` are 0."""
    while first < stop and window.tape[c, first] == 0.0:
        first += 1
    window.oldest[c] = first


@jit
def open_row(window, reach, c):
    """The open segments of a label, whether or not they may end, at the end of `products`.

    Returns: how many, from the oldest that is not 0, and the exponent of the largest, to which all are
    relative.
    """
    stop, size = window.marks[STOP], window.products.size
    top = -math.inf
    for d in range(1, reach + 1):
        exponent = window.exponents[c, stop - d]
        top = larger(top, exponent if window.mantissas[c, stop - d] > 0.0 else -math.inf)
    live = 0
    for d in range(1, reach + 1):
        weight = entry_of(window.mantissas[c, stop - d], window.exponents[c, stop - d] - top)
        window.products[size - d] = weight
        live = d if weight > 0.0 else live
    return live, top
