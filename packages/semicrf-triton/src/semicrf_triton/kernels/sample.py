"""Samples: a walk back from the end, over what the forward scan left open.

    p(d, c) ~ open[t - d, c] * exp(duration[d - 1, c] + emissions before t + finish[t - 1, c]) * onward[c]

is the share of the segments of `c` that last `d` positions and end at `t`; `onward` is what leads from there
to the segment behind, or `end`. The label is drawn by its sum over durations, then the duration.

Shares are integers relative to the largest, so that sums of them are the same bits in any order, and what is
drawn by one sum can be found in the other.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semicrf_triton.kernels.open import load_open, open_of
from semicrf_triton.kernels.terms import (
    UNSEEN,
    boundary_weight,
    duration_weight,
    label_weight,
    length_of,
    read_cuts,
    read_levels,
)
from semicrf_triton.kernels.wide import FRACTION_BITS, FRACTION_MASK, NOTHING

INTEGER = tl.constexpr(2.0**23)
"""What makes an integer of a float32 of at least 1."""
NUMBER_BITS = tl.constexpr(62)
"""Uniform numbers are int64 in units of `2**-NUMBER_BITS`."""
SHARE_BITS = tl.constexpr(12)
"""More bits of a share: it is below `2**40`, and sums of `2**23` of them fit into int64."""


@triton.jit
def weigh(weights, own, b, stop, d, here_m, here_e, passed, T, K, C, c, DURATIONS: tl.constexpr):
    """`(D, C)`: what segments of `d + 1` positions weigh that end at a boundary; 0 where not allowed."""
    s = stop - 1 - d
    mask = ((d < K) & (s >= 0))[:, None] & (c < C)[None, :]
    open_m, open_e, open_passed = load_open(own, s[:, None], c[None, :], C, mask)
    weight_m, weight_e = duration_weight(
        weights, b, s[:, None], d[:, None], c[None, :], T, K, C, mask, DURATIONS
    )
    mantissa = open_m * weight_m * here_m[None, :]
    allowed = mask & (open_passed == passed[None, :]) & (mantissa > 0.0)
    return tl.where(allowed, mantissa, 0.0), open_e + weight_e + here_e[None, :]


@triton.jit
def shares(mantissa, exponent, top):
    """Integers in proportion to weights, relative to the largest exponent."""
    units = (mantissa * INTEGER).to(tl.int32).to(tl.int64) << SHARE_BITS
    return tl.where(mantissa > 0.0, units >> tl.minimum(tl.maximum(top - exponent, 0), 63), 0)


@triton.jit
def threshold(number_ptr, total):
    """A uniform number's part of a total: the first cumulative share above it is drawn."""
    number = tl.load(number_ptr).to(tl.uint64) << (64 - NUMBER_BITS)
    return tl.umulhi(total.to(tl.uint64), number).to(tl.int64)


@triton.jit(do_not_specialize=["rows", "B", "T", "K", "C"])
def sample_kernel(
    terms, weights, opens, sums, numbers_ptr, labels_ptr, durations_ptr, rows, B, T, K, C,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One sample of one sequence; writes nothing where nothing is allowed."""
    b = tl.program_id(0) % B
    c, i, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    own = open_of(opens, b, rows, C)
    norm_m = tl.load(sums.norm_m + b * C + c, mask=c < C, other=0.0)
    norm_e = tl.load(sums.norm_e + b * C + c, mask=c < C, other=0)
    passed = tl.load(sums.hurdles + b * C + c, mask=c < C, other=0)  # before the boundary
    whole, rest = tl.zeros([BLOCK_C], tl.int64), tl.zeros([BLOCK_C], tl.int64)  # emissions behind it
    onward_m, onward_e = label_weight(terms.end, c, C)
    entry = tl.program_id(0).to(tl.int64) * T
    stop = length
    while stop > 0:
        place = (b.to(tl.int64) * T + stop - 1) * C + c
        leave_m, leave_e = boundary_weight(terms, place, c < C, 1, -rest)
        here_m, here_e = norm_m * leave_m * onward_m, norm_e - whole + leave_e + onward_e
        longest = tl.minimum(K, stop)
        top = tl.full([], -UNSEEN, tl.int64)
        for first in range(0, longest, BLOCK_D):
            m, e = weigh(weights, own, b, stop, first + i, here_m, here_e, passed, T, K, C, c, DURATIONS)
            top = tl.maximum(top, tl.max(tl.max(tl.where(m > 0.0, e, -UNSEEN), axis=1), axis=0))
        by_label = tl.zeros([BLOCK_C], tl.int64)
        for first in range(0, longest, BLOCK_D):
            m, e = weigh(weights, own, b, stop, first + i, here_m, here_e, passed, T, K, C, c, DURATIONS)
            by_label += tl.sum(shares(m, e, top), axis=0)
        total = tl.sum(by_label, axis=0)
        numbers = numbers_ptr + 2 * (entry + stop - 1)
        wanted = threshold(numbers, total)
        label = tl.sum((tl.cumsum(by_label, axis=0) <= wanted).to(tl.int32), axis=0)

        wanted = threshold(numbers + 1, tl.sum(tl.where(c == label, by_label, 0), axis=0))
        lasted = tl.full([], 1, tl.int32)
        before = tl.zeros([], tl.int64)
        for first in range(0, longest, BLOCK_D):
            m, e = weigh(weights, own, b, stop, first + i, here_m, here_e, passed, T, K, C, c, DURATIONS)
            of_label = tl.sum(tl.where(c[None, :] == label, shares(m, e, top), 0), axis=1)
            lasted += tl.sum((before + tl.cumsum(of_label, axis=0) <= wanted).to(tl.int32), axis=0)
            before += tl.sum(of_label, axis=0)

        allowed = total > 0
        begun = tl.where(allowed, stop - lasted, 0)
        tl.store(durations_ptr + entry + begun, lasted.to(tl.int64), mask=allowed)
        for block in range(begun, stop, BLOCK_T):
            u = block + j
            tl.store(
                labels_ptr + entry + u, label.to(tl.int64) + 0 * u, mask=(u < stop) & (0 * u + total > 0)
            )
            covered = (c[:, None] < C) & (u < stop)[None, :]
            entries = (b.to(tl.int64) * T + u)[None, :] * C + c[:, None]
            emission, forbidding, _ = read_levels(terms.emissions, entries, covered, 0)
            rest += tl.sum(emission, axis=1)
            passed -= tl.sum(forbidding, axis=1) + tl.sum(read_cuts(terms, b, u, T, u < stop), axis=0)
        whole, rest = whole + (rest >> FRACTION_BITS), rest & FRACTION_MASK
        pair = c.to(tl.int64) * C + label
        if BY_POSITION:
            pair += (b.to(tl.int64) * T + begun) * C * C
        known = (c < C) & (0 * c + begun > 0)
        onward_m = tl.load(weights.transition_m + pair, mask=known, other=0.0)
        onward_e = tl.load(weights.transition_e + pair, mask=known, other=NOTHING)
        stop = begun
