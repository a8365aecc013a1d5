"""The scan: one program for a sequence and a direction.

    star[s, c]   = sum_i closed[s, i] * exp(transition[i, c]),  exp(start[c]) at s = 0
    closed[t, c] = sum_d star[t - d, c] * exp(begin + emissions + duration + finish of the segment)

Time goes in tiles. What began before a tile adds to all of its positions in one wide, parallel sum; only what
begins within is taken position by position. Between tiles the segments that are still open lie in a window:
their weights relative to now, the emissions that they have passed included.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semicrf_triton.kernels.wide import (
    FRACTION_BITS,
    NOTHING,
    add_wide,
    exp_wide,
    fixed_point,
    load_scores,
    normal,
    power_of_fixed,
    sum_wide,
)

UNSEEN = tl.constexpr(2**62)
"""Above every score in fixed point."""


@triton.jit
def exp_kernel(score_ptr, mantissa_ptr, exponent_ptr, count, BLOCK: tl.constexpr):
    """`exp` of all entries, as wide numbers."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mantissa, exponent = exp_wide(load_scores(score_ptr, i, i < count))
    tl.store(mantissa_ptr + i, mantissa, mask=i < count)
    tl.store(exponent_ptr + i, exponent, mask=i < count)


@triton.jit
def column(tile, j, at):
    """Column `at` of a tile whose columns are numbered `j`."""
    return tl.sum(tl.where(j[None, :] == at, tile, 0), axis=1)


@triton.jit
def read_emissions(emissions_ptr, place, mask):
    """The emissions of a tile, less the level of each position: the score nearest to 0.

    Returns: their `(C, T)` sums from the beginning of the tile, in fixed point, and the number of forbidden
        positions among them, both to before each position and to after it; and the sum of the levels.
    """
    score = load_scores(emissions_ptr, place, mask)
    allowed = mask & (score > -float("inf"))
    logarithm = fixed_point(score)
    below = tl.max(tl.where(allowed & (logarithm <= 0), logarithm, -UNSEEN), axis=0)
    above = tl.min(tl.where(allowed & (logarithm > 0), logarithm, UNSEEN), axis=0)
    level = tl.where(-below <= above, below, above)
    level = tl.where(tl.abs(level) < UNSEEN, level, 0)
    passing = tl.where(allowed, logarithm - level[None, :], 0)
    forbidding = (mask & (score == -float("inf"))).to(tl.int32)
    passed, forbidden = tl.cumsum(passing, axis=1), tl.cumsum(forbidding, axis=1)
    return passed - passing, passed, forbidden - forbidding, forbidden, tl.sum(level, axis=0)


@triton.jit
def boundary_weight(begin_ptr, finish_ptr, place, mask, side, passed):
    """The exponentials of `begin`, on side 0, or of `finish`, on side 1, and of what has been passed."""
    score = tl.zeros(place.shape, tl.float32)
    sides = tl.zeros(place.shape, tl.int32) + side
    if begin_ptr is not None:
        score += load_scores(begin_ptr, place, mask & (sides == 0))
    if finish_ptr is not None:
        score += load_scores(finish_ptr, place, mask & (sides == 1))
    mantissa, exponent = power_of_fixed(fixed_point(score) + passed)
    allowed = score > -float("inf")
    return tl.where(allowed, mantissa, 0.0), tl.where(allowed, exponent, NOTHING)


@triton.jit
def label_weight(score_ptr, c, C):
    """The exponentials of a score a label, 1 if there is none."""
    score = tl.zeros(c.shape, tl.float32)
    if score_ptr is not None:
        score += load_scores(score_ptr, c, c < C)
    mantissa, exponent = exp_wide(score)
    return tl.where(c < C, mantissa, 0.0), tl.where(c < C, exponent, NOTHING)


@triton.jit
def transition_weight(transition_ptr, c, C, direction):
    """`(C, C)`: the exponentials of what leads from a row to a column in the direction of the scan."""
    row, col = c[:, None], c[None, :]
    place = tl.where(direction == 0, row * C + col, col * C + row)
    mask = (row < C) & (col < C)
    mantissa, exponent = exp_wide(load_scores(transition_ptr, place, mask))
    return tl.where(mask, mantissa, 0.0), tl.where(mask, exponent, NOTHING)


