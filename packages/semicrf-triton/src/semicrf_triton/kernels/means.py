"""Means: of a value of segmentations, what it is on average before and behind whatever opens or closes.

    star[s, c]   = sum_i p(i | s, c) * ( closed[s, i] + transition[i, c] ),  first[c] at s = 0
    closed[t, c] = sum_d p(d | t, c) * ( star[t - d, c] + begin + position + duration + finish )

Here the terms are those of a value (`docs/math.md#second-order`), and `p` are shares of posteriors, from what
two scans left open: where a posterior is 0, nothing depends on the mean. One program for a sequence and a
direction, in tiles as the scan.

Values are read as integers, int64 in units of `1 / scale`, so that sums of them are exact at any length.
Float32 is only what they differ by from the last mean of their label, or from that of the likeliest label.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.open import load_open, open_of
from semicrf_triton.kernels.posteriors import (
    UNIT,
    load_normed,
    probability,
    row,
    stars,
    transitions_at,
)
from semicrf_triton.kernels.terms import (
    BY_SEGMENT,
    BY_SEQUENCE,
    begin_of,
    duration_place,
    duration_weight,
    length_of,
    pairs,
    transition_weight,
)


class Values(NamedTuple):
    """Pointers to float32 values of counts, None where they are 0, and to the `(B,)` scale, 0 if unknown."""

    position: Any
    begins: Any
    ends: Any
    transitions: Any
    durations: Any
    first: Any
    last: Any
    scale: Any


class Means(NamedTuple):
    """Pointers to means: `(B, 2, T, C)` the first two, a row for each step of a scan.

    What is open is a mean less the values of the positions before, as in `open.py`; `passed`, `(B, 2, C)`,
    are those of all positions, and `mean`, `(B, 2)`, is that of the sequence.
    """

    open: Any
    closed: Any
    passed: Any
    mean: Any


@triton.jit
def load_value(value_ptr, place, mask, scale):
    """Values in units, 0 outside of the mask, where there are none and where they are unknown."""
    value = tl.zeros(place.shape, tl.float32)
    if value_ptr is not None:
        factor = value + scale
        value += tl.load(value_ptr + place, mask=mask & (factor > 0.0), other=0.0) * factor
    return value


@triton.jit
def rounded(value):
    """To whole units."""
    return tl.floor(value + 0.5).to(tl.int64)


@triton.jit
def mean_of(moment, total):
    """A sum of products, divided by that of their weights; 0 if there is nothing."""
    return rounded(tl.where(total > 0.0, moment / tl.where(total > 0.0, total, 1.0), 0.0))


@triton.jit
def duration_value(values, b, s, d, c, T, K, C, mask, scale, DURATIONS: tl.constexpr):
    """Values of the durations `d`, of segments that begin at `s`; each sequence has its own."""
    if DURATIONS == BY_SEGMENT:
        place, mask = duration_place(b, s, d, c, T, K, C, mask, BY_SEGMENT)
    else:
        place, mask = duration_place(b, s, d, c, T, K, C, mask, BY_SEQUENCE)
    return load_value(values.durations, place, mask, scale)


@triton.jit
def transition_value(values, b, boundary, T, C, c, direction, inside, scale, BY_POSITION: tl.constexpr):
    """`(C, C)`: values of what leads from a row to a column in the direction of the scan."""
    place, mask = pairs(b, boundary, T, C, c, direction, BY_POSITION)
    if not BY_POSITION:
        place += b.to(tl.int64) * C * C
    return load_value(values.transitions, place, mask & (0 * place + inside > 0), scale)


@triton.jit
def likeliest(value, probability, c):
    """The value of the label of the highest probability, the first of equals."""
    top = tl.max(probability, axis=0)
    label = tl.min(tl.where(probability == top, c, c.shape[0]), axis=0)
    return tl.sum(tl.where(c == label, value, 0), axis=0)


@triton.jit
def mean_open(
    weights, own, sums, values, open_ptr, b, c, j, step, near, other_m, other_e, other_passed,
    length, direction, T, K, C, scale, DURATIONS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """What began before a tile and ends in it, `(T, C)`: its probability, and times its mean less `near`."""
    total = tl.zeros([j.shape[0], c.shape[0]], tl.float32)
    moment = tl.zeros([j.shape[0], c.shape[0]], tl.float32)
    for first in range(tl.maximum(step - K + 1, 0) // BLOCK_K * BLOCK_K, step, BLOCK_K):
        s = first + tl.arange(0, BLOCK_K)
        own_m, own_e, own_passed, norm_m = load_normed(own, sums, b, s, length, c, C)
        mask = (s < step)[:, None] & (c < C)[None, :]
        opened = tl.load(open_ptr + s[:, None] * C + c[None, :], mask=mask, other=0) - near[None, :]
        d = (step + j)[None, :, None] - s[:, None, None]  # less 1
        counts = (d < K) & mask[:, None, :]
        begun = begin_of(s[:, None, None], (step + j)[None, :, None], length, direction)
        weight_m, weight_e = duration_weight(
            weights, b, begun, d, c[None, None, :], T, K, C, counts, DURATIONS
        )
        p = probability(
            own_m[:, None, :], own_e[:, None, :], own_passed[:, None, :],
            other_m[None, :, :], other_e[None, :, :], other_passed[None, :, :],
            weight_m * norm_m[None, None, :], weight_e,
        ).to(tl.float32) * UNIT  # fmt: skip
        worth = duration_value(values, b, begun, d, c[None, None, :], T, K, C, counts, scale, DURATIONS)
        total += tl.sum(p, axis=0)
        moment += tl.sum(p * (opened.to(tl.float32)[:, None, :] + worth), axis=0)
    return total, moment


@triton.jit(do_not_specialize=["rows", "T", "K", "C"])
def means_kernel(
    terms, weights, opens, sums, values, means, begins_ptr, ends_ptr, rows, T, K, C,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The means of a direction, given the posteriors of boundaries."""
    b, direction = tl.program_id(0), tl.program_id(1)
    scan = 2 * b + direction
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    own, other = open_of(opens, scan, rows, C), open_of(opens, scan + 1 - 2 * direction, rows, C)
    scale = tl.load(values.scale + b)
    entry = scan.to(tl.int64) * T * C
    label, known = b * C + c, c < C
    first = load_value(values.first, label, known & (0 * c + direction == 0), scale)
    last = load_value(values.last, label, known, scale)
    first, last = tl.where(direction == 0, first, last), last

    star, near = rounded(first), tl.zeros([BLOCK_C], tl.int64)
    closed, latest = tl.zeros([BLOCK_C], tl.int64), tl.zeros([BLOCK_C], tl.int64)
    ended = tl.zeros([BLOCK_C], tl.float32)
    whole, rest = tl.zeros([BLOCK_C], tl.int64), tl.zeros([BLOCK_C], tl.int64)  # emissions passed
    passed = tl.zeros([BLOCK_C], tl.int64)  # values of positions
    matrix_m, matrix_e = transition_weight(weights, b, 0, T, C, c, direction, BY_POSITION)
    leading = transition_value(values, b, 0, T, C, c, direction, length - 1, scale, BY_POSITION)

    for step in range(0, length, BLOCK_T):
        x = step + j
        position = tl.where(direction == 0, x, length - 1 - x)
        mask = (x < length)[:, None] & (c < C)[None, :]
        place = (b.to(tl.int64) * T + position)[:, None] * C + c[None, :]
        covered = rounded(load_value(values.position, place, mask, scale))
        after = passed[None, :] + tl.cumsum(covered, axis=0)
        begin = rounded(load_value(values.begins, place, mask, scale))
        finish = rounded(load_value(values.ends, place, mask, scale))
        enter = tl.where(direction == 0, begin, finish) - (after - covered)
        leave = tl.where(direction == 0, finish, begin) + after
        begins = tl.load(begins_ptr + place, mask=mask, other=0.0)
        ends = tl.load(ends_ptr + place, mask=mask, other=0.0)
        begins = tl.where(direction == 0, begins, ends)
        stars_m, stars_e, whole, rest = stars(
            terms, own, b, x, place, mask, begins, whole, rest, direction, c, C
        )
        own_m, own_e, own_passed, norm_m = load_normed(own, sums, b, x, length, c, C)
        other_m, other_e, other_passed = load_open(other, (length - 1 - x)[:, None], c[None, :], C, mask)
        total, moment = mean_open(
            weights, own, sums, values, means.open + entry, b, c, j, step, near,
            other_m, other_e, other_passed, length, direction, T, K, C, scale, DURATIONS, BLOCK_K,
        )  # fmt: skip

        opened = tl.zeros([BLOCK_T, BLOCK_C], tl.int64)
        for at in range(tl.minimum(BLOCK_T, length - step)):
            if BY_POSITION:
                boundary = tl.where(direction == 0, step + at, tl.minimum(length - step - at, T - 1))
                matrix_m, matrix_e = transition_weight(weights, b, boundary, T, C, c, direction, BY_POSITION)
                leading = transition_value(
                    values, b, boundary, T, C, c, direction, step + at, scale, BY_POSITION
                )
            led = transitions_at(
                ended, row(begins, j, at), row(stars_m, j, at), row(stars_e, j, at), matrix_m, matrix_e
            )
            best = likeliest(closed, ended, c)
            worth = (closed - best).to(tl.float32)[:, None] + leading
            mean = best + mean_of(tl.sum(led * worth, axis=0), tl.sum(led, axis=0))
            star = tl.where(step + at > 0, mean, star) + row(enter, j, at)
            opened = tl.where((j == at)[:, None], star[None, :], opened)
            near = tl.where(step + at > 0, near, star)

            d = at - j  # less 1
            counts = ((d >= 0) & (d < K))[:, None] & (c < C)[None, :]
            begun = begin_of((step + j)[:, None], step + at, length, direction)
            weight_m, weight_e = duration_weight(
                weights, b, begun, d[:, None], c[None, :], T, K, C, counts, DURATIONS
            )
            p = probability(
                own_m, own_e, own_passed,
                row(other_m, j, at)[None, :], row(other_e, j, at)[None, :], row(other_passed, j, at)[None, :],
                weight_m * norm_m[None, :], weight_e,
            ).to(tl.float32) * UNIT  # fmt: skip
            worth = (opened - near[None, :]).to(tl.float32) + duration_value(
                values, b, begun, d[:, None], c[None, :], T, K, C, counts, scale, DURATIONS
            )
            ended = row(total, j, at) + tl.sum(p, axis=0)
            latest = near + mean_of(row(moment, j, at) + tl.sum(p * worth, axis=0), ended)
            closed = latest + row(leave, j, at)
            tl.store(means.closed + entry + (step + at) * C + c, closed, mask=c < C)

        tl.store(means.open + entry + x[:, None] * C + c[None, :], opened, mask=mask)
        tl.debug_barrier()
        near = latest
        passed += tl.sum(covered, axis=0)

    best = likeliest(closed, ended, c)
    worth = (closed - best).to(tl.float32) + last
    mean = best + mean_of(tl.sum(ended * worth, axis=0), tl.sum(ended, axis=0))
    tl.store(means.mean + scan, mean)
    tl.store(means.passed + scan * C + c, passed, mask=c < C)
