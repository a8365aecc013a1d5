"""Viterbi: the recursion over (max, +) with backpointers, and the walk back."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.jit import jit, kernel


@jit
def best_messages(emissions, transition, duration, start, begin, finish, previous, lasted):
    """Scores of the best segmentations that end in each label; ties to the first label and duration.

    `previous[t, c]` is the label before a segment of c that begins at t, `lasted[t, c]` the duration of the
    segment of c that ends with t.
    """
    length, classes = emissions.shape
    max_duration = duration.shape[0]
    open_ = np.empty((max_duration, classes))  # row s % K: the segments that began at s
    star, closed = start.copy(), np.empty(classes)
    for t in range(length):
        if t > 0:
            star[:] = -math.inf
            previous[t] = 0
            for i in range(classes):
                for c in range(classes):
                    score = closed[i] + transition[t - 1, i, c]
                    if score > star[c]:
                        star[c], previous[t, c] = score, i
        for c in range(classes):
            open_[t % max_duration, c] = star[c] + begin[t, c]
        closed[:] = -math.inf
        lasted[t] = 1
        for d in range(min(max_duration, t + 1)):
            row = (t - d) % max_duration
            for c in range(classes):
                open_[row, c] += emissions[t, c]
                score = open_[row, c] + duration[d, c]
                if score > closed[c]:
                    closed[c], lasted[t, c] = score, d + 1
        for c in range(classes):
            closed[c] += finish[t, c]
    return closed


@kernel(
    "void(int64, int64, real[:,:,:], float64[:,:,:,:], float64[:,:,:], float64[:], float64[:],"
    "real[:,:,:], real[:,:,:], int64[:], float64[:], int64[:,:], int64[:,:])"
)
def viterbi_batch(
    first, last,
    emissions, transition, duration, start, end, begin, finish, lengths,
    scores, labels, durations,
):  # fmt: skip
    """Best segmentations of sequences `first .. last - 1`, into labels of -1 and durations of 0."""
    classes = end.size
    for b in range(first, last):
        n = lengths[b]
        scores[b] = 0.0
        if n == 0:
            continue
        previous = np.empty((n, classes), np.int32)
        lasted = np.empty((n, classes), np.int32)
        totals = end + best_messages(
            emissions[b, :n],
            transition[b, 1:n],
            duration[b],
            start,
            begin[b, :n],
            finish[b, :n],
            previous,
            lasted,
        )
        label = np.argmax(totals)
        scores[b] = totals[label]
        stop = n if scores[b] > -math.inf else 0
        while stop > 0:
            begun = stop - lasted[stop - 1, label]
            labels[b, begun:stop] = label
            durations[b, begun] = stop - begun
            stop, label = begun, previous[begun, label]