@triton.jit
def sum_open(
    window_m_ptr, window_e_ptr, rows, duration_m_ptr, duration_e_ptr, K, C, c, j, step, shift, through, dead,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    """What began before a tile, summed over durations: `(C, T)`, the emissions of the tile left out.

    The window is brought to the end of the tile: `through` is what it multiplies with, and of the labels that
    are `dead` nothing is left.
    """
    through_m, through_e = power_of_fixed(through)
    total_m = tl.zeros([c.shape[0], j.shape[0]], tl.float32)
    total_e = tl.full([c.shape[0], j.shape[0]], NOTHING, tl.int32)
    for first in range(tl.maximum(step - K + 1, 0) // BLOCK_K * BLOCK_K, step, BLOCK_K):
        s = first + tl.arange(0, BLOCK_K)
        mask = (c[:, None] < C) & (s[None, :] < step)
        place = (s % rows)[None, :] * C + c[:, None]
        open_m = tl.load(window_m_ptr + place, mask=mask, other=0.0)
        open_e = tl.load(window_e_ptr + place, mask=mask, other=NOTHING) - shift
        d = (step + j)[None, :, None] - s[None, None, :]  # less 1
        counts = (c[:, None, None] < C) & (d < K) & mask[:, None, :]
        weight = d * C + c[:, None, None]
        weight_m = tl.load(duration_m_ptr + weight, mask=counts, other=0.0)
        weight_e = tl.load(duration_e_ptr + weight, mask=counts, other=NOTHING)
        m, e = sum_wide(open_m[:, None, :] * weight_m, open_e[:, None, :] + weight_e, 2)
        total_m, total_e = add_wide(total_m, total_e, m, e)
        open_m = tl.where(dead[:, None], 0.0, open_m * through_m[:, None])
        open_m, open_e = normal(open_m, open_e + through_e[:, None])
        tl.store(window_m_ptr + place, open_m, mask=mask)
        tl.store(window_e_ptr + place, open_e, mask=mask)
    return total_m, total_e


@triton.jit
def scan_kernel(
    emissions_ptr, begin_ptr, finish_ptr, stride_b, stride_t, stride_c, transition_ptr, stride_transition_b,
    stride_transition_t, duration_m_ptr, duration_e_ptr, stride_duration_b, start_ptr, end_ptr, lengths_ptr,
    window_m_ptr, window_e_ptr, rows, total_ptr, factor_ptr, T, K, C,
    BY_POSITION: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Log partitions to base 2: in fixed point, and a factor."""
    b, direction = tl.program_id(0), tl.program_id(1)
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = T
    if lengths_ptr is not None:
        length = tl.load(lengths_ptr + b).to(tl.int32)
    transition_ptr += b.to(tl.int64) * stride_transition_b
    duration_m_ptr += b.to(tl.int64) * stride_duration_b
    duration_e_ptr += b.to(tl.int64) * stride_duration_b
    window = (b * tl.num_programs(1) + direction).to(tl.int64) * rows * C
    window_m_ptr += window
    window_e_ptr += window

    start_m, start_e = label_weight(start_ptr, c, C)
    end_m, end_e = label_weight(end_ptr, c, C)
    star_m, star_e = tl.where(direction == 0, start_m, end_m), tl.where(direction == 0, start_e, end_e)
    last_m, last_e = tl.where(direction == 0, end_m, start_m), tl.where(direction == 0, end_e, start_e)
    closed_m, closed_e = tl.zeros([BLOCK_C], tl.float32), tl.full([BLOCK_C], NOTHING, tl.int32)
    matrix_m, matrix_e = transition_weight(transition_ptr, c, C, direction)
    total = tl.zeros([], tl.int64)  # what all labels share, in fixed point
    shift = tl.zeros([], tl.int32)  # of exponents, at the last tile

    for step in range(0, length, BLOCK_T):
        position = tl.where(direction == 0, step + j, length - 1 - step - j)
        mask = (c[:, None] < C) & (step + j < length)[None, :]
        place = b.to(tl.int64) * stride_b + position[None, :].to(tl.int64) * stride_t + c[:, None] * stride_c
        before, after, forbidden_before, forbidden, level = read_emissions(emissions_ptr, place, mask)
        enter_m, enter_e = boundary_weight(begin_ptr, finish_ptr, place, mask, direction, -before)
        leave_m, leave_e = boundary_weight(begin_ptr, finish_ptr, place, mask, 1 - direction, after)
        through, dead = column(after, j, BLOCK_T - 1), column(forbidden, j, BLOCK_T - 1) > 0
        total += level

        older_m, older_e = sum_open(
            window_m_ptr, window_e_ptr, rows, duration_m_ptr, duration_e_ptr, K, C, c, j, step, shift,
            through, dead, BLOCK_K,
        )  # fmt: skip
        older_m = tl.where(forbidden > 0, 0.0, older_m)
        older_e = tl.where(forbidden > 0, NOTHING, older_e)

        open_m = tl.zeros([BLOCK_C, BLOCK_T], tl.float32)
        open_e = tl.full([BLOCK_C, BLOCK_T], NOTHING, tl.int32)
        for at in range(tl.minimum(BLOCK_T, length - step)):
            new_m, new_e = normal(star_m * column(enter_m, j, at), star_e + column(enter_e, j, at))
            open_m = tl.where(j[None, :] == at, new_m[:, None], open_m)
            open_e = tl.where(j[None, :] == at, new_e[:, None], open_e)
            d = at - j  # less 1
            alive = forbidden_before == column(forbidden, j, at)[:, None]
            counts = (c[:, None] < C) & ((d >= 0) & (d < K))[None, :] & alive
            weight = d[None, :] * C + c[:, None]
            weight_m = tl.load(duration_m_ptr + weight, mask=counts, other=0.0)
            weight_e = tl.load(duration_e_ptr + weight, mask=counts, other=NOTHING)
            closed_m, closed_e = sum_wide(open_m * weight_m, open_e + weight_e, 1)
            closed_m, closed_e = add_wide(closed_m, closed_e, column(older_m, j, at), column(older_e, j, at))
            closed_m, closed_e = normal(closed_m * column(leave_m, j, at), closed_e + column(leave_e, j, at))
            if BY_POSITION:
                boundary = tl.where(direction == 0, tl.minimum(step + at + 1, T - 1), length - 1 - step - at)
                here = transition_ptr + boundary.to(tl.int64) * stride_transition_t
                matrix_m, matrix_e = transition_weight(here, c, C, direction)
            star_m, star_e = sum_wide(closed_m[:, None] * matrix_m, closed_e[:, None] + matrix_e, 0)

        through_m, through_e = power_of_fixed(through)
        shift = tl.max(tl.where(star_m > 0.0, star_e, NOTHING), axis=0)
        open_m = tl.where(forbidden_before == column(forbidden, j, BLOCK_T - 1)[:, None], open_m, 0.0)
        open_m, open_e = normal(open_m * through_m[:, None], open_e + through_e[:, None])
        s = step + j
        place = (s % rows)[None, :] * C + c[:, None]
        tl.store(window_m_ptr + place, open_m, mask=mask)
        tl.store(window_e_ptr + place, open_e, mask=mask)
        tl.debug_barrier()
        shift = tl.where(shift > NOTHING, shift, 0)
        star_e -= shift
        closed_e -= shift
        total += shift.to(tl.int64) << FRACTION_BITS

    factor, exponent = sum_wide(closed_m * last_m, closed_e + last_e, 0)
    factor = tl.where(length > 0, factor, 1.0)
    exponent = tl.where(length > 0, exponent, 0)
    out = b * tl.num_programs(1) + direction
    tl.store(total_ptr + out, total + (exponent.to(tl.int64) << FRACTION_BITS))
    tl.store(factor_ptr + out, factor)
