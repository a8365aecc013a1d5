"""Viterbi: the recursion over (max, +) with backpointers, and the walk back."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.extremes import larger
from semicrf_reference.compiled.jit import inlined, jit, kernel
from semicrf_reference.compiled.problem import SPARE, TERMS, Array
from semicrf_reference.compiled.rows import move_to_front
from semicrf_reference.compiled.terms import forward_terms, read_ending
from semicrf_reference.compiled.vectors import (
    LANES,
    block,
    counted,
    every,
    filled_rows,
    largest_of,
    put_block,
    smallest_of,
    where,
)
from semicrf_spec.cost import Size

DECODING = (
    "Tuple((float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], index[:,::1], index[:,::1]))"
)
"""Types of the arrays of a `decoding_space`."""


def decoding_space(size: Size) -> tuple[Array, ...]:
    """What decoding takes from step to step, and its backpointers in the least integers that hold them."""
    _, time, max_duration, classes = size
    longest = max(1, min(max_duration, time))
    index = np.int16 if max(longest, classes) <= np.iinfo(np.int16).max else np.int32
    matrix, rows = filled_rows(classes, classes, 3)  # rows: star, closed, and the label before
    (weights,) = filled_rows(longest, classes)  # durations, the longest first, -inf before it
    (tape,) = filled_rows(LANES + longest + max(longest, SPARE), classes)  # first LANES of -inf
    return matrix, weights, tape, rows, np.empty((time, classes), index), np.empty((time, classes), index)


@jit
def best_messages(terms, matrix, weights, tape, star, closed, label, previous, lasted):
    """Scores of the best segmentations that end in each label, in `closed` after the last position.

        star[s, c]   = max_i ( closed[s, i] + transition[s, i, c] ), start[c] at s = 0
        closed[t, c] = finish[t - 1, c] + max_d ( open[t, d, c] + duration[d, c] )

    where `open[t, d, c]` is a segment of c that began d positions ago; `tape` holds those of every label in
    the order of their beginnings. Ties go to the first label and to the shortest duration. `previous[t, c]`
    is the label before a segment of c that begins at t, `lasted[t, c]` the duration of the segment of c
    that ends with t.
    """
    length, classes = terms.emissions.shape
    max_duration, filled = terms.duration.shape[1], weights.shape[1]
    by_segment = terms.duration.strides[0] != 0
    stop = LANES
    for c in range(classes):
        for k in range(LANES):
            tape[c, k] = -math.inf  # for blocks that reach before the sequence
    for t in range(length):
        reach = min(max_duration, t + 1)
        if by_segment:
            read_ending(terms.duration, t + 1 - reach, 1, reach, filled - reach, weights)
        arrive_best(terms, matrix, star, closed, label, t)
        for c in range(classes):
            previous[t, c] = label[c]
        if max_duration == 1:
            take_best_single(terms, weights, star, closed, lasted, t)
            continue
        if stop == tape.shape[1]:
            move_to_front(tape, stop, filled)
            stop = filled
        if t > 0 and len(terms.cuts) > 0 and terms.cuts[t - 1]:
            for c in range(classes):
                for k in range(max(stop - filled, 0), stop):
                    tape[c, k] = -math.inf
        for c in range(classes):
            tape[c, stop] = star[c]
            if terms.begin.shape[1] > 0:
                tape[c, stop] += np.float64(terms.begin[t, c])
        stop += 1
        for c in range(classes):
            emission = np.float64(terms.emissions[t, c])
            closed[c], lasted[t, c] = grow(tape[c], stop, emission, weights[c], reach)
            if terms.finish.shape[1] > 0:
                closed[c] += np.float64(terms.finish[t, c])


@inlined
def arrive_best(terms, matrix, star, closed, label, t):
    """The best way to begin a segment of each label at t, and the label before it."""
    if t == 0:
        for c in range(star.size):
            star[c] = terms.start[c]
            label[c] = 0.0
        return
    if t == 1 or terms.transition.strides[0] != 0:
        for i in range(star.size):
            for c in range(star.size):
                matrix[i, c] = terms.transition[t - 1, i, c]
    for c in range(0, star.size, LANES):
        best, before = every(-math.inf), every(0.0)
        for i in range(star.size):
            score = block(matrix[i], c) + closed[i]
            before = where(score > best, every(i), before)
            best = larger(best, score)
        put_block(star, c, best)
        put_block(label, c, before)


@inlined
def take_best_single(terms, weights, star, closed, lasted, t):
    """Segments of one position begin, cover it and end: none stays open for the tape."""
    for c in range(star.size):
        closed[c] = star[c]
    if terms.begin.shape[1] > 0:
        for c in range(star.size):
            closed[c] += np.float64(terms.begin[t, c])
    for c in range(star.size):
        closed[c] = (closed[c] + np.float64(terms.emissions[t, c])) + weights[c, -1]
        lasted[t, c] = 1
    if terms.finish.shape[1] > 0:
        for c in range(star.size):
            closed[c] += np.float64(terms.finish[t, c])


@inlined
def grow(tape, stop, emission, weights, reach):
    """Add the emission to the open segments of one label, the newest at `stop - 1`.

    Entries behind the oldest, up to a whole block, grow with them: their weights are -inf, or they are.

    Returns: the best of them with its duration's score, and the shortest duration that has it; where the
    sums are too large for float64, some duration.
    """
    best, shorter = every(-math.inf), every(0.0)
    for k in range(0, reach, LANES):
        first = stop - LANES - k
        grown = block(tape, first) + emission
        put_block(tape, first, grown)
        score = grown + block(weights, weights.size - LANES - k)
        shorter = where(score > best, every(k), shorter)
        best = larger(best, score)
    top = largest_of(best)
    duration = shorter + (LANES - counted())
    return top, smallest_of(where(best == top, duration, every(reach)))


@kernel(f"void(int64, int64, {TERMS}, float64[::1], int64[:,::1], int64[:,::1], {DECODING})")
def viterbi_batch(first, last, arrays, scores, labels, durations, space):
    """Best segmentations of sequences `first .. last - 1`, into labels of -1 and durations of 0."""
    matrix, weights, tape, rows, previous, lasted = space
    lengths, end = arrays[8], arrays[5]
    classes, filled = weights.shape
    star, closed, label = rows[0, :classes], rows[1, :classes], rows[2, :classes]
    for b in range(first, last):
        n = lengths[b]
        scores[b] = 0.0
        if n == 0:
            continue
        terms = forward_terms(arrays, b, n)
        for c in range(classes):
            for d in range(filled):
                inside = d < min(terms.duration.shape[1], n)
                weights[c, filled - 1 - d] = terms.duration[0, d, c] if inside else -math.inf
        best_messages(terms, matrix, weights, tape, star, closed, label, previous, lasted)
        best = 0
        for c in range(classes):
            closed[c] += end[c]
            best = c if closed[c] > closed[best] else best
        scores[b] = closed[best]
        stop = n if scores[b] > -math.inf else 0
        while stop > 0:
            begun = stop - int(lasted[stop - 1, best])
            for u in range(begun, stop):
                labels[b, u] = best
            durations[b, begun] = stop - begun
            stop, best = begun, int(previous[begun, best])
