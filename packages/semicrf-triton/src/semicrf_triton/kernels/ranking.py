"""The k best: the recursion of Viterbi over sorted lists of scores, and walks back.

    star[s, :, c]   = the k best of  closed[s, r, i] + transition[i, c]  over i and r
    closed[t, :, c] = the k best of  star[t - d, r, c] + begin + emissions + duration + finish  over d and r

A *way* beside a score says where it came from: `(label << BITS) + rank`, or the duration, less 1, in place of
the label. Equal scores are in the order of their ways, so that of merging changes nothing.

What begins stands best first, what ends stands worst first: of two such lists beside one another the better
of each pair are the best of both.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semicrf_triton.kernels.fixed import (
    FORBIDDEN,
    boundary_score,
    label_score,
    load_duration,
    settle,
)
from semicrf_triton.kernels.scan import column, running_sum
from semicrf_triton.kernels.terms import length_of, read_cuts, read_levels


@triton.jit
def merged(score, way, others, ways, BITS: tl.constexpr, WORST_FIRST: tl.constexpr):
    """`(C, T, R)`: the R best of two lists that are sorted in opposite directions, in that of the first.

    The better of each pair rise once and fall once: comparing those half as far apart, again and again,
    sorts them (Batcher 1968).
    """
    shape: tl.constexpr = score.shape
    before = (others > score) | ((others == score) & (ways < way))
    score, way = tl.where(before, others, score), tl.where(before, ways, way)
    upper = (tl.arange(0, 2) == (1 if WORST_FIRST else 0))[None, :, None]
    for i in tl.static_range(BITS):
        score = tl.reshape(score, [shape[0] * shape[1] << i, 2, 1 << (BITS - 1 - i)])
        way = tl.reshape(way, score.shape)
        others = tl.expand_dims(tl.sum(score, 1), 1) - score
        ways = tl.expand_dims(tl.sum(way, 1), 1) - way
        before = (others > score) | ((others == score) & (ways < way))
        score, way = tl.where(before == upper, others, score), tl.where(before == upper, ways, way)
    return tl.reshape(score, shape), tl.reshape(way, shape)


@triton.jit
def merge_open(
    best, way, duration_ptr, window_ptr, b, c, j, r, step, shift, through, dead, reached, rows, T, K, C,
    DURATIONS: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """What began before a tile, `(C, T, R)`, less the emissions of the tile, merged into what ends there.

    The window loses `shift`, gains the emissions of the tile, `through`, and the labels that are `dead`.
    """
    for s in range(tl.maximum(step - K + 1, 0), step):
        place = ((s % rows) * C + c[:, None].to(tl.int64) << BITS) + r[None, :]
        mask = (c[:, None] < C) & (r[None, :] >= 0)
        held = settle(tl.load(window_ptr + place, mask=mask, other=FORBIDDEN) - shift)
        d = step + j - s  # less 1
        counts = (c[:, None] < C) & (d < K)[None, :] & reached
        score = load_duration(duration_ptr, b, s, d[None, :], c[:, None], T, K, C, counts, DURATIONS)
        ways = (d[None, :, None] << BITS) + r[None, None, :]
        best, way = merged(best, way, settle(held[:, None, :] + score[:, :, None]), ways, BITS, True)
        tl.debug_barrier()  # no lane may read what another has written already
        left = tl.where(dead[:, None], FORBIDDEN, settle(held + through[:, None]))
        tl.store(window_ptr + place, left, mask=mask)
    return best, way


@triton.jit
def merge_closed(closed_ptr, score_ptr, place, across, c, r, C, BITS: tl.constexpr):
    """`(C, R)`: the best that ended with any label, by the scores of what leads on from each.

    That of label `i` is at `place + i * across`.
    """
    best = tl.full([c.shape[0], 1, r.shape[0]], FORBIDDEN, tl.int64)
    way = tl.zeros([c.shape[0], 1, r.shape[0]], tl.int32)
    worst_first = r.shape[0] - 1 - r
    for i in range(C):
        closed = tl.load(closed_ptr + (i << BITS) + worst_first)
        onward = boundary_score(score_ptr, place + i * across, c < C)
        ways = (i << BITS) + worst_first[None, None, :]
        others = settle(closed[None, None, :] + onward[:, None, None])
        best, way = merged(best, way, others, ways, BITS, False)
    return tl.reshape(best, [c.shape[0], r.shape[0]]), tl.reshape(way, [c.shape[0], r.shape[0]])


@triton.jit(do_not_specialize=["rows", "T", "K", "C", "k"])
def rank_kernel(
    terms, transition_ptr, duration_ptr, window_ptr, closed_ptr, lasted_ptr, entered_ptr, ended_ptr,
    rows, T, K, C, k,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """Of the k best that end at each position how they lasted, of those that begin there what they follow.

    And the last labels of the k best segmentations with their ranks, -1 where there are fewer.
    """
    b = tl.program_id(0)
    c, j, r = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T), tl.arange(0, 1 << BITS)
    length = length_of(terms, b, T)
    window_ptr += b.to(tl.int64) * rows * C << BITS
    closed_ptr += b.to(tl.int64) * C << BITS
    listed = (c[:, None] < C) & (r[None, :] >= 0)
    worst_first = (1 << BITS) - 1 - r[None, :]
    star = tl.where(r[None, :] == 0, label_score(terms.start, c, C)[:, None], FORBIDDEN)
    shift = tl.zeros([], tl.int64)

    for step in range(0, length, BLOCK_T):
        mask = (c[:, None] < C) & (step + j < length)[None, :]
        place = (b.to(tl.int64) * T + step + j)[None, :] * C + c[:, None]
        own, forbidding, _ = read_levels(terms.emissions, place, mask, 0, True)
        cut = read_cuts(terms, b, step + j, T, step + j < length)
        after, hurdles = running_sum(own), running_sum(forbidding + cut[None, :])
        enter = settle(boundary_score(terms.begin, place, mask) - (after - own))
        leave = settle(boundary_score(terms.finish, place, mask) + after)
        through, passed = column(after, j, BLOCK_T - 1), column(hurdles, j, BLOCK_T - 1)
        best = tl.full([BLOCK_C, BLOCK_T, 1 << BITS], FORBIDDEN, tl.int64)
        way = tl.zeros([BLOCK_C, BLOCK_T, 1 << BITS], tl.int32)
        best, way = merge_open(
            best, way, duration_ptr, window_ptr, b, c, j, r, step, shift, through, passed > 0, hurdles == 0,
            rows, T, K, C, DURATIONS, BITS,
        )  # fmt: skip

        for at in range(tl.minimum(BLOCK_T, length - step)):
            opened = settle(star + column(enter, j, at)[:, None])
            before = column(hurdles - forbidding, j, at)
            d = j - at  # less 1
            counts = (c[:, None] < C) & ((d >= 0) & (d < K))[None, :] & (hurdles == before[:, None])
            score = load_duration(
                duration_ptr, b, step + at, d[None, :], c[:, None], T, K, C, counts, DURATIONS
            )
            others = settle(opened[:, None, :] + score[:, :, None])
            ways = (d[None, :, None] << BITS) + r[None, None, :]
            best, way = merged(best, way, others, ways, BITS, True)
            closed = tl.sum(tl.where((j == at)[None, :, None], best, 0), axis=1)
            lasted = tl.sum(tl.where((j == at)[None, :, None], way, 0), axis=1)
            closed = settle(closed + column(leave, j, at)[:, None])
            now = (b.to(tl.int64) * T + step + at) * C + c[:, None]
            tl.store(lasted_ptr + now * k + worst_first, lasted, mask=(c[:, None] < C) & (worst_first < k))
            left = tl.where((before == passed)[:, None], settle(opened + through[:, None]), FORBIDDEN)
            slot = (step + at) % rows * C + c[:, None].to(tl.int64) << BITS
            tl.store(window_ptr + slot + r[None, :], left, mask=listed)
            tl.store(closed_ptr + (c[:, None] << BITS) + worst_first, closed, mask=listed)
            tl.debug_barrier()
            pair = c.to(tl.int64)
            if BY_POSITION:
                pair += (b.to(tl.int64) * T + tl.minimum(step + at + 1, T - 1)) * C * C
            star, entered = merge_closed(closed_ptr, transition_ptr, pair, C, c, r, C, BITS)
            follows = (c[:, None] < C) & (r[None, :] < k) & (0 * r[None, :] + step + at + 1 < length)
            tl.store(entered_ptr + (now + C) * k + r[None, :], entered.to(tl.int16), mask=follows)
            tl.debug_barrier()

        shift = tl.max(tl.max(star, axis=1), axis=0)
        shift = tl.where(shift > FORBIDDEN, shift, 0)
        star = settle(star - shift)

    score, ended = merge_closed(closed_ptr, terms.end, c * 0, 1, c, r, C, BITS)
    found = (score > FORBIDDEN) & (0 * ended + length > 0)
    of_rank = r[None, :] + 0 * c[:, None]
    tl.store(ended_ptr + b * k + of_rank, tl.where(found, ended, -1), mask=(c[:, None] == 0) & (of_rank < k))


@triton.jit(do_not_specialize=["B", "T", "C", "k"])
def walk_kernel(
    lasted_ptr, entered_ptr, ended_ptr, lengths_ptr, labels_ptr, durations_ptr, B, T, C, k,
    BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Walk back from the end of one of the k best; writes nothing where there are fewer."""
    rank, b = tl.program_id(0) // B, tl.program_id(0) % B
    i = tl.arange(0, BLOCK)
    way = tl.load(ended_ptr + b * k + rank)
    stop = T
    if lengths_ptr is not None:
        stop = tl.load(lengths_ptr + b).to(tl.int32)
    stop = tl.where(way < 0, 0, stop)
    first, entry = b.to(tl.int64) * T, tl.program_id(0).to(tl.int64) * T
    while stop > 0:
        label, rank = way >> BITS, way & ((1 << BITS) - 1)
        way = tl.load(lasted_ptr + ((first + stop - 1) * C + label) * k + rank)
        lasted = (way >> BITS) + 1
        begun = stop - lasted
        tl.store(durations_ptr + entry + begun, lasted.to(tl.int64))
        for block in range(begun, stop, BLOCK):
            tl.store(labels_ptr + entry + block + i, label.to(tl.int64) + 0 * i, mask=block + i < stop)
        if begun > 0:
            rank = way & ((1 << BITS) - 1)
            way = tl.load(entered_ptr + ((first + begun) * C + label) * k + rank).to(tl.int32)
        stop = begun
