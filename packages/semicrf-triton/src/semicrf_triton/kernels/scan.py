"""The scan: one program for a sequence and a direction.

    star[s, c]   = sum_i closed[s, i] * exp(transition[i, c]),  exp(start[c]) at s = 0
    closed[t, c] = sum_d star[t - d, c] * exp(begin + emissions + duration + finish of the segment)

Time goes in tiles. What began before a tile adds to all of its positions in one wide, parallel sum; only
what begins within is taken position by position. Between tiles the segments that are still open lie in memory
(`open.py`): the last K of them in a ring, or all of them, where posteriors are to be taken from them.

Where segments are long, tiles go in spans, a launch each: what began before a span is summed by many programs
at once, and the scan goes on from the state in which it left off.

All exponents are relative to one scale, an int64. A label may trail so far behind as an int32 reaches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.axes import KEPT, SUMMED
from semicrf_triton.kernels.open import (
    FRAME,
    load_open,
    open_of,
    relative,
    store_frame,
    store_open,
)
from semicrf_triton.kernels.tables import listed_duration, listed_transition, near_duration
from semicrf_triton.kernels.terms import (
    BY_SEGMENT,
    SHARED,
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
    add_loose,
    normal,
    packed,
    power_of_fixed,
    sum_loose,
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


class State(NamedTuple):
    """Pointers to what goes on from one span to the next beside `level` and `hurdles` of `Sums`, all int64.

    `(B, directions)` the first three, `(B, directions, C)` the others.
    """

    scale: Any
    level: Any
    unfit: Any
    star: Any  # packed, as closed
    closed: Any
    whole: Any
    rest: Any


class Behind(NamedTuple):
    """Pointers to what began before a span, for each of its positions: `(B, directions, span, C)`."""

    mantissa: Any
    exponent: Any  # int64, less the emissions from the beginning of the sequence to the tile


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
    weights, tables, opens, b, c, j, step, since, until, exponent, hurdles, length, direction, rows, T, K, C,
    DURATIONS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """What began from `since` on and before `until`, summed over durations: `(C, T)`.

    It lacks the emissions from `until` on, where so many `hurdles` have been passed. Exponents are relative
    to the one given for each label.
    """
    total_m = tl.zeros([c.shape[0], j.shape[0]], tl.float32)
    total_e = tl.full([c.shape[0], j.shape[0]], NOTHING, tl.int32)
    for first in range(tl.maximum(step - K + 1, since) // BLOCK_K * BLOCK_K, until, BLOCK_K):
        s = first + tl.arange(0, BLOCK_K)
        mask = (c[:, None] < C) & (s[None, :] < until)
        open_m, open_e, passed = load_open(opens, (s % rows)[None, :], c[:, None], C, mask)
        alive = (open_m > 0.0) & (passed == hurdles[:, None])
        open_m = tl.where(alive, open_m, 0.0)
        open_e = tl.where(alive, relative(open_e - exponent[:, None]), NOTHING)
        open_m, open_e = unpacked(tl.expand_dims(packed(open_m, open_e), KEPT))  # packed: moved at once
        last = tl.expand_dims((step + j)[None, :], SUMMED)
        begun = tl.expand_dims(s[None, :], KEPT)
        d, label = last - begun, c[:, None, None]  # durations less 1
        if DURATIONS == SHARED:
            weight_m, weight_e = unpacked(listed_duration(tables, d, label, c.shape[0], BLOCK_K))
        else:
            counts = (label < C) & (d < K) & tl.expand_dims(mask, KEPT)
            begun = begin_of(begun, last, length, direction)
            weight_m, weight_e = duration_weight(weights, b, begun, d, label, T, K, C, counts, DURATIONS)
        m, e = sum_loose(open_m * weight_m, open_e + weight_e, SUMMED)
        total_m, total_e = add_loose(total_m, total_e, m, e)
    return normal(total_m, total_e)


@triton.jit(do_not_specialize=["origin", "rows", "T", "K", "C"])
def wide_kernel(
    terms, weights, tables, opens, sums, state, behind, origin, rows, T, K, C,
    DURATIONS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """What began before the position at which a span begins: a program for each of the span's tiles."""
    b, direction, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    scan = b * tl.num_programs(1) + direction
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    step = origin + tile * BLOCK_T
    hurdles = tl.load(sums.hurdles + scan * C + c, mask=c < C, other=0)
    exponent = tl.load(state.scale + scan) - tl.load(state.whole + scan * C + c, mask=c < C, other=0)
    total_m, total_e = sum_open(
        weights, tables, open_of(opens, scan, rows, C), b, c, j, step, 0, tl.where(step < length, origin, 0),
        exponent, hurdles, length, direction, rows, T, K, C, DURATIONS, BLOCK_K,
    )  # fmt: skip
    row = (scan.to(tl.int64) * tl.num_programs(2) + tile) * BLOCK_T + j
    place = row[None, :] * C + c[:, None]
    tl.store(behind.mantissa + place, total_m, mask=c[:, None] < C)
    tl.store(behind.exponent + place, total_e + exponent[:, None], mask=c[:, None] < C)


