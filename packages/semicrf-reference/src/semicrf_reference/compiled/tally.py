"""The tally of durations: segments that end, shared out among those that were open.

A segment of label c and duration d that ends at a step has the share `weights * tape / dots` of all that end
there, `dots` being the sum of those products. The tally adds up `ending / dots * tape`, some steps at once,
and is multiplied with the weights at the end.
"""

from __future__ import annotations

import numpy as np

from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.state import BLOCK, LOWEST_FACTOR, REACHED, START, STOP, WAITING
from semicrf_reference.compiled.vectors import LANES, block, every, put_block, where


@inlined
def count(window, steps, ending):
    """Add segments that end here to the tally: `ending[c]`, in the proportions of their weights.

    Those that began in the last `steps` steps count, of every label.
    """
    waiting = window.marks[WAITING]
    if waiting == 0:
        window.marks[START] = window.marks[STOP] - window.weights.shape[1]
        window.marks[REACHED] = max(0, window.weights.shape[1] - steps)
    for c in range(0, ending.size, LANES):
        dots = block(window.dots, c)
        share = where(dots > 0.0, block(ending, c) / dots, every(0.0))
        put_block(window.shares[waiting], c, where(share < LOWEST_FACTOR, every(0.0), share))
    window.marks[WAITING] = waiting + 1
    if waiting + 1 == BLOCK:
        count_waiting(window)


@jit
def count_waiting(window):
    """Add what waits in `shares` to the tally, before the tape changes."""
    waiting, window.marks[WAITING] = window.marks[WAITING], 0
    if waiting == 0:
        return
    start = window.marks[START]
    for c in range(window.tape.shape[0]):
        tally = window.tally[c, : window.tally.shape[1] + 1 - window.shortest[c]]
        reached = max(window.marks[REACHED], window.oldest[c] - start)
        first = min(reached, tally.size)
        if waiting == BLOCK:
            add_block(window.shares, c, window.tape[c], start, tally, first)
        else:
            for j in range(waiting):
                add_scaled(window.shares[j, c], window.tape[c], start + j, tally, first)
        for j in range(1, waiting):  # what only the later ones reach
            for k in range(max(0, reached - j), first):
                tally[k] += window.shares[j, c] * window.tape[c, start + j + k]


@inlined
def add_block(shares, c, tape, start, tally, first):
    """`tally[k] += sum_j shares[j, c] * tape[start + j + k]` from `first` on: one pass over the tally."""
    a0, a1, a2, a3 = shares[0, c], shares[1, c], shares[2, c], shares[3, c]
    start, first = np.uint64(start + first), np.uint64(first)
    for k in range(np.uint64(tally.size) - first):
        at = start + k
        tally[first + k] += (a0 * tape[at] + a1 * tape[at + np.uint64(1)]) + (
            a2 * tape[at + np.uint64(2)] + a3 * tape[at + np.uint64(3)]
        )


@inlined
def add_scaled(scale, tape, start, tally, first):
    """`tally[k] += scale * tape[start + k]` from `first` on."""
    start, first = np.uint64(start + first), np.uint64(first)
    for k in range(np.uint64(tally.size) - first):
        tally[first + k] += scale * tape[start + k]


@jit
def add_tally(window, durations):
    """Add the tally to `durations`, `(K, C)`."""
    count_waiting(window)
    max_duration = window.weights.shape[1]
    for c in range(window.tally.shape[0]):
        for d in range(max_duration):
            weight = window.weights[c, max_duration - 1 - d]
            if weight > 0.0:
                durations[d, c] += weight * window.tally[c, max_duration - 1 - d]
