"""Covariances of counts with a value: posteriors times what they say of it.

    Cov[V, n] = E[n] * ( E[V | n] - E[V] )
    E[V | a segment] = open_f[s, c] + duration[d - 1, c] + open_b[t, c] + position of all

with the means of `means.py` at both ends. Sums are those of `posteriors.py`, of integers in the units of the
value: both ends take the same products, so what covers a position is a difference of sums that is exact.

Every position is covered once, so its covariances add up to 0. What they add up to instead is the drift of
the two means at that place, common to everything there, and is taken off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.axes import KEPT_BEFORE, SUMMED_BEFORE
from semicrf_triton.kernels.means import duration_value, likeliest, rounded, transition_value
from semicrf_triton.kernels.open import FRAME, frames_between, open_of
from semicrf_triton.kernels.posteriors import (
    SPAN,
    UNIT,
    load_normed,
    row,
    segments,
    stars,
    store_segments,
    transitions_at,
)
from semicrf_triton.kernels.terms import BY_SEGMENT, length_of, transition_weight


class Covariances(NamedTuple):
    """Pointers to covariances, `(B, T, C)` the first three; transitions as in `Counts`.

    Of each chunk of boundaries: `net`, `(C,)`, is the change of `position`, and `center` the mean of the
    value as it is found there. `unit`, `(B,)`, is one of the value, NaN where the value is unknown.
    """

    position: Any
    begins: Any
    ends: Any
    transitions: Any
    net: Any
    center: Any
    unit: Any


@triton.jit
def worths(
    values, found, own_open, other_ptr, b, x, d, length, direction, T, K, C, c, scale, DURATIONS: tl.constexpr
):
    """Float32, in units: what a block of `segments` is `found` to weigh, times what it says of the value."""
    x, d = tl.expand_dims(x, SUMMED_BEFORE), tl.expand_dims(d, KEPT_BEFORE)
    y = length - 1 - x - d
    mask = ((x >= 0) & (y >= 0) & (d < K))[:, :, None] & (c < C)[None, None, :]
    other_open = tl.load(other_ptr + y[:, :, None] * C + c[None, None, :], mask=mask, other=0)
    known = (d < K)[:, :, None] & (c < C)[None, None, :]
    begun = tl.where(direction == 0, x, y)[:, :, None]
    opened = tl.expand_dims(own_open, SUMMED_BEFORE) + other_open
    worth = opened.to(tl.float32) + duration_value(
        values, b, begun, d[:, :, None], c[None, None, :], T, K, C, known, scale, DURATIONS
    )
    return tl.where(found > 0, found.to(tl.float32) * UNIT * worth, 0.0)


@triton.jit
def sum_worths(
    weights, own, other, sums, values, own_ptr, other_ptr, center, b, x, nearest, length, direction,
    T, K, C, c, scale, DURATIONS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """`(X, C)`, in units: covariances of the segments that open after `x` steps, at least `nearest`."""
    own_m, own_e, own_passed, norm_m = load_normed(own, sums, b, x, length, c, C)
    inside = ((x >= 0) & (x < length))[:, None] & (c < C)[None, :]
    own_open = tl.load(own_ptr + x[:, None] * C + c[None, :], mask=inside, other=0) - center[None, :]
    tl.static_assert(BLOCK_D <= SPAN)
    tl.static_assert(x.shape[0] + SPAN - 1 <= FRAME)
    total = tl.zeros([x.shape[0], c.shape[0]], tl.int64)
    longest = tl.minimum(K, length - nearest)
    for span in range(0, longest, SPAN):
        frames = frames_between(own_e, own_passed, other, length - 1 - nearest - span, c, C)
        for first in range(span, tl.minimum(span + SPAN, longest), BLOCK_D):
            d = first + tl.arange(0, BLOCK_D)
            found = segments(
                weights, own_m, norm_m, other, frames, b, x, d, length, direction, T, K, C, c, DURATIONS
            )
            found = worths(
                values, found, own_open, other_ptr, b, x, d, length, direction, T, K, C, c, scale, DURATIONS
            )
            total += tl.sum(rounded(found), axis=SUMMED_BEFORE)
    return total


@triton.jit(do_not_specialize=["rows", "T", "K", "C"])
def boundary_covariance_kernel(
    terms, weights, opens, sums, values, means, covariances, rows, T, K, C,
    DURATIONS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Of what ends and begins at the boundaries of a chunk; of `position` the change since its beginning."""
    chunks = tl.cdiv(T + 1, CHUNK)
    b, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    c, i = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    forward, backward = open_of(opens, 2 * b, rows, C), open_of(opens, 2 * b + 1, rows, C)
    ahead = means.open + (2 * b).to(tl.int64) * T * C
    back = means.open + (2 * b + 1).to(tl.int64) * T * C
    scale = tl.load(values.scale + b)
    passed = tl.load(means.passed + 2 * b * C + c, mask=c < C, other=0)
    center = tl.load(means.mean + 2 * b) - passed
    net = tl.zeros([BLOCK_C], tl.int64)
    for start in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, length + 1), BLOCK_T):
        u = start + i
        begins = sum_worths(
            weights, forward, backward, sums, values, ahead, back, center, b, u, start,
            length, 0, T, K, C, c, scale, DURATIONS, BLOCK_D,
        )  # fmt: skip
        nearest = tl.maximum(length - start - BLOCK_T + 1, 0)
        ends = sum_worths(
            weights, backward, forward, sums, values, back, ahead, center, b, length - u, nearest,
            length, 1, T, K, C, c, scale, DURATIONS, BLOCK_D,
        )  # fmt: skip
        ends = tl.where((u <= length)[:, None], ends, 0)
        changed = tl.cumsum(begins - ends, axis=0) + net[None, :]
        net += tl.sum(begins - ends, axis=0)
        place = (b.to(tl.int64) * T + u)[:, None] * C + c[None, :]
        mask, known = (u < length)[:, None] & (c < C)[None, :], (c < C)[None, :]
        tl.store(covariances.position + place, changed.to(tl.float32), mask=mask)
        tl.store(covariances.begins + place, begins.to(tl.float32), mask=mask)
        ended = ((u > 0) & (u <= length))[:, None] & known
        tl.store(covariances.ends + place - C, ends.to(tl.float32), mask=ended)
    tl.store(covariances.net + (b.to(tl.int64) * chunks + chunk) * C + c, net, mask=c < C)