@triton.jit
def load_behind(behind, row, c, C, mask, exponent):
    """What began before a span, in the rows of a tile, relative to an exponent of each label."""
    place = row[None, :] * C + c[:, None]
    mantissa = tl.load(behind.mantissa + place, mask=mask, other=0.0)
    absolute = tl.load(behind.exponent + place, mask=mask, other=0)
    return mantissa, tl.where(mantissa > 0.0, relative(absolute - exponent[:, None]), NOTHING)


@triton.jit(do_not_specialize=["origin", "span", "rows", "T", "K", "C"])
def scan_kernel(
    terms, weights, tables, opens, sums, passed_emissions, state, behind, tile_ptr, reach_ptr,
    origin, span, rows, T, K, C,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Log partitions to base 2, and the open segments with what makes probabilities of them.

    It goes on for `span` positions from the one at which the last launch left off, `origin`. Scratch are
    `tile_ptr`, two rows of labels for each position of a tile, of every scan, and `reach_ptr`, a byte for
    each position and label.

    Labels are rows, and of a tile and of a matrix alike each warp has whole rows of its own: of up to 32
    labels a position takes one exchange between warps, when all of them are told what has closed there.
    """
    tl.static_assert(FRAME % BLOCK_T == 0)  # frames begin with tiles
    b, direction = tl.program_id(0), tl.program_id(1)
    scan = b * tl.num_programs(1) + direction
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    opens = open_of(opens, scan, rows, C)
    enter_ptr = tile_ptr + scan.to(tl.int64) * (2 * BLOCK_T * BLOCK_C)  # of each position, a row of labels
    leave_ptr = enter_ptr + BLOCK_T * BLOCK_C
    reach_ptr += scan.to(tl.int64) * (BLOCK_T * BLOCK_C)  # of each label, a row of positions

    start_m, start_e = label_weight(terms.start, c, C)
    end_m, end_e = label_weight(terms.end, c, C)
    star_m, star_e = tl.where(direction == 0, start_m, end_m), tl.where(direction == 0, start_e, end_e)
    last_m, last_e = tl.where(direction == 0, end_m, start_m), tl.where(direction == 0, end_e, start_e)

    closed_m, closed_e = tl.zeros([BLOCK_C], tl.float32), tl.full([BLOCK_C], NOTHING, tl.int32)

    later, entry = origin > 0, scan * C + c
    held = (c < C) & (0 * c + origin > 0)
    star_m, star_e = unpacked(tl.load(state.star + entry, mask=held, other=packed(star_m, star_e)))
    closed_m, closed_e = unpacked(tl.load(state.closed + entry, mask=held, other=packed(closed_m, closed_e)))
    scale = tl.load(state.scale + scan, mask=later, other=0)  # what their exponents are relative to
    whole = tl.load(state.whole + entry, mask=held, other=0)  # emissions passed
    rest = tl.load(state.rest + entry, mask=held, other=0)
    level_whole = tl.load(state.level + scan, mask=later, other=0)  # what all labels share of them
    level_rest = tl.load(sums.level + scan, mask=later, other=0)
    passed = tl.load(sums.hurdles + entry, mask=held, other=0)
    unfit = tl.load(state.unfit + scan, mask=later, other=0).to(tl.int32)
    frame, passed_at_frame, passed_before = whole, passed, passed
    unfit += count_unfit(terms.start, c, c < C) + count_unfit(terms.end, c, c < C)
    if DURATIONS != BY_SEGMENT:  # scores of segments are looked at where they are masked, in launch/terms.py
        bad = tl.zeros([BLOCK_C, BLOCK_T], tl.int32)
        for first in range(0, tl.where(later, 0, K), BLOCK_T):
            known = (c[:, None] < C) & (first + j < K)[None, :]
            weight_m, weight_e = duration_weight(
                weights, b, 0, first + j[None, :], c[:, None], T, K, C, known, DURATIONS
            )
            bad += tl.where(weight_m >= 0.0, 0, 1)
        unfit += tl.sum(bad)
    if not BY_POSITION:
        matrix_m, matrix_e = listed_transition(tables, direction, c, BLOCK_C)
        unfit += tl.sum(tl.where(matrix_m >= 0.0, 0, 1))

    for step in range(origin, tl.minimum(origin + span, length), BLOCK_T):
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
        rows_of_tile = j[None, :] * BLOCK_C + c[:, None]
        tl.store(enter_ptr + rows_of_tile, packed(enter_m, enter_e))
        tl.store(leave_ptr + rows_of_tile, packed(leave_m, leave_e))
        positions_of_tile = c[:, None] * BLOCK_T + j[None, :]
        tl.store(reach_ptr + positions_of_tile, reach.to(tl.int8))
        unfit += count_unfit(terms.emissions, place, mask)
        unfit += count_unfit(terms.begin, place, mask) + count_unfit(terms.finish, place, mask)
        ended_m, ended_e = sum_open(
            weights, tables, opens, b, c, j, step, origin, step, scale - whole, passed,
            length, direction, rows, T, K, C, DURATIONS, BLOCK_K,
        )  # fmt: skip
        longer = mask & (held & (passed == passed_before))[:, None]
        at_span = scan.to(tl.int64) * span + step - origin + j
        longer_m, longer_e = load_behind(behind, at_span, c, C, longer, scale - whole)
        ended_m, ended_e = add_loose(ended_m, ended_e, longer_m, longer_e)
        ended_m, ended_e = normal(tl.where(hurdles > 0, 0.0, ended_m), ended_e)

        lead = tl.where(star_m > 0.0, star_e, 0)
        begun = tl.zeros([BLOCK_C, BLOCK_T], tl.int64)
        wrong = tl.zeros([BLOCK_C], tl.int32)
        tl.debug_barrier()  # what enters and leaves is there for all warps
        reach = tl.load(reach_ptr + positions_of_tile)  # by threads as what ended is
        for at in range(tl.minimum(BLOCK_T, length - step)):
            new_m, new_e = unpacked(tl.load(enter_ptr + at * BLOCK_C + c))
            new_m, new_e = (star_m * new_m)[:, None], (star_e + new_e)[:, None]
            begun = tl.where(j[None, :] == at, packed(new_m, new_e), begun)
            if DURATIONS == SHARED:
                weight_m, weight_e = unpacked(near_duration(tables, at, j, c, BLOCK_C, BLOCK_T))
            else:
                d = j - at  # less 1
                counts = (c[:, None] < C) & ((d >= 0) & (d < K))[None, :]
                since = begin_of(step + at, (step + j)[None, :], length, direction)
                weight_m, weight_e = duration_weight(
                    weights, b, since, d[None, :], c[:, None], T, K, C, counts, DURATIONS
                )
            weight_m, weight_e = (
                tl.where(reach <= at, weight_m, 0.0),
                tl.where(reach <= at, weight_e, NOTHING),
            )
            ended_m, ended_e = add_loose(ended_m, ended_e, new_m * weight_m, new_e + weight_e)
            closed_m, closed_e = unpacked(column(packed(ended_m, ended_e), j, at))
            gone_m, gone_e = unpacked(tl.load(leave_ptr + at * BLOCK_C + c))
            closed_m, closed_e = normal(closed_m * gone_m, closed_e + gone_e)
            if BY_POSITION:
                boundary = tl.where(direction == 0, tl.minimum(step + at + 1, T - 1), length - 1 - step - at)
                matrix_m, matrix_e = transition_weight(
                    weights, b, boundary, T, C, c, 1 - direction, BY_POSITION
                )
                wrong += tl.sum(tl.where((step + at + 1 < length) & ~(matrix_m >= 0.0), 1, 0), axis=1)
            from_m, from_e = unpacked(packed(closed_m, closed_e)[None, :])  # packed: moved at once
            star_m, star_e = sum_loose(from_m * matrix_m, from_e + matrix_e, 1)
            star_e = tl.maximum(star_e, NOTHING)  # nowhere meet more than three

        unfit += tl.sum(wrong)
        if step // FRAME * FRAME == step:
            frame, passed_at_frame = scale - whole + lead, passed
            store_frame(opens, step % rows, frame, passed, c, C)
        if step // CHUNK * CHUNK == step:
            chunk = (scan.to(tl.int64) * tl.cdiv(T, CHUNK) + step // CHUNK) * C + c
            tl.store(passed_emissions.whole + chunk, whole, mask=c < C)
            tl.store(passed_emissions.rest + chunk, rest, mask=c < C)
        open_m, open_e = unpacked(begun)
        open_m, open_e = normal(open_m, open_e)
        open_e += relative(scale - whole - frame)[:, None]
        hurdles_before += (passed - passed_at_frame)[:, None]
        row = ((step + j) % rows)[None, :]
        store_open(opens, row, c[:, None], C, mask, open_m, open_e, hurdles_before)
        tl.debug_barrier()  # what is open is there for all warps, and what enters and leaves has been read

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

    tl.store(state.star + entry, packed(star_m, star_e), mask=c < C)
    tl.store(state.closed + entry, packed(closed_m, closed_e), mask=c < C)
    tl.store(state.scale + scan, scale)
    tl.store(state.whole + entry, whole, mask=c < C)
    tl.store(state.rest + entry, rest, mask=c < C)
    tl.store(state.level + scan, level_whole)
    tl.store(state.unfit + scan, unfit.to(tl.int64))
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
