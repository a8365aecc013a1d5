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
from semicrf_triton.kernels.scan import column, reach_of
from semicrf_triton.kernels.terms import duration_place, length_of, pairs, read_cuts, read_levels
from semicrf_triton.kernels.wide import fixed_point, load_scores

_FARTHEST = 2**60
FARTHEST = tl.constexpr(_FARTHEST)
"""What is farther from the best counts as if that were it: 6.9e10 nats."""
FORBIDDEN = tl.constexpr(-4 * _FARTHEST)
"""Two of them can be added, and one and what is allowed, and remain below what is allowed."""
DOUBT = tl.constexpr(-2 * _FARTHEST)
LARGEST_KEPT = tl.constexpr(64)
"""Labels up to which transitions stay in registers; of more the compiler would move them through 128 kB."""


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
def best_open(
    duration_ptr, window_ptr, b, c, j, step, shift, through, dead, rows, T, K, C,
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
        counts = (label < C) & (d < K) & tl.expand_dims(mask, KEPT)
        score = tl.expand_dims(held, KEPT) + load_duration(
            duration_ptr, b, begun, d, label, T, K, C, counts, DURATIONS
        )
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
def transition_score(transition_ptr, b, boundary, T, C, c, BY_POSITION: tl.constexpr):
    """`(C, C)`: what leads from a row to a column."""
    place, mask = pairs(b, boundary, T, C, c, 0, BY_POSITION)
    return load_fixed(transition_ptr, place, mask)


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


@triton.jit(do_not_specialize=["rows", "T", "K", "C"])
def viterbi_kernel(
    terms, transition_ptr, duration_ptr, window_ptr, tile_ptr, lasted_ptr, previous_ptr, final_ptr,
    rows, T, K, C,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The best duration of what ends at each position, and the best label before what begins there.

    And the last label of the best segmentation, -1 if there is none. `tile_ptr` is scratch, as in the scan.
    """
    b = tl.program_id(0)
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    window_ptr += b.to(tl.int64) * rows * C
    enter_ptr = tile_ptr + b.to(tl.int64) * (2 * BLOCK_T * C)  # scores of entering, a row a position
    begun_ptr = enter_ptr + BLOCK_T * C  # what begins there
    star = label_score(terms.start, c, C)
    closed = tl.full([BLOCK_C], FORBIDDEN, tl.int64)
    if not (BY_POSITION or BLOCK_C > LARGEST_KEPT):
        matrix = transition_score(transition_ptr, b, 0, T, C, c, BY_POSITION)
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
        rows_of_tile = j[None, :] * C + c[:, None]
        tl.store(enter_ptr + rows_of_tile, enter, mask=c[:, None] < C)
        through, dead = column(after, j, BLOCK_T - 1), column(hurdles, j, BLOCK_T - 1) > 0
        ended, lasted = best_open(
            duration_ptr, window_ptr, b, c, j, step, shift, through, dead, rows, T, K, C,
            DURATIONS, BLOCK_K,
        )  # fmt: skip
        ended = tl.where(hurdles > 0, FORBIDDEN, ended)

        tl.debug_barrier()  # what enters is there for all warps
        for at in range(tl.minimum(BLOCK_T, length - step)):
            entering = tl.load(enter_ptr + at * C + c, mask=c < C, other=FORBIDDEN)
            d = j - at  # less 1
            counts = (c[:, None] < C) & ((d >= 0) & (d < K))[None, :] & (reach <= at)
            onward = load_duration(
                duration_ptr, b, step + at, d[None, :], c[:, None], T, K, C, counts, DURATIONS
            )
            if BY_POSITION or BLOCK_C > LARGEST_KEPT:
                matrix = transition_score(
                    transition_ptr, b, tl.minimum(step + at + 1, T - 1), T, C, c, BY_POSITION
                )
            opened = settle(star + entering)[:, None]
            tl.store(begun_ptr + at * C + c[:, None], opened, mask=c[:, None] < C)
            score = opened + onward
            better = counts & (score >= ended)  # of equals the shorter, which begins later
            ended, lasted = tl.where(better, score, ended), tl.where(better, d[None, :] + 1, lasted)
            closed = column(settle(settle(ended) + leave), j, at)
            score = closed[:, None] + matrix
            best = tl.max(score, axis=0)
            label = tl.min(tl.where(score == best[None, :], c[:, None], BLOCK_C), axis=0)
            star = settle(best)
            now = (b.to(tl.int64) * T + step + at) * C + c
            tl.store(
                previous_ptr + now + C, label.to(tl.int8), mask=(c < C) & (0 * c + step + at + 1 < length)
            )

        tl.store(lasted_ptr + place, lasted, mask=mask)
        tl.debug_barrier()  # what began is there for all warps
        opened = tl.load(begun_ptr + rows_of_tile, mask=mask, other=FORBIDDEN)
        alive = hurdles - forbidding == column(hurdles, j, BLOCK_T - 1)[:, None]
        slot = ((step + j) % rows)[None, :] * C + c[:, None]
        tl.store(window_ptr + slot, tl.where(alive, settle(opened + through[:, None]), FORBIDDEN), mask=mask)
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