@triton.jit(do_not_specialize=["T", "C"])
def drift_kernel(
    terms, counts, means, covariances, T, C,
    CHUNK: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Complete `position` by what has changed before the chunk, and take off the drift."""
    chunks = tl.cdiv(T + 1, CHUNK)
    b, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    c, i = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    out = b.to(tl.int64) * chunks + chunk
    before = tl.load(covariances.net + out * C + c, mask=c < C, other=0).to(tl.float32)
    cover, unit = tl.load(counts.cover + out), tl.load(covariances.unit + b)
    drift = tl.zeros([], tl.float32)
    for start in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, T), BLOCK_T):
        u = start + i
        place = (b.to(tl.int64) * T + u)[:, None] * C + c[None, :]
        mask, inside = (u < T)[:, None] & (c < C)[None, :], (u < length)[:, None] & (c < C)[None, :]
        covering = tl.load(covariances.position + place, mask=inside, other=0.0)
        covering = tl.where(inside, covering + before[None, :], 0.0) / cover
        begins = tl.load(covariances.begins + place, mask=inside, other=0.0) / cover
        ends = tl.load(covariances.ends + place, mask=inside, other=0.0) / cover
        off = tl.sum(covering, axis=1)
        covering -= off[:, None] * tl.load(counts.position + place, mask=inside, other=0.0)
        begins -= off[:, None] * tl.load(counts.begins + place, mask=inside, other=0.0)
        ends -= off[:, None] * tl.load(counts.ends + place, mask=inside, other=0.0)
        tl.debug_barrier()  # no lane may read what another has written already
        tl.store(covariances.position + place, covering * unit, mask=mask)
        tl.store(covariances.begins + place, begins * unit, mask=mask)
        tl.store(covariances.ends + place, ends * unit, mask=mask)
        drift += tl.where(start == chunk * CHUNK, tl.sum(tl.where(i == 0, off, 0.0), axis=0), 0.0)
    tl.store(covariances.center + out, tl.load(means.mean + 2 * b) + rounded(drift))


@triton.jit(do_not_specialize=["rows", "T", "C"])
def transition_covariance_kernel(
    terms, weights, opens, passed_emissions, counts, values, means, covariances, rows, T, C,
    BY_POSITION: tl.constexpr, CHUNK: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Of transitions at the boundaries of a chunk."""
    chunks = tl.cdiv(T + 1, CHUNK)
    b, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    c, i = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    length = length_of(terms, b, T)
    forward = open_of(opens, 2 * b, rows, C)
    ahead = means.closed + (2 * b).to(tl.int64) * T * C
    back = means.closed + (2 * b + 1).to(tl.int64) * T * C
    scale, unit = tl.load(values.scale + b), tl.load(covariances.unit + b)
    out = b.to(tl.int64) * chunks + chunk
    center = tl.load(covariances.center + out)
    at_chunk = ((2 * b).to(tl.int64) * tl.cdiv(T, CHUNK) + chunk) * C + c
    within = (c < C) & (chunk * CHUNK + 0 * c < length)
    whole = tl.load(passed_emissions.whole + at_chunk, mask=within, other=0)
    rest = tl.load(passed_emissions.rest + at_chunk, mask=within, other=0)
    matrix_m, matrix_e = transition_weight(weights, b, 0, T, C, c, 0, BY_POSITION)
    leading = transition_value(values, b, 0, T, C, c, 0, length - 1, scale, BY_POSITION)
    flow = tl.zeros([BLOCK_C, BLOCK_C], tl.float32)
    square = (c < C)[:, None] & (c < C)[None, :]
    for start in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, length), BLOCK_T):
        u = start + i
        mask = (u < length)[:, None] & (c < C)[None, :]
        place = (b.to(tl.int64) * T + u)[:, None] * C + c[None, :]
        later = mask & (u > 0)[:, None]
        begins = tl.load(counts.begins + place, mask=mask, other=0.0)
        ends = tl.load(counts.ends + place - C, mask=later, other=0.0)
        closed = tl.load(ahead + (u - 1)[:, None] * C + c[None, :], mask=later, other=0)
        to_come = tl.load(back + (length - 1 - u)[:, None] * C + c[None, :], mask=mask, other=0) - center
        stars_m, stars_e, whole, rest = stars(terms, forward, b, u, place, mask, begins, whole, rest, 0, c, C)
        for at in range(tl.maximum(1 - start, 0), tl.minimum(BLOCK_T, length - start)):
            if BY_POSITION:
                matrix_m, matrix_e = transition_weight(weights, b, start + at, T, C, c, 0, BY_POSITION)
                leading = transition_value(values, b, start + at, T, C, c, 0, 1, scale, BY_POSITION)
            led = transitions_at(
                row(ends, i, at),
                row(begins, i, at),
                row(stars_m, i, at),
                row(stars_e, i, at),
                matrix_m,
                matrix_e,
            )
            near = likeliest(row(closed, i, at), row(ends, i, at), c)
            before, behind = row(closed, i, at) - near, row(to_come, i, at) + near
            led *= before.to(tl.float32)[:, None] + behind.to(tl.float32)[None, :] + leading
            if BY_POSITION:
                pair = ((b.to(tl.int64) * T + start + at) * C + c[:, None]) * C + c[None, :]
                tl.store(covariances.transitions + pair, led * unit, mask=square)
            else:
                flow += led
    if not BY_POSITION:
        pair = (out * C + c[:, None]) * C + c[None, :]
        tl.store(covariances.transitions + pair, flow * unit, mask=square)


