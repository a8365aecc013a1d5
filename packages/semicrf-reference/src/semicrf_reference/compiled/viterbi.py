"""Viterbi: the recursion over (max, +) with backpointers, and the walk back."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.extremes import larger
from semicrf_reference.compiled.jit import inlined, jit, kernel, summed
from semicrf_reference.compiled.problem import DECODING, TERMS
from semicrf_reference.compiled.rows import move_to_front
from semicrf_reference.compiled.terms import forward_terms, read_ending


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
    max_duration = weights.shape[1]
    by_segment = terms.duration.strides[0] != 0
    stop = 0
    for t in range(length):
        reach = min(max_duration, t + 1)
        if by_segment:
            read_ending(terms.duration, t + 1 - reach, 1, reach, max_duration - reach, weights)
        arrive_best(terms, matrix, star, closed, label, t)
        for c in range(classes):
            previous[t, c] = label[c]
        if terms.duration.shape[1] == 1:
            take_best_single(terms, weights, star, closed, lasted, t)
            continue
        if stop == tape.shape[1]:
            move_to_front(tape, stop, max_duration)
            stop = max_duration
        if t > 0 and len(terms.cuts) > 0 and terms.cuts[t - 1]:
            for c in range(classes):
                for k in range(max(stop - max_duration, 0), stop):
                    tape[c, k] = -math.inf
        for c in range(classes):
            tape[c, stop] = star[c]
            if terms.begin.shape[1] > 0:
                tape[c, stop] += np.float64(terms.begin[t, c])
        stop += 1
        for c in range(classes):
            emission = np.float64(terms.emissions[t, c])
            best = grow(tape[c], stop - reach, emission, weights[c], max_duration - reach, reach)
            duration = 1
            if best > -math.inf:
                while tape[c, stop - duration] + weights[c, max_duration - duration] != best:
                    duration += 1
            lasted[t, c] = duration
            closed[c] = best
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
    for c in range(star.size):
        star[c] = -math.inf
        label[c] = 0.0
    for i in range(star.size):
        for c in range(star.size):
            score = closed[i] + matrix[i, c]
            label[c] = i if score > star[c] else label[c]
            star[c] = max(star[c], score)


@inlined
def take_best_single(terms, weights, star, closed, lasted, t):
    """Segments of one position begin, cover it and end: none stays open for the tape."""
    for c in range(star.size):
        closed[c] = star[c]
    if terms.begin.shape[1] > 0:
        for c in range(star.size):
            closed[c] += np.float64(terms.begin[t, c])
    for c in range(star.size):
        closed[c] = (closed[c] + np.float64(terms.emissions[t, c])) + weights[c, 0]
        lasted[t, c] = 1
    if terms.finish.shape[1] > 0:
        for c in range(star.size):
            closed[c] += np.float64(terms.finish[t, c])


@summed
def grow(tape, first, emission, weights, first_weight, count):
    """Add the emission to `count` open segments of one label; the best of them with its duration's score."""
    best = -math.inf
    for k in range(np.uint64(count)):
        tape[np.uint64(first) + k] += emission
        best = larger(best, tape[np.uint64(first) + k] + weights[np.uint64(first_weight) + k])
    return best


@kernel(f"void(int64, int64, {TERMS}, float64[::1], int64[:,::1], int64[:,::1], {DECODING})")
def viterbi_batch(first, last, arrays, scores, labels, durations, space):
    """Best segmentations of sequences `first .. last - 1`, into labels of -1 and durations of 0."""
    matrix, weights, tape, rows, previous, lasted = space
    lengths, end = arrays[8], arrays[5]
    for b in range(first, last):
        n = lengths[b]
        scores[b] = 0.0
        if n == 0:
            continue
        terms = forward_terms(arrays, b, n)
        classes, max_duration = weights.shape
        for c in range(classes):
            for d in range(max_duration):
                weights[c, max_duration - 1 - d] = terms.duration[0, d, c]
        closed = rows[1]
        best_messages(terms, matrix, weights, tape, rows[0], closed, rows[2], previous, lasted)
        label = 0
        for c in range(classes):
            closed[c] += end[c]
            label = c if closed[c] > closed[label] else label
        scores[b] = closed[label]
        stop = n if scores[b] > -math.inf else 0
        while stop > 0:
            begun = stop - int(lasted[stop - 1, label])
            for u in range(begun, stop):
                labels[b, u] = label
            durations[b, begun] = stop - begun
            stop, label = begun, int(previous[begun, label])
