"""The scan: the recursion of one sequence, in either direction.

    star[s, c]   = sum_i closed[s, i] * exp(transition[s, i, c]),  exp(start[c]) at s = 0
    closed[t, c] = sum_d star[t - d, c] * exp(begin + emissions + duration + finish of the segment)

Both rows are relative to the levels of the emissions so far. Given the
terms of the reversed sequence the same steps yield the messages of the backward scan.
"""

from __future__ import annotations

import math

from semicrf_reference.compiled.chain import arrive, read_emissions, read_matrix
from semicrf_reference.compiled.halves import (
    KEEPING,
    MEETING,
    PASSING,
    close_half,
    forget,
    join,
    keep,
    meet_closed,
    meet_single,
    meet_star,
)
from semicrf_reference.compiled.jit import inlined, jit, kernel
from semicrf_reference.compiled.problem import ANSWERS, TERMS
from semicrf_reference.compiled.rows import clear_past, linear_row
from semicrf_reference.compiled.state import (
    BACKWARD,
    CLOSED,
    FIRST_STEP,
    FORWARD,
    KEPT,
    SCAN,
    STAR,
    chain_in,
    half_in,
    window_in,
)
from semicrf_reference.compiled.terms import backward_terms, forward_terms
from semicrf_reference.compiled.wide import add, exp_wide, log_wide
from semicrf_reference.compiled.window import (
    advance,
    clear,
    close,
    cut,
    enter,
    finish,
    read_durations,
    set_toll,
)


@inlined
def is_cut(terms, step):
    """Whether no segment may lie across the boundary before a step."""
    return step > 0 and len(terms.cuts) > 0 and terms.cuts[step - 1]


@inlined
def take(terms, chain, window, step):
    """From `star` of a step to `closed`: segments begin, cover the position and end."""
    offset = read_emissions(terms, chain, step)
    if terms.duration.shape[1] == 1:
        take_single(terms, chain, window, step, offset)
    else:
        if is_cut(terms, step):
            cut(window, step)
        enter(window, terms.begin, step, chain.star, chain.lift, chain.scales[STAR])
        advance(window, chain, step, offset)
        close(window, terms, step, chain.values, chain.exponents)
    chain.scales[CLOSED], good = linear_row(chain.values, chain.exponents, chain.linear)
    chain.good[CLOSED] = 1.0 if good else 0.0


@inlined
def take_single(terms, chain, window, step, offset):
    """`take` where no segment is longer than a position: none stays open, so that a window is not needed."""
    set_toll(window, terms.begin, step)
    for c in range(chain.star.size):
        toll = window.toll[c] * window.weights[c, 0]
        chain.values[c] = chain.star[c] * toll * chain.growth[offset + c]
        chain.exponents[c] = chain.lift[c] + chain.scales[STAR]
        chain.exponents[c] += window.toll_exponent[c] + chain.growth_exponents[offset + c]
    finish(terms.finish, step, chain.values, chain.exponents)


@jit
def scan(terms, chain, window, first, last, mode, half):
    """Steps `first .. last - 1`; what else is done at each of them depends on the mode."""
    for step in range(first, last):
        arrive(terms, chain, step)
        if mode == MEETING:
            meet_star(chain, half, step)
        take(terms, chain, window, step)
        if mode == MEETING and terms.duration.shape[1] == 1:
            meet_single(half, step)
        elif mode == MEETING:
            meet_closed(chain, window, half, step)
        elif mode == KEEPING:
            keep(chain, half, step)


@jit
def log_total(chain, end):
    """Log of the weight of everything: `log sum_c closed[c] * exp(end[c])`, as a whole and a rest."""
    total, exponent = 0.0, 0.0
    for c in range(end.size):
        m, e = exp_wide(end[c])
        total, exponent = add(total, exponent, chain.values[c] * m, chain.exponents[c] + e)
    if total == 0.0 or chain.levels[0] == -math.inf:
        return -math.inf
    return log_wide(total, exponent, chain.levels[0], chain.levels[1])


KEEP_FORWARD, KEEP_BACKWARD, JOIN, MEET_FORWARD, MEET_BACKWARD, PASS = range(6)
"""What there is to do for a sequence: all before PASS in turn, or PASS for the log partition alone."""


@kernel(f"void(int64, int64, int64, int64, {TERMS}, {ANSWERS}, {KEPT}, {SCAN}, {SCAN})")
def scan_batch(first, last, first_phase, last_phase, arrays, answers, kept, state, state_):
    """Phases `first_phase .. last_phase - 1` of sequences `first .. last - 1`.

    An underscore marks what belongs to the backward scan.
    """
    total, transition, duration, end, lengths = answers[0], arrays[1], arrays[3], arrays[5], arrays[8]
    one_matrix = transition.strides[0] == 0 and transition.strides[1] == 0
    chain, chain_ = chain_in(state), chain_in(state_)
    window, window_ = window_in(state), window_in(state_)
    longest, rows = 0, 0  # of the sequences before: what they share with the next has been read
    for b in range(first, last):
        n = lengths[b]
        if first_phase == KEEP_FORWARD:
            clear_past(answers[1:4], b, n)
        if n == 0:
            total[b] = 0.0
            continue
        middle = n // 2
        new_matrix = n > 1 and not (one_matrix and longest > 1)
        new_durations = duration.strides[0] != 0 or rows != min(duration.shape[2], n)
        longest, rows = max(longest, n), min(duration.shape[2], n)
        terms, terms_ = forward_terms(arrays, b, n), backward_terms(arrays, b, n)
        half = half_in(state, kept, answers, FORWARD, b, n, FIRST_STEP)
        half_ = half_in(state_, kept, answers, BACKWARD, b, n, n - middle)
        for phase in range(first_phase, last_phase):
            if phase == PASS:
                begin_scan(terms, chain, window, half, new_matrix, new_durations)
                scan(terms, chain, window, FIRST_STEP, n, PASSING, half)
                total[b] = log_total(chain, end)
            elif phase == KEEP_FORWARD:
                begin_scan(terms, chain, window, half, new_matrix, new_durations)
                scan(terms, chain, window, FIRST_STEP, middle, KEEPING, half)
            elif phase == KEEP_BACKWARD:
                begin_scan(terms_, chain_, window_, half_, new_matrix, new_durations)
                scan(terms_, chain_, window_, FIRST_STEP, n - middle, KEEPING, half_)
            elif phase == JOIN:
                arrive(terms, chain, middle)
                if is_cut(terms, middle):
                    cut(window, middle)
                join(chain, window, half, chain_, window_, half_)
                if half.total[0] == 0.0:
                    total[b] = -math.inf
                    forget(half)
            elif half.total[0] == 0.0:
                continue
            elif phase == MEET_FORWARD:
                scan(terms, chain, window, middle, n, MEETING, half)
                close_half(chain, window, half)
                total[b] = log_total(chain, end)
            else:
                scan(terms_, chain_, window_, n - middle, n, MEETING, half_)
                close_half(chain_, window_, half_)


@jit
def begin_scan(terms, chain, window, half, new_matrix, new_durations):
    """Nothing has been read but what all steps share, and that only where it differs from before."""
    if new_matrix:
        read_matrix(chain, terms.transition[0])
    if new_durations:
        read_durations(window, terms.duration[0], half.length)
    chain.levels[0] = chain.levels[1] = 0.0
    clear(window)
