"""Posteriors: the probabilities of segments, from what two scans left open at both ends.

    p(s, t, c) = open_f[s, c] * exp(duration[t - s - 1, c]) * open_b[t, c] * norm[c]

    begins[s, c]         = sum_t p(s, t, c)
    ends[t, c]           = sum_s p(s, t, c)
    position[u, c]       = sum_{s<=u} begins[s, c] - sum_{t<=u} ends[t, c]
    durations[d-1, c]    = sum_s p(s, s + d, c)
    transitions[s, i, j] = ends[s, i] * exp(transition[i, j]) * q[j] / sum_k exp(transition[i, k]) * q[k]
                           where q[j] = begins[s, j] / star_f[s, j]

A probability is an integer, in units of UNIT, the same bits whichever sum takes it, so that `position` is
exactly the mass of the segments that cover it, at any length. Of all labels it must be 1: what it is instead
is the drift of the scans at that place, and is divided out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.axes import KEPT_BEFORE, SUMMED_BEFORE
from semicrf_triton.kernels.open import (
    FRAME,
    frames_between,
    load_between,
    load_open,
    open_of,
    relative,
)
from semicrf_triton.kernels.terms import (
    BY_SEGMENT,
    UNSEEN,
    boundary_weight,
    duration_place,
    duration_weight,
    length_of,
    read_levels,
    transition_weight,
)
from semicrf_triton.kernels.wide import (
    FRACTION_BITS,
    FRACTION_MASK,
    NOTHING,
    normal,
    power_of_two,
    sum_wide,
)

_UNIT_BITS = 56  # a probability with a mantissa below 16, and sums of a few whole ones, fit into int64
UNIT = tl.constexpr(2.0**-_UNIT_BITS)
INTEGER = tl.constexpr(2.0**23)
"""What makes an integer of a float32 of at least 1."""
INTEGER_SHIFT = tl.constexpr(_UNIT_BITS - 23)

SPAN = tl.constexpr(8)
"""Durations whose segments from up to 8 positions have their other ends in two frames."""


class Counts(NamedTuple):
    """Pointers to posteriors, None where one is not wanted.

    `position`, `begins` and `ends` are `(B, T, C)`, `first` and `last` `(B, C)`. Of each chunk of boundaries:
    `net`, `(C,)`, is the change of `position` in units, `transitions` a `(C, C)` sum, but `(B, T, C, C)` by
    position, and `cover` the drift that is to be divided out.
    """

    position: Any
    begins: Any
    ends: Any
    first: Any
    last: Any
    transitions: Any
    net: Any
    cover: Any


@triton.jit
def load_normed(own, sums, b, x, length, c, C):
    """What is open after `x` steps of a scan, `(X, C)`, and what makes probabilities of it, times INTEGER."""
    norm = 2 * b * C + c
    norm_m = tl.load(sums.norm_m + norm, mask=c < C, other=0.0) * INTEGER
    norm_e = tl.load(sums.norm_e + norm, mask=c < C, other=0)
    hurdles = tl.load(sums.hurdles + norm, mask=c < C, other=0)
    mask = ((x >= 0) & (x < length))[:, None] & (c < C)[None, :]
    own_m, own_e, own_passed = load_open(own, x[:, None], c[None, :], C, mask)
    return own_m, own_e + norm_e[None, :], hurdles[None, :] - own_passed, norm_m


@triton.jit
def units_of(mantissa, exponent, allowed):
    """`mantissa * 2**exponent` in units, of mantissas below `16 * INTEGER`, which they hold as a factor.

    0 where it is not allowed, and where the exponent is above 0: as an unsigned number it is below none.
    """
    below = tl.minimum((-exponent).to(tl.uint32), 63).to(tl.int32)
    units = mantissa.to(tl.int32).to(tl.int64) << INTEGER_SHIFT
    return units >> tl.where(allowed, below, 63)


@triton.jit
def probability(own_m, own_e, own_passed, other_m, other_e, other_passed, weight_m, weight_e):
    """In units: that of segments that are open at both ends, from either end the same bits."""
    exponent = tl.minimum(tl.maximum(own_e + other_e + weight_e.to(tl.int64), -64), 1).to(tl.int32)
    return units_of((own_m * other_m) * weight_m, exponent, own_passed == other_passed)


@triton.jit
def segments(
    weights, own_m, norm_m, other, frames, b, x, d, length, direction, T, K, C, c, DURATIONS: tl.constexpr
):
    """In units: the probability of a segment of `d + 1` positions that is open after `x` steps.

    Its other end is open after the steps of the other scan that are left, in one of two frames. A block with
    durations along SUMMED_BEFORE.
    """
    x, d = tl.expand_dims(x, SUMMED_BEFORE), tl.expand_dims(d, KEPT_BEFORE)
    y = length - 1 - x - d
    mask = ((x >= 0) & (y >= 0) & (d < K))[:, :, None] & (c < C)[None, None, :]
    other_m, exponent, no_hurdle = load_between(other, frames, y, c, C, mask)
    known = (d < K)[:, :, None] & (c < C)[None, None, :]
    begun = tl.where(direction == 0, x, y)[:, :, None]
    weight_m, weight_e = duration_weight(
        weights, b, begun, d[:, :, None], c[None, None, :], T, K, C, known, DURATIONS
    )
    own_m = tl.expand_dims(own_m, SUMMED_BEFORE)
    mantissa = (own_m * other_m) * (weight_m * norm_m[None, None, :])
    return units_of(mantissa, exponent + weight_e, no_hurdle)


@triton.jit
def nothing_found(X: tl.constexpr, D: tl.constexpr, C: tl.constexpr):
    """A block of `segments`, all 0."""
    block = tl.zeros([X, D, C], tl.int64)
    if SUMMED_BEFORE == 0:
        block = tl.zeros([D, X, C], tl.int64)
    return block


@triton.jit
def sum_segments(
    weights, own, other, sums, b, x, nearest, length, direction, T, K, C, c,
    DURATIONS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """`(X, C)`, in units: the probability that a segment opens after `x` steps, at least `nearest`."""
    own_m, own_e, own_passed, norm_m = load_normed(own, sums, b, x, length, c, C)
    tl.static_assert(BLOCK_D <= SPAN)
    tl.static_assert(x.shape[0] + SPAN - 1 <= FRAME)  # so that two frames hold all other ends
    total = tl.zeros([x.shape[0], c.shape[0]], tl.int64)
    longest = tl.minimum(K, length - nearest)
    for span in range(0, longest, SPAN):
        frames = frames_between(own_e, own_passed, other, length - 1 - nearest - span, c, C)
        for first in tl.range(span, tl.minimum(span + SPAN, longest), BLOCK_D, loop_unroll_factor=2):
            d = first + tl.arange(0, BLOCK_D)
            found = segments(
                weights, own_m, norm_m, other, frames, b, x, d, length, direction, T, K, C, c, DURATIONS
            )
            total += tl.sum(found, axis=SUMMED_BEFORE)
    return total


@triton.jit
def row(tile, i, at):
    """Row `at` of a tile whose rows are numbered `i`."""
    return tl.sum(tl.where(i[:, None] == at, tile, 0), axis=0)


@triton.jit
def stars(terms, own, b, x, place, mask, begins, whole, rest, direction, c, C):
    """What leads to a beginning after `x` steps, `(X, C)`, relative to the labels that do begin there.

    And the emissions that a scan has passed, of which `whole` and `rest` are those before.
    """
    emissions, _, _ = read_levels(terms.emissions, place, mask, 1)
    after = rest[None, :] + tl.cumsum(emissions, axis=0)
    enter_m, enter_e = boundary_weight(terms, place, mask, direction, emissions - after)
    open_m, open_e, _ = load_open(own, x[:, None], c[None, :], C, mask)
    open_e += whole[None, :]
    farthest = tl.max(tl.where(begins > 0.0, open_e, -UNSEEN), axis=1)
    open_e = relative(open_e - tl.where(farthest > -UNSEEN, farthest, 0)[:, None])
    rest += tl.sum(emissions, axis=0)
    star_m, star_e = open_m / tl.maximum(enter_m, 1.0), open_e - enter_e
    return star_m, star_e, whole + (rest >> FRACTION_BITS), rest & FRACTION_MASK


@triton.jit
def transitions_at(ends, begins, star_m, star_e, matrix_m, matrix_e):
    """`(C, C)`: which label leads to which where given numbers of segments end and begin."""
    mantissa, exponent = normal(begins, tl.zeros(begins.shape, tl.int32))
    possible = (mantissa > 0.0) & (star_m > 0.0)
    mantissa = tl.where(possible, mantissa / tl.where(possible, star_m, 1.0), 0.0)
    mantissa, exponent = normal(mantissa, tl.where(possible, exponent - star_e, NOTHING))
    mantissa, exponent = mantissa[None, :] * matrix_m, exponent[None, :] + matrix_e
    total_m, total_e = sum_wide(mantissa, exponent, 1)
    share = mantissa * power_of_two(tl.minimum(exponent - total_e[:, None], 0))
    return share * tl.where(total_m > 0.0, ends / tl.where(total_m > 0.0, total_m, 1.0), 0.0)[:, None]


@triton.jit(do_not_specialize=["rows", "T", "K", "C"])
def boundary_kernel(
    terms, weights, opens, sums, passed_emissions, counts, rows, T, K, C,
    BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """What ends and what begins at the boundaries of a chunk.

    Of `position` it writes what has changed since the beginning of the chunk.
    """
    chunks = tl.cdiv(T + 1, CHUNK)
    b, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    c, i = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    forward, backward = open_of(opens, 2 * b, rows, C), open_of(opens, 2 * b + 1, rows, C)
    net = tl.zeros([BLOCK_C], tl.int64)
    flow = tl.zeros([BLOCK_C, BLOCK_C], tl.float32)
    at_chunk = ((2 * b).to(tl.int64) * tl.cdiv(T, CHUNK) + chunk) * C + c
    inside = (c < C) & (chunk * CHUNK + 0 * c < length)
    whole = tl.load(passed_emissions.whole + at_chunk, mask=inside, other=0)
    rest = tl.load(passed_emissions.rest + at_chunk, mask=inside, other=0)

    for start in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, length + 1), BLOCK_T):
        u = start + i
        begins = sum_segments(
            weights, forward, backward, sums, b, u, start, length, 0, T, K, C, c, DURATIONS, BLOCK_D
        )
        nearest = tl.maximum(length - start - BLOCK_T + 1, 0)
        ends = sum_segments(
            weights, backward, forward, sums, b, length - u, nearest, length, 1, T, K, C, c,
            DURATIONS, BLOCK_D,
        )  # fmt: skip
        ends = tl.where((u <= length)[:, None], ends, 0)
        changed = tl.cumsum(begins - ends, axis=0) + net[None, :]
        net += tl.sum(begins - ends, axis=0)

        begins, ends = begins.to(tl.float32) * UNIT, ends.to(tl.float32) * UNIT
        known = (c < C)[None, :]
        place = (b.to(tl.int64) * T + u)[:, None] * C + c[None, :]
        mask = (u < length)[:, None] & known
        tl.store(counts.position + place, changed.to(tl.float32) * UNIT, mask=mask)
        if counts.begins is not None:
            tl.store(counts.begins + place, begins, mask=mask)
            tl.store(counts.ends + place - C, ends, mask=((u > 0) & (u <= length))[:, None] & known)
        label = b * C + c[None, :] + tl.zeros([BLOCK_T, 1], tl.int32)
        tl.store(counts.first + label, begins, mask=(u == 0)[:, None] & known)
        tl.store(counts.last + label, ends, mask=(u == length)[:, None] & known)

        stars_m, stars_e, whole, rest = stars(terms, forward, b, u, place, mask, begins, whole, rest, 0, c, C)
        matrix_m, matrix_e = transition_weight(weights, b, 0, T, C, c, 0, BY_POSITION)
        for at in range(tl.maximum(1 - start, 0), tl.minimum(BLOCK_T, length - start)):
            star_m, star_e = row(stars_m, i, at), row(stars_e, i, at)
            if BY_POSITION:
                matrix_m, matrix_e = transition_weight(weights, b, start + at, T, C, c, 0, BY_POSITION)
            led = transitions_at(row(ends, i, at), row(begins, i, at), star_m, star_e, matrix_m, matrix_e)
            if BY_POSITION:
                pair = ((b.to(tl.int64) * T + start + at) * C + c[:, None]) * C + c[None, :]
                tl.store(counts.transitions + pair, led, mask=(c < C)[:, None] & (c < C)[None, :])
            else:
                flow += led

    out = b.to(tl.int64) * chunks + chunk
    tl.store(counts.net + out * C + c, net, mask=c < C)
    if not BY_POSITION:
        pair = (out * C + c[:, None]) * C + c[None, :]
        tl.store(counts.transitions + pair, flow, mask=(c < C)[:, None] & (c < C)[None, :])


@triton.jit(do_not_specialize=["T", "C"])
def cover_kernel(
    terms, sums, counts, T, C, CHUNK: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr
):  # fmt: skip
    """Complete `position` by what has changed before the chunk, and divide by the mass that covers it.

    By NaN where a score was unfit: whoever looks at gradients alone is to see it too.
    """
    chunks = tl.cdiv(T + 1, CHUNK)
    b, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    c, i = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    out = b.to(tl.int64) * chunks + chunk
    before = tl.load(counts.net + out * C + c, mask=c < C, other=0).to(tl.float32) * UNIT
    factor = tl.load(sums.factor + 2 * b)
    drift = tl.full([], 1.0, tl.float32)
    for start in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, T), BLOCK_T):
        u = start + i
        place = (b.to(tl.int64) * T + u)[:, None] * C + c[None, :]
        mask, inside = (u < T)[:, None] & (c < C)[None, :], (u < length)[:, None] & (c < C)[None, :]
        position = tl.load(counts.position + place, mask=inside, other=0.0) + before[None, :]
        position = tl.where(inside, tl.maximum(position, 0.0), 0.0)
        cover = tl.sum(position, axis=1)
        cover = tl.where(cover > 0.0, cover, 1.0)
        cover = tl.where((u >= length) | (0.0 * cover + factor >= 0.0), cover, float("nan"))[:, None]
        if counts.begins is not None:
            begins = tl.load(counts.begins + place, mask=inside, other=0.0)
            ends = tl.load(counts.ends + place, mask=inside, other=0.0)
        tl.debug_barrier()  # no lane may read what another has written already
        tl.store(counts.position + place, position / cover, mask=mask)
        if counts.begins is not None:
            tl.store(counts.begins + place, begins / cover, mask=mask)
            tl.store(counts.ends + place, ends / cover, mask=mask)
        drift = tl.where(start < length, tl.sum(tl.where(i == 0, tl.sum(cover, axis=1), 0.0), axis=0), drift)
    tl.store(counts.cover + out, drift)


@triton.jit
def store_segments(segments_ptr, each, b, s, d, c, length, T, K, C):
    """What a block of `segments` is found to be."""
    s, d = tl.expand_dims(s, SUMMED_BEFORE), tl.expand_dims(d, KEPT_BEFORE)
    counts = ((s < length) & (d < K))[:, :, None] & (c < C)[None, None, :]
    place, mask = duration_place(
        b, s[:, :, None], d[:, :, None], c[None, None, :], T, K, C, counts, BY_SEGMENT
    )
    tl.store(segments_ptr + place, each, mask=mask)


@triton.jit(do_not_specialize=["rows", "T", "K", "C", "span", "parts"])
def duration_kernel(
    terms, weights, opens, sums, counts, durations_ptr, rows, T, K, C, span, parts,
    DURATIONS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Segments of some durations that begin in a span of chunks, counted; or each for itself."""
    tl.static_assert(BLOCK_T + BLOCK_D - 1 <= FRAME)
    blocks = tl.cdiv(K, BLOCK_D)
    at_part, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    b, part = at_part // parts, at_part % parts
    c, i = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    d = block * BLOCK_D + tl.arange(0, BLOCK_D)
    length = length_of(terms, b, T)
    forward, backward = open_of(opens, 2 * b, rows, C), open_of(opens, 2 * b + 1, rows, C)
    total = tl.zeros([BLOCK_D, BLOCK_C], tl.float32)
    for chunk in range(part * span, tl.minimum((part + 1) * span, length), CHUNK):
        drift = tl.load(counts.cover + b.to(tl.int64) * tl.cdiv(T + 1, CHUNK) + chunk // CHUNK)
        units = nothing_found(BLOCK_T, BLOCK_D, BLOCK_C)
        for start in range(chunk, tl.minimum(chunk + CHUNK, length), BLOCK_T):
            s = start + i
            own_m, own_e, own_passed, norm_m = load_normed(forward, sums, b, s, length, c, C)
            frames = frames_between(own_e, own_passed, backward, length - 1 - start - block * BLOCK_D, c, C)
            found = segments(
                weights, own_m, norm_m, backward, frames, b, s, d, length, 0, T, K, C, c, DURATIONS
            )
            if DURATIONS == BY_SEGMENT:
                each = found.to(tl.float32) * (UNIT / drift)
                store_segments(durations_ptr, each, b, s, d, c, length, T, K, C)
            else:
                units += found
        total += tl.sum(units.to(tl.float32), axis=KEPT_BEFORE) * (UNIT / drift)
    if DURATIONS != BY_SEGMENT:
        place = (at_part.to(tl.int64) * K + d[:, None]) * C + c[None, :]
        tl.store(durations_ptr + place, total, mask=(d < K)[:, None] & (c < C)[None, :])