@triton.jit(do_not_specialize=["rows", "T", "K", "C", "span", "parts"])
def duration_covariance_kernel(
    terms, weights, opens, sums, counts, values, means, covariances, durations_ptr,
    rows, T, K, C, span, parts,
    DURATIONS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Of segments of some durations that begin in a span of chunks; or of each by itself."""
    tl.static_assert(BLOCK_T + BLOCK_D - 1 <= FRAME)
    blocks = tl.cdiv(K, BLOCK_D)
    at_part, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    b, part = at_part // parts, at_part % parts
    c, i = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    d = block * BLOCK_D + tl.arange(0, BLOCK_D)
    length = length_of(terms, b, T)
    forward, backward = open_of(opens, 2 * b, rows, C), open_of(opens, 2 * b + 1, rows, C)
    ahead = means.open + (2 * b).to(tl.int64) * T * C
    back = means.open + (2 * b + 1).to(tl.int64) * T * C
    scale = tl.load(values.scale + b)
    passed = tl.load(means.passed + 2 * b * C + c, mask=c < C, other=0)
    unit = tl.load(covariances.unit + b)
    total = tl.zeros([BLOCK_D, BLOCK_C], tl.float32)
    for start in range(part * span, tl.minimum((part + 1) * span, length), BLOCK_T):
        s = start + i
        own_m, own_e, own_passed, norm_m = load_normed(forward, sums, b, s, length, c, C)
        frames = frames_between(own_e, own_passed, backward, length - 1 - start - block * BLOCK_D, c, C)
        found = segments(weights, own_m, norm_m, backward, frames, b, s, d, length, 0, T, K, C, c, DURATIONS)
        at_chunk = b.to(tl.int64) * tl.cdiv(T + 1, CHUNK) + start // CHUNK
        center = tl.load(covariances.center + at_chunk) - passed
        inside = (s < length)[:, None] & (c < C)[None, :]
        own_open = tl.load(ahead + s[:, None] * C + c[None, :], mask=inside, other=0) - center[None, :]
        found = worths(values, found, own_open, back, b, s, d, length, 0, T, K, C, c, scale, DURATIONS)
        cover = tl.load(counts.cover + at_chunk)
        if DURATIONS == BY_SEGMENT:
            store_segments(durations_ptr, found * (unit / cover), b, s, d, c, length, T, K, C)
        else:
            total += tl.sum(found, axis=KEPT_BEFORE) / cover
    if DURATIONS != BY_SEGMENT:
        place = (at_part.to(tl.int64) * K + d[:, None]) * C + c[None, :]
        tl.store(durations_ptr + place, total * unit, mask=(d < K)[:, None] & (c < C)[None, :])
