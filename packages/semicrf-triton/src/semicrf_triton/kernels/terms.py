"""The terms of the score, as weights that a program reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.wide import (
    NOTHING,
    exp_wide,
    fixed_point,
    limited,
    load_scores,
    power_of_fixed,
)

UNSEEN = tl.constexpr(2**62)
"""Above every score in fixed point, and every exponent."""


SHARED, BY_SEQUENCE, BY_SEGMENT = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
"""Kinds of durations: axes beside `(K, C)`."""


class Terms(NamedTuple):
    """Pointers to contiguous terms, None where one is missing; `Weights` has the others."""

    emissions: Any
    start: Any
    end: Any
    begin: Any
    finish: Any
    lengths: Any
    cuts: Any


class Weights(NamedTuple):
    """Pointers to exponentials; a mantissa is NaN where the score is NaN or `+inf`."""

    transition_m: Any
    transition_e: Any
    duration_m: Any
    duration_e: Any


@triton.jit(do_not_specialize=["count"])
def exp_kernel(score_ptr, mantissa_ptr, exponent_ptr, count, BLOCK: tl.constexpr):
    """`exp` of all entries, as wide numbers."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    score = load_scores(score_ptr, i, i < count)
    mantissa, exponent = exp_wide(score)
    tl.store(mantissa_ptr + i, tl.where(score < float("inf"), mantissa, float("nan")), mask=i < count)
    tl.store(exponent_ptr + i, exponent, mask=i < count)


@triton.jit
def length_of(terms, b, T):
    """Positions in a sequence."""
    length = T
    if terms.lengths is not None:
        length = tl.load(terms.lengths + b).to(tl.int32)
    return length


@triton.jit
def count_unfit(ptr, place, mask):
    """How many scores are NaN or `+inf`."""
    count = tl.zeros([], tl.int32)
    if ptr is not None:
        score = load_scores(ptr, place, mask)
        count = tl.sum(tl.where(score < float("inf"), 0, 1))
    return count


@triton.jit
def read_levels(emissions_ptr, place, mask, axis: tl.constexpr, NATS: tl.constexpr = False):
    """Emissions in fixed point, less the level of each position: the score nearest to 0 among its labels.

    Returns: what each label has of its own, which positions are forbidden, 1 or 0, and the levels.
    """
    score = load_scores(emissions_ptr, place, mask)
    allowed = mask & (score > -float("inf"))
    logarithm = fixed_point(score, NATS)
    below = tl.max(tl.where(allowed & (logarithm <= 0), logarithm, -UNSEEN), axis=axis)
    above = tl.min(tl.where(allowed & (logarithm > 0), logarithm, UNSEEN), axis=axis)
    level = tl.where(-below <= above, below, above)
    level = tl.where(tl.abs(level) < UNSEEN, level, 0)
    own = tl.where(allowed, logarithm - tl.expand_dims(level, axis), 0)
    if not NATS:
        own = limited(own)
    return own, (mask & (score == -float("inf"))).to(tl.int32), level


@triton.jit
def read_cuts(terms, b, boundary, T, mask):
    """1 where no segment may lie across a boundary, else 0."""
    cut = tl.zeros(boundary.shape, tl.int32)
    if terms.cuts is not None:
        cut += tl.load(terms.cuts + b.to(tl.int64) * T + boundary, mask=mask, other=0).to(tl.int32)
    return cut


@triton.jit
def boundary_weight(terms, place, mask, side, passed):
    """The exponentials of `begin`, on side 0, or of `finish`, on side 1, and of what has been passed."""
    score = tl.zeros(place.shape, tl.float32)
    sides = tl.zeros(place.shape, tl.int32) + side
    if terms.begin is not None:
        score += load_scores(terms.begin, place, mask & (sides == 0))
    if terms.finish is not None:
        score += load_scores(terms.finish, place, mask & (sides == 1))
    mantissa, exponent = power_of_fixed(limited(fixed_point(score)) + passed)
    allowed = score > -float("inf")
    return tl.where(allowed, mantissa, 0.0), tl.where(allowed, exponent, NOTHING)


@triton.jit
def label_weight(score_ptr, c, C):
    """The exponentials of a score a label, 1 if there is none."""
    score = tl.zeros(c.shape, tl.float32)
    if score_ptr is not None:
        score += load_scores(score_ptr, c, c < C)
    mantissa, exponent = power_of_fixed(limited(fixed_point(score)))
    allowed = (c < C) & (score > -float("inf"))
    return tl.where(allowed, mantissa, 0.0), tl.where(allowed, exponent, NOTHING)


@triton.jit
def pairs(b, boundary, T, C, c, direction, BY_POSITION: tl.constexpr):
    """Where the transitions at a boundary are, from a row to a column in the direction of the scan."""
    here, there = c[:, None], c[None, :]
    place = tl.where(direction == 0, here * C + there, there * C + here).to(tl.int64)
    mask = (here < C) & (there < C)
    if BY_POSITION:
        place += (b.to(tl.int64) * T + boundary) * C * C
        mask &= here * 0 + boundary < T  # of a sequence without positions there are none
    return place, mask


@triton.jit
def transition_weight(weights, b, boundary, T, C, c, direction, BY_POSITION: tl.constexpr):
    """`(C, C)`: the exponentials of what leads from a row to a column in the direction of the scan."""
    place, mask = pairs(b, boundary, T, C, c, direction, BY_POSITION)
    mantissa = tl.load(weights.transition_m + place, mask=mask, other=0.0)
    exponent = tl.load(weights.transition_e + place, mask=mask, other=NOTHING)
    return mantissa, exponent


@triton.jit
def begin_of(first, last, length, direction):
    """The position at which a segment begins that takes the steps from the first to the last of a scan."""
    return tl.where(direction == 0, first, length - 1 - last)


@triton.jit
def duration_place(b, s, d, c, T, K, C, mask, DURATIONS: tl.constexpr):
    """The place of what segments have that begin at `s` and last `d + 1` positions, and whether it is one."""
    place = d * C + c
    if DURATIONS == BY_SEQUENCE:
        place += b.to(tl.int64) * K * C
    if DURATIONS == BY_SEGMENT:
        place += (b.to(tl.int64) * T + s) * K * C
        mask &= (s >= 0) & (s < T)
    return place, mask


@triton.jit
def duration_weight(weights, b, s, d, c, T, K, C, mask, DURATIONS: tl.constexpr):
    """The exponentials of the durations `d`, which count from 0, of segments that begin at `s`."""
    place, mask = duration_place(b, s, d, c, T, K, C, mask, DURATIONS)
    mantissa = tl.load(weights.duration_m + place, mask=mask, other=0.0)
    return mantissa, tl.load(weights.duration_e + place, mask=mask, other=NOTHING)
