"""Scores of which the best is sought: int64 fixed point of nats, in units of `2**-FRACTION_BITS`."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.terms import duration_place
from semicrf_triton.kernels.wide import fixed_point, load_scores

_FARTHEST = 2**60
FARTHEST = tl.constexpr(_FARTHEST)
"""What is farther from the best counts as if that were it: 6.9e10 nats."""
FORBIDDEN = tl.constexpr(-4 * _FARTHEST)
"""Two of them can be added, and one and what is allowed, and remain below what is allowed."""
DOUBT = tl.constexpr(-2 * _FARTHEST)


class Scores(NamedTuple):
    """Pointers to what are weights in other scans: transitions as they are, durations in fixed point."""

    transition: Any
    duration: Any


@triton.jit
def settle(score):
    """The sum of two settled scores: forbidden if one of them is."""
    return tl.where(score < DOUBT, FORBIDDEN, tl.minimum(tl.maximum(score, -FARTHEST), FARTHEST))


@triton.jit
def load_fixed(ptr, place, mask):
    """Scores in fixed point, outside of the mask forbidden."""
    score = load_scores(ptr, place, mask)
    return tl.where(mask & (score > -float("inf")), fixed_point(score, True), FORBIDDEN)


@triton.jit(do_not_specialize=["count"])
def fixed_kernel(score_ptr, fixed_ptr, count, BLOCK: tl.constexpr):
    """All entries in fixed point."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(fixed_ptr + i, load_fixed(score_ptr, i, i < count), mask=i < count)


@triton.jit
def load_duration(duration_ptr, b, s, d, c, T, K, C, mask, DURATIONS: tl.constexpr):
    """Scores of the durations `d`, which count from 0, of segments that begin at `s`."""
    place, mask = duration_place(b, s, d, c, T, K, C, mask, DURATIONS)
    return tl.load(duration_ptr + place, mask=mask, other=FORBIDDEN)


@triton.jit
def label_score(score_ptr, c, C):
    """A score a label, 0 if there is none."""
    score = tl.where(c < C, tl.zeros(c.shape, tl.int64), FORBIDDEN)
    if score_ptr is not None:
        score = load_fixed(score_ptr, c, c < C)
    return score


@triton.jit
def boundary_score(score_ptr, place, mask):
    """A score a position and label, 0 if there is none."""
    score = tl.where(mask, tl.zeros(place.shape, tl.int64), FORBIDDEN)
    if score_ptr is not None:
        score = load_fixed(score_ptr, place, mask)
    return score
