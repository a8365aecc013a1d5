"""The k best segmentations: the recursion over sorted lists, with pointers into them, and walks back."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from semicrf_reference.compiled.jit import inlined, jit, kernel
from semicrf_reference.compiled.problem import TERMS, Array
from semicrf_reference.compiled.scan import is_cut
from semicrf_reference.compiled.terms import forward_terms
from semicrf_spec.cost import Size


class Ranks(NamedTuple):
    """Lists of k scores, best first, and which way each of them came."""

    open: Array  # (C, K, k): segments that began at s, at s modulo K
    star: Array  # (C, k)
    closed: Array  # (C, k)
    final: Array  # (1, k)
    spare: Array  # (1, k): where lists are merged
    entered: Array  # (T, C, k): label before and its rank, as `label * k + rank`
    lasted: Array  # (T, C, k): duration and rank of what began then, as `(duration - 1) * k + rank`
    ended: Array  # (1, 1, k): last label and its rank
    spare_ways: Array  # (1, 1, k)


RANKS = (
    "Tuple((float64[:,:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1],"
    "int32[:,:,::1], int32[:,:,::1], int32[:,:,::1], int32[:,:,::1]))"
)
"""Types of the arrays of `Ranks`."""


def ranks_space(size: Size, k: int) -> Ranks:
    """The memory of `Ranks`."""
    _, time, max_duration, classes = size
    return Ranks(
        np.empty((classes, max(1, min(max_duration, time)), k)),
        np.empty((classes, k)),
        np.empty((classes, k)),
        np.empty((1, k)),
        np.empty((1, k)),
        np.empty((time, classes, k), np.int32),
        np.empty((time, classes, k), np.int32),
        np.empty((1, 1, k), np.int32),
        np.empty((1, 1, k), np.int32),
    )


@inlined
def empty(scores):
    """A list of nothing."""
    for r in range(scores.size):
        scores[r] = -math.inf


@inlined
def merge(scores, ways, others, more, first_way, spare, spare_ways):
    """Merge into a sorted list another, each score of it and `more`; of equals what is there stays before."""
    if not others[0] + more > scores[-1]:
        return
    i = j = 0
    for r in range(scores.size):
        score = others[j] + more
        if score > scores[i]:
            spare[r], spare_ways[r] = score, first_way + j
            j += 1
        else:
            spare[r], spare_ways[r] = scores[i], ways[i]
            i += 1
    for r in range(scores.size):
        scores[r], ways[r] = spare[r], spare_ways[r]


@jit
def rank_messages(terms, ranks):
    """The k best that end in each label, in `closed` after the last position.

    star[s, :, c]   = the k best of  closed[s, r, i] + transition[s, i, c]  over i and r
    closed[t, :, c] = finish[t - 1, c] + the k best of  open[t, d, r, c] + duration[d - 1, c]  over d and r
    """
    length, classes = terms.emissions.shape
    longest, k = ranks.open.shape[1:]
    spare, spare_ways = ranks.spare[0], ranks.spare_ways[0, 0]
    for t in range(length):
        for c in range(classes):
            star = ranks.star[c]
            empty(star)
            if t == 0:
                star[0] = terms.start[c]
            else:
                for i in range(classes):
                    into = terms.transition[t - 1, i, c]
                    merge(star, ranks.entered[t, c], ranks.closed[i], into, i * k, spare, spare_ways)
        cut = is_cut(terms, t)
        for c in range(classes):
            open_, closed = ranks.open[c], ranks.closed[c]
            if cut or t == 0:
                for j in range(longest):
                    empty(open_[j])
            begin = np.float64(terms.begin[t, c]) if terms.begin.shape[1] > 0 else 0.0
            for r in range(k):
                open_[t % longest, r] = ranks.star[c, r] + begin
            emission = np.float64(terms.emissions[t, c])
            for j in range(min(longest, t + 1)):
                for r in range(k):
                    open_[j, r] += emission
            empty(closed)
            for d in range(1, min(longest, t + 1) + 1):
                began = open_[(t + 1 - d) % longest]
                more = terms.duration[t + 1 - d, d - 1, c]
                merge(closed, ranks.lasted[t, c], began, more, (d - 1) * k, spare, spare_ways)
            if terms.finish.shape[1] > 0:
                for r in range(k):
                    closed[r] += np.float64(terms.finish[t, c])


@jit
def walk(ranks, stop, way, labels, durations):
    """One segmentation, from its end."""
    k = ranks.final.size
    while stop > 0:
        label, rank = way // k, way % k
        way = ranks.lasted[stop - 1, label, rank]
        duration, rank = way // k + 1, way % k
        begun = stop - duration
        for u in range(begun, stop):
            labels[u] = label
        durations[begun] = duration
        way = ranks.entered[begun, label, rank]
        stop = begun


@kernel(f"void(int64, int64, {TERMS}, float64[:,::1], int64[:,:,::1], int64[:,:,::1], {RANKS})")
def rank_batch(first, last, arrays, scores, labels, durations, space):
    """The k best of sequences `first .. last - 1`, into labels of -1 and durations of 0."""
    lengths, end = arrays[8], arrays[5]
    ranks = Ranks(*space)
    final, ended = ranks.final[0], ranks.ended[0, 0]
    spare, spare_ways = ranks.spare[0], ranks.spare_ways[0, 0]
    for b in range(first, last):
        n = lengths[b]
        empty(final)
        if n == 0:
            final[0] = 0.0
        else:
            rank_messages(forward_terms(arrays, b, n), ranks)
            for c in range(end.size):
                merge(final, ended, ranks.closed[c], end[c], c * final.size, spare, spare_ways)
        for r in range(final.size):
            scores[r, b] = final[r]
            if final[r] > -math.inf:
                walk(ranks, n, ended[r], labels[r, b], durations[r, b])
