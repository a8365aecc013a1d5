"""Samples: the scan keeps its messages, and a walk back from the end draws labels and durations."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.chain import level_of
from semicrf_reference.compiled.extremes import larger
from semicrf_reference.compiled.halves import KEEPING
from semicrf_reference.compiled.jit import inlined, jit, kernel
from semicrf_reference.compiled.moments import MEANS, OPEN, TOP, VALUES, Means, Open, scan_forward, values_of
from semicrf_reference.compiled.problem import ANSWERS, TERMS, Answers
from semicrf_reference.compiled.scan import begin_scan, is_cut, scan
from semicrf_reference.compiled.state import (
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
from semicrf_reference.compiled.terms import forward_terms
from semicrf_reference.compiled.wide import exp_wide, normal, power_of_two


@inlined
def kept_star(half, at, c):
    """The message of what begins at a position, as a wide number."""
    lift = half.lifts[at, c] if half.good[at, STAR] == 0.0 else 0.0
    return half.stars[at, c], half.scales[at, STAR] + lift


@inlined
def kept_closed(half, at, c):
    """The message of what ends with a position, as a wide number."""
    exponent = half.exponents[at, c] if half.good[at, CLOSED] == 0.0 else 0.0
    return half.closeds[at, c], half.scales[at, CLOSED] + exponent


@jit
def draw_label(half, at, scores, uniform, weights, exponents):
    """The label of the segment that ends with a position, given what each label scores from there on.

    The first whose cumulative share is above the uniform number; -1 if there is none.
    """
    top = -math.inf
    for c in range(weights.size):
        m, e = kept_closed(half, at, c)
        onward, exponent = exp_wide(scores[c])
        weights[c], exponent = normal(m * onward, e + exponent)
        exponents[c] = exponent
        top = larger(top, exponent if weights[c] > 0.0 else -math.inf)
    total = 0.0
    for c in range(weights.size):
        weights[c] *= power_of_two(exponents[c] - top) if weights[c] > 0.0 else 0.0
        total += weights[c]
    label, cumulative = -1, 0.0
    for c in range(weights.size):
        cumulative += weights[c]
        if weights[c] > 0.0:
            label = c
            if cumulative > uniform * total:
                break
    return label


@jit
def draw_duration(terms, half, levels, stop, label, uniform):
    """The duration of a segment of a label that ends at a boundary, by its share of `closed`.

    Shares are summed from the shortest on, no farther than to the one that is drawn; where scores are so
    large that their rounding leaves too little, the largest is drawn.
    """
    whole, exponent = kept_closed(half, stop - 1, label)
    score = np.float64(terms.finish[stop - 1, label]) if terms.finish.shape[1] > 0 else 0.0
    drawn, cumulative = 1, 0.0
    largest, top = 0.0, 0.0
    for d in range(1, min(terms.duration.shape[1], stop) + 1):
        at = stop - d
        if d > 1 and is_cut(terms, at + 1):
            break
        emission = np.float64(terms.emissions[at, label])
        if emission == -math.inf:
            break
        score += (emission - levels[0, at]) - levels[1, at]
        begin = np.float64(terms.begin[at, label]) if terms.begin.shape[1] > 0 else 0.0
        m, e = exp_wide(score + terms.duration[at, d - 1, label] + begin)
        star, scale = kept_star(half, at, label)
        cumulative += star * m / whole * power_of_two(scale + e - exponent)
        if cumulative > uniform:
            return d
        weight, power = normal(star * m, scale + e)
        if weight > 0.0 and (largest == 0.0 or power > top or (power == top and weight > largest)):
            drawn, largest, top = d, weight, power
    return drawn


@jit
def walk(terms, half, levels, onward, uniforms, labels, durations):
    """One sample of one sequence, from its end; `onward` are the scores of the last label.

    Messages are relative to the levels `(2, T)`, what has been taken off the emissions of each position.
    """
    stop = half.length
    weights, exponents = half.entering, half.leaving  # rows that nobody needs now
    label = draw_label(half, stop - 1, onward, uniforms[stop - 1, 0], weights, exponents)
    while label >= 0:
        duration = draw_duration(terms, half, levels, stop, label, uniforms[stop - 1, 1])
        begun = stop - duration
        for u in range(begun, stop):
            labels[u] = label
        durations[begun] = duration
        stop = begun
        if stop == 0:
            break
        scores = terms.transition[stop - 1, :, label]
        label = draw_label(half, stop - 1, scores, uniforms[stop - 1, 0], weights, exponents)


DRAWN = "float64[:,:,:,::1], int64[:,:,::1], int64[:,:,::1]"


@kernel(f"void(int64, int64, {TERMS}, {DRAWN}, float64[:,::1], {ANSWERS}, {KEPT}, {SCAN})")
def sample_batch(first, last, arrays, uniforms, labels, durations, levels, answers, kept, state):
    """Samples of sequences `first .. last - 1`, into labels of -1 and durations of 0."""
    lengths, end = arrays[8], arrays[5]
    chain, window = chain_in(state), window_in(state)
    for b in range(first, last):
        n = lengths[b]
        if n == 0:
            continue
        terms = forward_terms(arrays, b, n)
        half = half_in(state, kept, answers, FORWARD, b, n, FIRST_STEP)
        begin_scan(terms, chain, window, half, n > 1, True)
        scan(terms, chain, window, FIRST_STEP, n, KEEPING, half)
        for u in range(n):
            levels[0, u] = level_of(terms.emissions[u], 0, terms.emissions.shape[1])
        for i in range(len(uniforms)):
            walk(terms, half, levels, end, uniforms[i, b], labels[i, b], durations[i, b])


@kernel(f"void(int64, int64, {TERMS}, {DRAWN}, {VALUES}, {ANSWERS}, {KEPT}, {SCAN}, {MEANS}, {OPEN})")
def sample_segments_batch(
    first, last, arrays, uniforms, labels, durations, values, answers, kept, state, forward, space
):
    """The same where scores of whole segments are given: from the messages of the scan in nats."""
    lengths, end = arrays[8], arrays[5]
    means, open_ = Means(*forward), Open(*space)
    for b in range(first, last):
        n = lengths[b]
        if n == 0:
            continue
        scan_forward(arrays, values_of(values, arrays, b), b, n, open_, means, Answers(*answers))
        half = half_in(state, kept, answers, FORWARD, b, n, FIRST_STEP)
        keep_means(half, means, n)
        for i in range(len(uniforms)):
            walk(
                forward_terms(arrays, b, n), half, open_.levels[: TOP + 1], end,
                uniforms[i, b], labels[i, b], durations[i, b],
            )  # fmt: skip


@inlined
def keep_means(half, means, n):
    """Messages in nats, kept as wide numbers."""
    for at in range(n):
        half.scales[at, STAR] = half.scales[at, CLOSED] = half.good[at, STAR] = half.good[at, CLOSED] = 0.0
        for c in range(half.stars.shape[1]):
            half.stars[at, c], half.lifts[at, c] = exp_wide(means.star[at, c])
            half.closeds[at, c], half.exponents[at, c] = exp_wide(means.closed[at, c])
