"""The scan: one program for a sequence and a direction.

    star[s, c]   = sum_i closed[s, i] * exp(transition[i, c]),  exp(start[c]) at s = 0
    closed[t, c] = sum_d star[t - d, c] * exp(begin + emissions + duration + finish of the segment)

Time goes in tiles. What began before a tile adds to all of its positions in one wide, parallel sum; only
what begins within is taken position by position. Between tiles the segments that are still open lie in memory
(`open.py`): the last K of them in a ring, or all of them, where posteriors are to be taken from them.

All exponents are relative to one scale, an int64. A label may trail so far behind as an int32 reaches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.open import (
    FRAME,
    load_open,
    open_of,
    relative,
    store_frame,
    store_open,
)
from semicrf_triton.kernels.terms import (
    BY_SEGMENT,
    begin_of,
    boundary_weight,
    count_unfit,
    duration_weight,
    label_weight,
    length_of,
    read_cuts,
    read_levels,
    transition_weight,
)
from semicrf_triton.kernels.wide import (
    FRACTION_BITS,
    FRACTION_MASK,
    NOTHING,
    add_wide,
    normal,
    packed,
    power_of_fixed,
    sum_wide,
    unpacked,
)


class Sums(NamedTuple):
    """Pointers to what scans add up: `(B, directions)` the first three, `(B, directions, C)` the others.

    The log partition to base 2 is `whole + level * 2**-FRACTION_BITS + log2(factor)`. The probability of a
    segment is what is open at both of its ends times its duration's weight times `norm`, if the hurdles
    before the one and behind the other are all there are, `hurdles`.
    """

    whole: Any
    level: Any
    factor: Any
    norm_m: Any
    norm_e: Any
    hurdles: Any


class Passed(NamedTuple):
    """Pointers to the emissions passed before every CHUNK-th position: `(B, directions, chunks, C)`."""

    whole: Any
    rest: Any


@triton.jit
def column(tile, j, at):
    """Column `at` of a tile whose columns are numbered `j`."""
    return tl.sum(tl.where(j[None, :] == at, tile, 0), axis=1)


@triton.jit
def running_sum(tile):
    """Of the columns; of a single one the compiler makes none."""
    if tile.shape[1] > 1:
        tile = tl.cumsum(tile, axis=1)
    return tile


@triton.jit
def larger(a, b):
    """The larger of two."""
    return tl.maximum(a, b)


@triton.jit
def reach_of(forbidding, cut, j):
    """The first column from which a segment reaches each column of a tile without a hurdle between."""
    behind = tl.where(forbidding > 0, (j + 1)[None, :], tl.where(cut > 0, j, 0)[None, :])
    return tl.associative_scan(behind, 1, larger)


@triton.jit
def sum_open(
    weights, opens, b, c, j, step, exponent, hurdles, length, direction, rows, T, K, C,
    DURATIONS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """What began before a tile, summed over durations: `(C, T)`, less the emissions of the tile.

    Exponents are relative to the one given for each label, and so many `hurdles` are before the tile.
    """
    total_m = tl.zeros([c.shape[0], j.shape[0]], tl.float32)
    total_e = tl.full([c.shape[0], j.shape[0]], NOTHING, tl.int32)
    for first in range(tl.maximum(step - K + 1, 0) // BLOCK_K * BLOCK_K, step, BLOCK_K):
        s = first + tl.arange(0, BLOCK_K)
        mask = (c[:, None] < C) & (s[None, :] < step)
        open_m, open_e, passed = load_open(opens, (s % rows)[None, :], c[:, None], C, mask)
        alive = (open_m > 0.0) & (passed == hurdles[:, None])
        open_m = tl.where(alive, open_m, 0.0)
        open_e = tl.where(alive, relative(open_e - exponent[:, None]), NOTHING)
        d = (step + j)[None, :, None] - s[None, None, :]  # less 1
        counts = (c[:, None, None] < C) & (d < K) & mask[:, None, :]
        begun = begin_of(s[None, None, :], (step + j)[None, :, None], length, direction)
        weight_m, weight_e = duration_weight(
            weights, b, begun, d, c[:, None, None], T, K, C, counts, DURATIONS
        )
        m, e = sum_wide(open_m[:, None, :] * weight_m, open_e[:, None, :] + weight_e, 2)
        total_m, total_e = add_wide(total_m, total_e, m, e)
    return total_m, total_e


@triton.jit(do_not_specialize=["rows", "T", "K"])
def scan_kernel(
    terms, weights, opens, sums, passed_emissions, tile_ptr, rows, T, K, C,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Log partitions to base 2, and the open segments with what makes probabilities of them.

    `tile_ptr` is scratch: two rows of labels for each position of a tile, of every scan.
    """
    tl.static_assert(FRAME % BLOCK_T == 0)  # frames begin with tiles
    b, direction = tl.program_id(0), tl.program_id(1)
    scan = b * tl.num_programs(1) + direction
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    opens = open_of(opens, scan, rows, C)
    enter_ptr = tile_ptr + scan.to(tl.int64) * (2 * BLOCK_T * C)  # weights of entering, a row a position
    begun_ptr = enter_ptr + BLOCK_T * C  # what begins there

    start_m, start_e = label_weight(terms.start, c, C)
    end_m, end_e = label_weight(terms.end, c, C)
    star_m, star_e = tl.where(direction == 0, start_m, end_m), tl.where(direction == 0, start_e, end_e)
    last_m, last_e = tl.where(direction == 0, end_m, start_m), tl.where(direction == 0, end_e, start_e)
    closed_m, closed_e = tl.zeros([BLOCK_C], tl.float32), tl.full([BLOCK_C], NOTHING, tl.int32)

    scale = tl.zeros([], tl.int64)  # what the exponents of star and closed are relative to
    whole, rest = tl.zeros([BLOCK_C], tl.int64), tl.zeros([BLOCK_C], tl.int64)  # emissions passed
    level_whole, level_rest = tl.zeros([], tl.int64), tl.zeros([], tl.int64)  # what all labels share of them
    passed = tl.zeros([BLOCK_C], tl.int32)  # hurdles
    frame, passed_at_frame = whole, passed
    unfit = count_unfit(terms.start, c, c < C) + count_unfit(terms.end, c, c < C)
    if DURATIONS != BY_SEGMENT:  # scores of segments are looked at where they are masked, in launch/terms.py
        for first in range(0, K, BLOCK_T):
            known = (c[:, None] < C) & (first + j < K)[None, :]
            weight_m, weight_e = duration_weight(
                weights, b, 0, first + j[None, :], c[:, None], T, K, C, known, DURATIONS
            )
            unfit += tl.sum(tl.where(weight_m >= 0.0, 0, 1))
    matrix_m, matrix_e = transition_weight(weights, b, 0, T, C, c, direction, BY_POSITION)
    if not BY_POSITION:
        unfit += tl.sum(tl.where(matrix_m >= 0.0, 0, 1))

    for step in range(0, length, BLOCK_T):
        position = tl.where(direction == 0, step + j, length - 1 - step - j)
        mask = (c[:, None] < C) & (step + j < length)[None, :]
        place = (b.to(tl.int64) * T + position)[None, :] * C + c[:, None]
        own, forbidding, level = read_levels(terms.emissions, place, mask, 0)
        edge = position + direction  # the boundary that a step crosses
        cut = read_cuts(terms, b, edge, T, (step + j < length) & (edge < length))
        after, hurdles = rest[:, None] + tl.cumsum(own, axis=1), tl.cumsum(forbidding + cut[None, :], axis=1)
        before, hurdles_before = after - own, hurdles - forbidding
        reach = reach_of(forbidding, cut, j)
        enter_m, enter_e = boundary_weight(terms, place, mask, direction, -before)
        leave_m, leave_e = boundary_weight(terms, place, mask, 1 - direction, after)
        rows_of_tile = j[None, :] * C + c[:, None]
        tl.store(enter_ptr + rows_of_tile, packed(enter_m, enter_e), mask=c[:, None] < C)
        unfit += count_unfit(terms.emissions, place, mask)
        unfit += count_unfit(terms.begin, place, mask) + count_unfit(terms.finish, place, mask)
        ended_m, ended_e = sum_open(
            weights, opens, b, c, j, step, scale - whole, passed, length, direction, rows, T, K, C,
            DURATIONS, BLOCK_K,
        )  # fmt: skip
        ended_m, ended_e = normal(tl.where(hurdles > 0, 0.0, ended_m * leave_m), ended_e + leave_e)

        lead = tl.where(star_m > 0.0, star_e, 0)
        tl.debug_barrier()  # what enters is there for all warps
        for at in range(tl.minimum(BLOCK_T, length - step)):
            entering = tl.load(enter_ptr + at * C + c, mask=c < C, other=0)
            d = j - at  # less 1
            counts = (c[:, None] < C) & ((d >= 0) & (d < K))[None, :] & (reach <= at)
            begun = begin_of(step + at, (step + j)[None, :], length, direction)
            weight_m, weight_e = duration_weight(
                weights, b, begun, d[None, :], c[:, None], T, K, C, counts, DURATIONS
            )
            if BY_POSITION:
                boundary = tl.where(direction == 0, tl.minimum(step + at + 1, T - 1), length - 1 - step - at)
                matrix_m, matrix_e = transition_weight(weights, b, boundary, T, C, c, direction, BY_POSITION)
                unfit += tl.where(step + at + 1 < length, tl.sum(tl.where(matrix_m >= 0.0, 0, 1)), 0)
            new_m, new_e = unpacked(entering)
            new_m, new_e = normal(star_m * new_m, star_e + new_e)
            new = packed(new_m, new_e)[:, None]
            tl.store(begun_ptr + at * C + c[:, None], new, mask=c[:, None] < C)
            new_m, new_e = unpacked(new)
            new_m, new_e = new_m * (weight_m * leave_m), new_e + (weight_e + leave_e)
            ended_m, ended_e = add_wide(ended_m, ended_e, new_m, new_e)
            closed_m, closed_e = unpacked(column(packed(ended_m, ended_e), j, at))
            star_m, star_e = sum_wide(closed_m[:, None] * matrix_m, closed_e[:, None] + matrix_e, 0)

        if step // FRAME * FRAME == step:
            frame, passed_at_frame = scale - whole + lead, passed
            store_frame(opens, step % rows, frame, passed, c, C)
        if step // CHUNK * CHUNK == step:
            chunk = (scan.to(tl.int64) * tl.cdiv(T, CHUNK) + step // CHUNK) * C + c
            tl.store(passed_emissions.whole + chunk, whole, mask=c < C)
            tl.store(passed_emissions.rest + chunk, rest, mask=c < C)
        tl.debug_barrier()  # what began is there for all warps
        open_m, open_e = unpacked(tl.load(begun_ptr + rows_of_tile, mask=mask, other=0))
        open_e += relative(scale - whole - frame)[:, None]
        hurdles_before += (passed - passed_at_frame)[:, None]
        row = ((step + j) % rows)[None, :]
        store_open(opens, row, c[:, None], C, mask, open_m, open_e, hurdles_before)
        tl.debug_barrier()  # what is open is there for all warps, and the tile's rows have been read

        rest = column(after, j, BLOCK_T - 1)
        whole, rest = whole + (rest >> FRACTION_BITS), rest & FRACTION_MASK
        level_rest += tl.sum(level, axis=0)
        level_whole, level_rest = level_whole + (level_rest >> FRACTION_BITS), level_rest & FRACTION_MASK
        passed += column(hurdles, j, BLOCK_T - 1)
        shift = tl.max(tl.where(star_m > 0.0, star_e, NOTHING), axis=0)
        shift = tl.where(shift > NOTHING, shift, 0)
        star_e -= shift
        closed_e -= shift
        scale += shift

    factor, exponent = sum_wide(closed_m * last_m, closed_e + last_e, 0)
    factor = tl.where(length > 0, factor, 1.0)
    exponent = tl.where(length > 0, exponent, 0)
    tl.store(sums.whole + scan, scale + level_whole + exponent)
    tl.store(sums.level + scan, level_rest)
    tl.store(sums.factor + scan, tl.where(unfit > 0, float("nan"), factor))
    norm_m, norm_e = power_of_fixed(rest)
    norm_m = tl.where(factor > 0.0, norm_m / tl.where(factor > 0.0, factor, 1.0), 0.0)
    norm_m, norm_e = normal(norm_m, norm_e)
    tl.store(sums.norm_m + scan * C + c, norm_m, mask=c < C)
    tl.store(sums.norm_e + scan * C + c, whole - scale - exponent + norm_e, mask=c < C)
    tl.store(sums.hurdles + scan * C + c, passed, mask=c < C)
