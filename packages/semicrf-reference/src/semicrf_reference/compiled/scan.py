"""The scan: the recursion over one sequence, and over a batch in either direction."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.jit import jit, kernel


@jit
def logsumexp_rows(x, rows, out):
    """`out[c] = log sum_{r < rows} exp(x[r, c])`; `-inf` where every entry is `-inf`. Overwrites x."""
    for c in range(out.size):
        out[c] = -math.inf
    for r in range(rows):
        for c in range(out.size):
            out[c] = max(out[c], x[r, c])
    total = np.zeros(out.size)
    for r in range(rows):
        for c in range(out.size):
            if x[r, c] > -math.inf:
                total[c] += math.exp(x[r, c] - out[c])
    for c in range(out.size):
        if out[c] > -math.inf:
            out[c] += math.log(total[c])


@jit
def two_sum(a, b):
    """`a + b` as its rounded value and the exact error of rounding (Knuth)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


@jit
def scan(emissions, transition, duration, start, begin, finish, star_out, closed_out, scale_out):
    """alpha_star and alpha of one sequence of at least one position.

        star[t, c]   = logsumexp_i ( closed[t-1, i] + transition[t-1, i, c] ), start[c] at t = 0
        closed[t, c] = finish[t, c] + logsumexp_d ( open[t, d, c] + duration[d, c] )

    where `open[t, d, c]` is a segment of c that began at t - d and lasts through t. Row t of `closed` belongs
    to the boundary after position t, so row t - 1 of `transition` leads from row t - 1 of `closed` to row
    t of `star`.

    Values are relative to a scale per boundary, kept as an unevaluated sum of two float64:
    `alpha_star[t] = star[t] + scale[t]` and `alpha[t + 1] = closed[t] + scale[t + 1]`. Given the terms of the
    reversed sequence the same scan yields beta and beta_star.
    """
    length, classes = emissions.shape
    max_duration = duration.shape[0]
    terms = np.empty((max(max_duration, classes), classes))
    open_ = np.empty((max_duration, classes))  # row s % K: the segments that began at s
    star, closed = start.copy(), np.empty(classes)
    scale, residue = 0.0, 0.0
    scale_out[0, 0], scale_out[0, 1] = scale, residue
    for t in range(length):
        if t > 0:
            for i in range(classes):
                for c in range(classes):
                    terms[i, c] = closed[i] + transition[t - 1, i, c]
            logsumexp_rows(terms, classes, star)
        for c in range(classes):
            open_[t % max_duration, c] = star[c] + begin[t, c]

        reach = min(max_duration, t + 1)
        for d in range(reach):
            row = (t - d) % max_duration
            for c in range(classes):
                open_[row, c] += emissions[t, c]
                terms[d, c] = open_[row, c] + duration[d, c]
        logsumexp_rows(terms, reach, closed)

        peak = -math.inf
        for c in range(classes):
            star_out[t, c] = star[c]
            closed[c] += finish[t, c]
            peak = max(peak, closed[c])
        shift = peak if peak > -math.inf else 0.0
        for c in range(classes):
            closed[c] -= shift
            closed_out[t, c] = closed[c]
        for row in range(reach):
            for c in range(classes):
                open_[row, c] -= shift
        scale, error = two_sum(scale, shift)
        residue += error
        scale_out[t + 1, 0], scale_out[t + 1, 1] = scale, residue


@kernel(
    "void(int64, int64, real[:,:,:], float64[:,:,:,:], float64[:,:,:], float64[:], float64[:],"
    "real[:,:,:], real[:,:,:], int64[:], float64[:,:,:], float64[:,:,:], float64[:,:,:], float64[:,:])"
)
def forward_batch(
    first, last,
    emissions, transition, duration, start, end, begin, finish, lengths,
    alpha_star, alpha, scale, total,
):  # fmt: skip
    """alpha_star, alpha and the log partition of sequences `first .. last - 1`.

    Row t of `alpha_star` and of `scale` is boundary t, row t of `alpha` is boundary t + 1. `total` is an
    unevaluated sum of two float64.
    """
    for b in range(first, last):
        n = lengths[b]
        total[b] = 0.0
        if n > 0:
            scan(
                emissions[b, :n], transition[b, 1:n], duration[b], start, begin[b, :n], finish[b, :n],
                alpha_star[b, :n], alpha[b, :n], scale[b, : n + 1],
            )  # fmt: skip
            total[b] = last_boundary(alpha[b, n - 1], end, scale[b, n])


@jit
def last_boundary(alpha, end, scale):
    """`logsumexp_c ( alpha[L, c] + end[c] )` as an unevaluated sum of two float64."""
    terms, out = np.empty((end.size, 1)), np.empty(1)
    terms[:, 0] = alpha + end
    logsumexp_rows(terms, end.size, out)
    whole, error = two_sum(scale[0], out[0])
    return np.array([whole, error + scale[1] if out[0] > -math.inf else 0.0])


@kernel(
    "void(int64, int64, real[:,:,:], float64[:,:,:,:], float64[:,:,:], float64[:], float64[:],"
    "real[:,:,:], real[:,:,:], int64[:], float64[:,:,:], float64[:,:,:], float64[:,:,:])"
)
def backward_batch(
    first, last,
    emissions, transition, duration, start, end, begin, finish, lengths,
    beta, beta_star, scale,
):  # fmt: skip
    """Beta and beta_star of sequences `first .. last - 1`: the scan of the reversed sequences.

    Row t of `beta` is boundary t + 1, row t of `beta_star` and of `scale` is boundary t.
    """
    for b in range(first, last):
        n = lengths[b]
        if n > 0:
            scan(
                emissions[b, :n][::-1], transition[b, 1:n][::-1].transpose(0, 2, 1), duration[b], end,
                finish[b, :n][::-1], begin[b, :n][::-1],
                beta[b, :n][::-1], beta_star[b, :n][::-1], scale[b, : n + 1][::-1],
            )  # fmt: skip
