"""Viterbi: the recursion over (max, +), in fixed point, and the walk back.

    star[s, c]   = max_i ( closed[s, i] + transition[i, c] ),  start[c] at s = 0
    closed[t, c] = max_d ( star[t - d, c] + begin + emissions + duration + finish of the segment )

Scores are int64 in units of `2**-FRACTION_BITS` nats, relative to the best label of the last tile and without
what all labels share. Their sums are exact, so equal scores are ties in every order: the lowest label wins,
then the shortest duration. Tiles are those of the scan.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semicrf_triton.kernels.axes import KEPT, SUMMED
from semicrf_triton.kernels.fixed import (
    DOUBT,
    FORBIDDEN,
    boundary_score,
    label_score,
    load_duration,
    load_fixed,
    settle,
)
from semicrf_triton.kernels.scan import column, reach_of
from semicrf_triton.kernels.tables import listed_duration, near_duration
from semicrf_triton.kernels.terms import SHARED, length_of, pairs, read_cuts, read_levels

LARGEST_KEPT = tl.constexpr(64)
"""Labels up to which transitions stay in registers; of more the compiler would move them through 128 kB."""


@triton.jit
def best_open(
    scores, tables, window_ptr, b, c, j, step, shift, through, dead, rows, T, K, C,
    DURATIONS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The best that began before a tile, `(C, T)`, less the emissions of the tile; and how long before.

    The window loses `shift`, gains the emissions of the tile, `through`, and the labels that are `dead`.
    """
    best = tl.full([c.shape[0], j.shape[0]], FORBIDDEN, tl.int64)
    lasted = tl.full([c.shape[0], j.shape[0]], 1, tl.int32)
    for first in range(tl.maximum(step - K + 1, 0) // BLOCK_K * BLOCK_K, step, BLOCK_K):
        s = first + tl.arange(0, BLOCK_K)
        mask = (c[:, None] < C) & (s[None, :] < step)
        place = (s % rows)[None, :] * C + c[:, None]
        held = settle(tl.load(window_ptr + place, mask=mask, other=FORBIDDEN) - shift)
        begun, label = tl.expand_dims(s[None, :], KEPT), c[:, None, None]
        d = tl.expand_dims((step + j)[None, :], SUMMED) - begun  # less 1
        if DURATIONS == SHARED:
            lasting = listed_duration(tables, d, label, c.shape[0], BLOCK_K)
        else:
            counts = (label < C) & (d < K) & tl.expand_dims(mask, KEPT)
            lasting = load_duration(scores.duration, b, begun, d, label, T, K, C, counts, DURATIONS)
        score = tl.expand_dims(held, KEPT) + lasting
        top = tl.max(score, axis=SUMMED)
        latest = tl.max(tl.where(score == tl.expand_dims(top, SUMMED), begun, -1), axis=SUMMED)
        newer = top >= best
        lasted = tl.where(newer, (step + j)[None, :] - latest + 1, lasted)
        best = tl.where(newer, top, best)
        tl.debug_barrier()  # no lane may read what another has written already
        tl.store(
            window_ptr + place, tl.where(dead[:, None], FORBIDDEN, settle(held + through[:, None])), mask=mask
        )
    return best, lasted


@triton.jit
def transition_score(scores, tables, b, boundary, T, C, c, BY_POSITION: tl.constexpr, BLOCK_C: tl.constexpr):
    """`(C, C)`: what leads to a row from a column."""
    if BY_POSITION:
        place, mask = pairs(b, boundary, T, C, c, 1, BY_POSITION)
        score = load_fixed(scores.transition, place, mask)
    else:
        score = load_fixed(tables.matrix_m, c[:, None] * BLOCK_C + c[None, :], c[:, None] + c[None, :] >= 0)
    return score


@triton.jit(do_not_specialize=["rows", "T", "K", "C"])
def viterbi_kernel(
    terms, scores, tables, window_ptr, tile_ptr, reach_ptr, lasted_ptr, previous_ptr, final_ptr,
    rows, T, K, C,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The best duration of what ends at each position, and the best label before what begins there.

    And the last label of the best segmentation, -1 if there is none. Scratch are `tile_ptr` and `reach_ptr`,
    as in the scan.
    """
    b = tl.program_id(0)
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    window_ptr += b.to(tl.int64) * rows * C
    enter_ptr = tile_ptr + b.to(tl.int64) * (2 * BLOCK_T * BLOCK_C)  # of each position, a row of labels
    leave_ptr = enter_ptr + BLOCK_T * BLOCK_C
    reach_ptr += b.to(tl.int64) * (BLOCK_T * BLOCK_C)  # of each label, a row of positions
    star = label_score(terms.start, c, C)
    closed = tl.full([BLOCK_C], FORBIDDEN, tl.int64)
    if not (BY_POSITION or BLOCK_C > LARGEST_KEPT):
        matrix = transition_score(scores, tables, b, 0, T, C, c, BY_POSITION, BLOCK_C)
    shift = tl.zeros([], tl.int64)

    for step in range(0, length, BLOCK_T):
        mask = (c[:, None] < C) & (step + j < length)[None, :]
        place = (b.to(tl.int64) * T + step + j)[None, :] * C + c[:, None]
        own, forbidding, _ = read_levels(terms.emissions, place, mask, 0, True)
        cut = read_cuts(terms, b, step + j, T, step + j < length)
        after, hurdles = tl.cumsum(own, axis=1), tl.cumsum(forbidding + cut[None, :], axis=1)
        reach = reach_of(forbidding, cut, j)
        enter = settle(boundary_score(terms.begin, place, mask) - (after - own))
        leave = settle(boundary_score(terms.finish, place, mask) + after)
        rows_of_tile = j[None, :] * BLOCK_C + c[:, None]
        tl.store(enter_ptr + rows_of_tile, enter)
        tl.store(leave_ptr + rows_of_tile, leave)
        positions_of_tile = c[:, None] * BLOCK_T + j[None, :]
        tl.store(reach_ptr + positions_of_tile, reach.to(tl.int8))
        through, dead = column(after, j, BLOCK_T - 1), column(hurdles, j, BLOCK_T - 1) > 0
        ended, lasted = best_open(
            scores, tables, window_ptr, b, c, j, step, shift, through, dead, rows, T, K, C,
            DURATIONS, BLOCK_K,
        )  # fmt: skip
        ended = tl.where(hurdles > 0, FORBIDDEN, ended)

        begun = tl.full([BLOCK_C, BLOCK_T], FORBIDDEN, tl.int64)
        tl.debug_barrier()  # what enters and leaves is there for all warps
        reach = tl.load(reach_ptr + positions_of_tile)  # by threads as what ended is
        for at in range(tl.minimum(BLOCK_T, length - step)):
            opened = settle(star + tl.load(enter_ptr + at * BLOCK_C + c))[:, None]
            begun = tl.where(j[None, :] == at, opened, begun)
            d = (j - at)[None, :]  # less 1
            if DURATIONS == SHARED:
                lasting = near_duration(tables, at, j, c, BLOCK_C, BLOCK_T)
            else:
                counts = (c[:, None] < C) & (d >= 0) & (d < K)
                lasting = load_duration(
                    scores.duration, b, step + at, d, c[:, None], T, K, C, counts, DURATIONS
                )
            score = opened + lasting
            # of equals the shorter, which begins later
            better = (reach <= at) & (score > DOUBT) & (score >= ended)
            ended, lasted = tl.where(better, score, ended), tl.where(better, d + 1, lasted)
            closed = settle(settle(column(ended, j, at)) + tl.load(leave_ptr + at * BLOCK_C + c))
            if BY_POSITION or BLOCK_C > LARGEST_KEPT:
                boundary = tl.minimum(step + at + 1, T - 1)
                matrix = transition_score(scores, tables, b, boundary, T, C, c, BY_POSITION, BLOCK_C)
            score = closed[None, :] + matrix
            best = tl.max(score, axis=1)
            label = tl.min(tl.where(score == best[:, None], c[None, :], BLOCK_C), axis=1)
            star = settle(best)
            now = (b.to(tl.int64) * T + step + at) * C + c[:, None]
            further = (c[:, None] < C) & (0 * c[:, None] + step + at + 1 < length)
            tl.store(previous_ptr + now + C, label[:, None].to(tl.int8), mask=further)

        tl.store(lasted_ptr + place, lasted, mask=mask)
        alive = hurdles - forbidding == column(hurdles, j, BLOCK_T - 1)[:, None]
        slot = ((step + j) % rows)[None, :] * C + c[:, None]
        tl.store(window_ptr + slot, tl.where(alive, settle(begun + through[:, None]), FORBIDDEN), mask=mask)
        tl.debug_barrier()
        shift = tl.max(star, axis=0)
        shift = tl.where(shift > FORBIDDEN, shift, 0)
        star = settle(star - shift)

    score = settle(closed + label_score(terms.end, c, C))
    best = tl.max(score, axis=0)
    label = tl.min(tl.where(score == best, c, BLOCK_C), axis=0)
    tl.store(final_ptr + b, tl.where((best > FORBIDDEN) & (length > 0), label, -1))


@triton.jit(do_not_specialize=["T", "C"])
def traceback_kernel(
    lasted_ptr, previous_ptr, final_ptr, lengths_ptr, labels_ptr, durations_ptr, T, C, BLOCK: tl.constexpr
):
    """Walk back from the end of a sequence; writes nothing where there is no segmentation."""
    b = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    label = tl.load(final_ptr + b)
    stop = T
    if lengths_ptr is not None:
        stop = tl.load(lengths_ptr + b).to(tl.int32)
    stop = tl.where(label < 0, 0, stop)
    first = b.to(tl.int64) * T
    while stop > 0:
        lasted = tl.load(lasted_ptr + (first + stop - 1) * C + label)
        begun = stop - lasted
        tl.store(durations_ptr + first + begun, lasted.to(tl.int64))
        for block in range(begun, stop, BLOCK):
            tl.store(labels_ptr + first + block + i, label.to(tl.int64) + 0 * i, mask=block + i < stop)
        if begun > 0:
            label = tl.load(previous_ptr + (first + begun) * C + label).to(tl.int32)
        stop = begun
