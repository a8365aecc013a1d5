"""What a scan holds: the chain of messages, the window of open segments, and its half of the posteriors.

Rows of an entry a label are filled up to whole blocks of LANES, so that vectors serve for all of a row: those
of a `Chain` and a `Window`, and of a `Half` from `apart` to `passed`. Behind the labels their memory holds
finite numbers, and a gain of 1, by `clear`. What users gave and get, and what the scans keep, is not
filled up.

Kernels get its memory as plain arrays, so that what is kept of them on disk names no class of ours, and give
names to it with the classes here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semicrf_reference.compiled.jit import inlined
from semicrf_reference.compiled.problem import SPARE, Array
from semicrf_reference.compiled.vectors import filled_rows
from semicrf_spec.cost import Size

FORWARD, BACKWARD = np.arange(2)  # here and below not literals, each of which would compile the scan anew
"""Directions."""

FIRST_STEP = np.int64(0)

STAR, CLOSED, MATRIX = 0, 1, 2
"""Entries of `Chain.scales` and `Chain.good`, and of what a `Half` keeps of them."""

STOP, WAITING, START, REACHED, LATER = range(5)
"""Entries of `Window.marks`: where the tape ends; how many steps of shares wait to be added to the tally; of
the first of them, where its window begins on the tape and which entry of the tally it reaches; by how much
the largest of the shortest durations is above 1."""

CEILING_EXPONENT = 500.0
"""Entries of the tape stay below 2 to it: so far above the reference may be what begins."""

SAFE_DOT = 2.0**-120
"""A sum of a million products of tape and weights has, at or above it, lost nothing to what is left out."""

LOWEST_FACTOR = 2.0**-700
"""What the tape is multiplied with is 0 below it: times the largest entry that is nothing beside SAFE_DOT."""

LOWEST_ENTRY = 2.0**-300
"""Entries of the tape below it are 0, so that no product is subnormal, which some processors take a hundred
times as long for."""

NO_REFERENCE = -(2.0**60)
"""The reference of a label without open segments: whatever begins is far above it."""

RUN = 16
"""Positions of which emissions are read at once: enough to fill the registers whatever C is."""

BLOCK = 4
"""Steps that are added to a tally at once, as each entry of it is then read and written once."""


class Chain(NamedTuple):
    """What goes from step to step beside the window.

    The message of what begins is `star * 2**(lift + scales[STAR])`, the lift 0 but where a number is too
    small for that. That of what ends is the wide row `values * 2**exponents`, of which `linear` is the linear
    form. `matrix` is `exp(transition)` relative to its scale. `good` says which of the three have
    nothing left out.
    """

    matrix: Array  # (C, C filled up)
    mantissas: Array  # the same as wide numbers
    powers: Array
    star: Array
    lift: Array
    linear: Array
    values: Array
    exponents: Array
    emissions: Array  # (RUN * C,), C filled up to whole blocks: less the levels of their positions
    growth: Array  # likewise: their exponentials, as wide numbers
    growth_exponents: Array
    scales: Array
    good: Array
    levels: Array  # the sum of the levels, as two float64


class Window(NamedTuple):
    """The open segments of one scan; rows have an entry a label.

    What float64 cannot hold of weights and tape is kept as wide numbers too: a segment weighs
    `mantissas * gain * 2**(exponents + drift)`. From these it comes on the tape at the step at which it may
    first end, as until then it may be as far above the others as it likes.
    """

    weights: Array  # (C, K)
    weight_mantissas: Array
    weight_exponents: Array
    tape: Array  # (C, at least 2 K), the last entry at marks[STOP] - 1
    mantissas: Array  # in [1, 2), or 0
    exponents: Array
    gain: Array  # what has happened to all open segments since they began, with the reference
    reference: Array
    drift: Array  # of the reference, by emissions alone
    best_exponent: Array  # of the durations, to which their weights are relative
    toll: Array  # what a segment pays when it begins
    toll_exponent: Array
    mantissa: Array  # of what begins, as it comes to the others
    exponent: Array
    entry: Array  # what comes on the tape now
    dots: Array  # of tape and weights, 0 where that did not serve
    products: Array  # (K,)
    shortest: Array  # the least duration of any weight, 1 where there is none
    longest: Array  # the largest, 0 where there is none
    begun: Array  # the step of the last segment that began, -1 where none is open
    cleared: Array  # the step from which on segments have not been forbidden again
    oldest: Array  # the place on the tape before which every entry is 0
    live: Array  # how many entries are not left out of the sum at this step
    shares: Array  # (BLOCK, C filled up)
    tally: Array  # (C, K), as weights
    marks: Array


class Half(NamedTuple):
    """What one scan keeps for the other, and the posteriors it makes of what the other kept.

    Rows are positions. `position` is the memory of `closeds`, and `begins` may be that of `stars`, as they
    are written after these were read.
    """

    stars: Array  # (L, C)
    lifts: Array  # (L, C), written only where the row of stars is not good: else no memory is taken
    closeds: Array  # (L, C)
    exponents: Array  # (L, C), written only where the row of closeds is not good
    zeros: Array  # (C,), for where it is
    scales: Array  # (L, 2)
    good: Array  # (L, 2), as in the chain
    position: Array  # (L, C)
    begins: Array  # (L, C), or (0, C) where nobody asks
    ends: Array
    edges: Array  # (2, C): labels of the first and the last segment
    transitions: Array  # (C, C), or (T, C, C) with one for each boundary
    durations: Array  # (K, C)
    joint: Array  # as the matrix: posteriors of transitions, for a unit of their weight
    apart: Array  # as the matrix: posteriors of those that were counted from their definition
    kept: Array  # a row of what the other scan kept, copied as it is not filled up
    kept_exponents: Array
    shares: Array  # of what enters, for a unit of its message
    entering: Array  # posteriors at this step: of what begins here in the direction of the scan,
    leaving: Array  # of what ends,
    covering: Array  # and of what is open between
    passed: Array  # the sum of what entered since nothing was open
    total: Array  # the weight of everything, as a wide number
    backward: bool
    length: int
    first: int  # the step from which segments count that begin there: the forward scan counts the others


SCAN = f"Tuple(({', '.join(['float64[:,::1]'] * 13 + ['int64[:,::1]', 'int64[::1]'])}))"
KEPT = f"Tuple((float64[:,:,::1], {', '.join(['float64[:,::1]'] * 5)}))"
"""Types of the arrays of `scan_state` and `kept_messages`."""


def scan_state(size: Size) -> tuple[Array, ...]:
    """What one scan takes from step to step: the memory of a `Chain`, a `Window` and a `Half`."""
    longest, classes = max(1, min(size.max_duration, size.time)), size.classes
    rows, tables, shares, run = filled_rows(
        classes,
        22,  # rows: 5 of the chain, 10 of the window, 7 of the half
        5 * classes,  # tables: 3 of the chain, 2 of the half
        BLOCK,
        3 * RUN,
    )
    shapes = (
        (4, 3),
        *((classes, longest) for _ in range(4)),
        *((classes, longest + max(longest, SPARE)) for _ in range(3)),
        (1, longest),
    )
    integers = (np.empty((6, classes), np.int64), np.empty(5, np.int64))
    return (rows, tables, shares, run.reshape(3, -1), *map(np.empty, shapes), *integers)


def kept_messages(stars: Array) -> tuple[Array, ...]:
    """What the scans keep for one another, `position` apart; `stars` is `(B, T, C)` or `(1, T, C)`."""
    _, time, classes = stars.shape
    exponents = np.empty((time, classes)), np.empty((time, classes))
    return stars, *exponents, np.zeros((1, classes)), np.empty((time, 2)), np.empty((time, 2))


@inlined
def chain_in(state):
    """The chain of a scan."""
    rows, tables, _, run, scalars = state[:5]
    n = len(tables) // 5
    return Chain(
        tables[:n], tables[n : 2 * n], tables[2 * n : 3 * n],
        rows[0, :n], rows[1, :n], rows[2, :n], rows[3, :n], rows[4, :n],
        run[0], run[1], run[2], scalars[0], scalars[1], scalars[2],
    )  # fmt: skip


@inlined
def window_in(state):
    """The window of a scan."""
    rows, shares = state[0], state[2]
    weights, weight_mantissas, weight_exponents, tally, tape, mantissas, exponents = state[5:12]
    products, steps, marks = state[12:]
    n = len(weights)
    return Window(
        weights, weight_mantissas, weight_exponents, tape, mantissas, exponents,
        rows[5, :n], rows[6, :n], rows[7, :n], rows[8, :n], rows[9, :n], rows[10, :n], rows[11, :n],
        rows[12, :n], rows[13, :n], rows[14, :n], products[0],
        steps[0], steps[1], steps[2], steps[3], steps[4], steps[5], shares, tally, marks,
    )  # fmt: skip


@inlined
def half_in(state, kept, answers, direction, b, n, first):
    """The half of a scan that belongs to sequence b; what has one row serves every sequence."""
    rows, tables, scalars = state[0], state[1], state[4]
    m = len(tables) // 5
    stars, lifts, exponents, zeros, scales, good = kept
    _, position, begins, ends, edges, transitions, durations = answers
    wanted, counted = min(b, len(begins) - 1), min(b, len(position) - 1)
    closeds = position[counted]
    return Half(
        stars[min(b, len(stars) - 1)], lifts, closeds, exponents, zeros[0], scales, good, closeds,
        begins[wanted], ends[wanted], edges[:, counted],
        transitions[min(direction, len(transitions) - 1), counted],
        durations[min(direction, len(durations) - 1), counted, 0],
        tables[3 * m : 4 * m], tables[4 * m :],
        rows[15, :m], rows[16, :m], rows[17, :m], rows[18, :m], rows[19, :m], rows[20, :m], rows[21, :m],
        scalars[3], direction > 0, n, first,
    )  # fmt: skip
