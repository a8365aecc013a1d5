"""Posteriors: sums over positions of independent terms, from the messages of both scans."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.jit import jit, kernel
from semicrf_reference.compiled.scan import two_sum


@jit
def log_ratio(before, after, total):
    """`before + after - total` of three scales, each an unevaluated sum of two float64."""
    whole, error = two_sum(before[0], after[0])
    return (whole - total[0]) + (error + before[1] + after[1] - total[1])


@jit
def segment_counts(
    emissions, duration, begin, finish, alpha_star, beta, scale, beta_scale, total,
    position, begins, ends, durations,
):  # fmt: skip
    """Add the posterior of every segment to where it is, where it begins and ends and how long it lasts.

        weight(s, d, c) = exp( alpha_star[s, c] + begin[s, c] + E(s, s + d, c) + duration[d-1, c]
                               + finish[s+d-1, c] + beta[s + d, c] - log_partition )

    A position gains what covers it, by sums alone: what is impossible there stays exactly 0.
    """
    length, classes = emissions.shape
    lasting, covering = np.empty(classes), np.empty(classes)
    weights = np.empty(duration.shape)
    for s in range(length):
        reach = min(duration.shape[0], length - s)
        for c in range(classes):
            lasting[c] = alpha_star[s, c] + begin[s, c]
        for d in range(reach):
            u = s + d
            ratio = log_ratio(scale[s], beta_scale[u + 1], total)
            for c in range(classes):
                lasting[c] += emissions[u, c]
                weight = math.exp(lasting[c] + duration[d, c] + finish[u, c] + beta[u, c] + ratio)
                weights[d, c] = weight
                begins[s, c] += weight
                ends[u, c] += weight
                durations[d, c] += weight
        covering[:] = 0.0
        for d in range(reach - 1, -1, -1):
            for c in range(classes):
                covering[c] += weights[d, c]
                position[s + d, c] += covering[c]


@jit
def transition_counts(transition, alpha, beta_star, scale, beta_scale, total, transitions):
    """Add the posterior of every transition; row s - 1 of `transition` serves boundary s."""
    classes = transition.shape[1]
    for s in range(1, len(transition) + 1):
        ratio = log_ratio(scale[s], beta_scale[s], total)
        for i in range(classes):
            for j in range(classes):
                weight = alpha[s - 1, i] + transition[s - 1, i, j] + beta_star[s, j]
                transitions[s - 1, i, j] += math.exp(weight + ratio)


@jit
def normalise(position, begins, ends):
    """Divide by the mass of what covers each position: 1, but for the rounding of the two scans."""
    length, classes = position.shape
    for u in range(length):
        mass = 0.0
        for c in range(classes):
            mass += position[u, c]
        for c in range(classes):
            position[u, c] /= mass
            begins[u, c] /= mass
            ends[u, c] /= mass


@kernel(
    "void(int64, int64, real[:,:,:], float64[:,:,:,:], float64[:,:,:], float64[:], float64[:],"
    "real[:,:,:], real[:,:,:], int64[:],"
    "float64[:,:,:], float64[:,:,:], float64[:,:,:], float64[:,:,:], float64[:,:,:], float64[:,:,:],"
    "float64[:,:], float64[:,:,:], float64[:,:,:], float64[:,:,:], float64[:,:,:,:], float64[:,:,:])"
)
def statistics_batch(
    first, last,
    emissions, transition, duration, start, end, begin, finish, lengths,
    alpha_star, alpha, scale, beta, beta_star, beta_scale, total,
    position, begins, ends, transitions, durations,
):  # fmt: skip
    """Posteriors of sequences `first .. last - 1`, added to zeros; none where nothing is allowed."""
    for b in range(first, last):
        n = lengths[b]
        if n > 0 and total[b, 0] > -math.inf:
            segment_counts(
                emissions[b, :n], duration[b], begin[b, :n], finish[b, :n], alpha_star[b, :n], beta[b, :n],
                scale[b], beta_scale[b], total[b],
                position[b, :n], begins[b, :n], ends[b, :n], durations[b],
            )  # fmt: skip
            transition_counts(
                transition[b, 1:n], alpha[b, :n], beta_star[b, :n], scale[b], beta_scale[b], total[b],
                transitions[b, 1:n],
            )  # fmt: skip
            normalise(position[b, :n], begins[b, :n], ends[b, :n])
