"""Tables of weights that all scans of a batch share, in the order in which they are read.

They are filled up to the labels that a program holds and beyond the durations that there are: nothing that is
read of them has to be masked, and Triton sees how their entries lie, so that it reads several at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.terms import BY_SEGMENT, SHARED, duration_weight, transition_weight
from semicrf_triton.kernels.wide import packed, unpacked


class Tables(NamedTuple):
    """Pointers to tables; None where each sequence, segment or position has weights of its own."""

    durations: Any  # packed `(rows, C)`, of which the first BLOCK_K are empty; `(B, rows, C)` by sequence
    near: Any  # packed `(T, C, T)`: of what begins at one position of a tile and ends at another
    matrix_m: Any  # `(2, C, C)`: transitions to a row from a column in the direction of a scan
    matrix_e: Any


@triton.jit
def table_rows(K, BLOCK_T, BLOCK_K):
    """Durations in a table: all that a tile meets which reads so many open segments at once."""
    return BLOCK_K + K + BLOCK_T + BLOCK_K


@triton.jit(do_not_specialize=["K", "C"])
def tables_kernel(
    weights, tables, K, C, BY_POSITION: tl.constexpr, DURATIONS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Fill tables: each program some rows of durations, a position of `near` and a direction."""
    i, b = tl.program_id(0), tl.program_id(1)
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    if DURATIONS != BY_SEGMENT:
        row, rows = (i * BLOCK_T + j)[:, None], table_rows(K, BLOCK_T, BLOCK_K)
        d = row - BLOCK_K
        known = (d >= 0) & (d < K) & (c < C)[None, :]
        weight_m, weight_e = duration_weight(weights, b, 0, d, c[None, :], 0, K, C, known, DURATIONS)
        place = (b.to(tl.int64) * rows + row) * BLOCK_C + c[None, :]
        tl.store(tables.durations + place, packed(weight_m, weight_e), mask=(row < rows) & (c[None, :] >= 0))
    if DURATIONS == SHARED:  # noqa: SIM102 - this is known when the kernel is compiled
        if i < BLOCK_T:
            d = (j - i)[None, :]
            known = (d >= 0) & (d < K) & (c < C)[:, None]
            weight_m, weight_e = duration_weight(weights, b, 0, d, c[:, None], 0, K, C, known, DURATIONS)
            place = (i * BLOCK_C + c[:, None]) * BLOCK_T + j[None, :]
            tl.store(tables.near + place, packed(weight_m, weight_e))
    if not BY_POSITION:  # noqa: SIM102
        if i < 2:
            matrix_m, matrix_e = transition_weight(weights, b, 0, 0, C, c, 1 - i, BY_POSITION)
            place = (i * BLOCK_C + c[:, None]) * BLOCK_C + c[None, :]
            tl.store(tables.matrix_m + place, matrix_m)
            tl.store(tables.matrix_e + place, matrix_e)


@triton.jit
def listed_weight(
    tables, b, d, c, K, DURATIONS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The exponentials of durations, which count from 0."""
    table = tables.durations
    if DURATIONS != SHARED:
        table += b.to(tl.int64) * table_rows(K, BLOCK_T, BLOCK_K) * BLOCK_C
    return unpacked(tl.load(table + (BLOCK_K + d) * BLOCK_C + c))


@triton.jit
def near_weight(tables, at, j, c, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr):
    """`(C, T)`: those of what begins at a position of a tile, for each end in it."""
    return unpacked(tl.load(tables.near + (at * BLOCK_C + c[:, None]) * BLOCK_T + j[None, :]))


@triton.jit
def listed_transition(tables, direction, c, BLOCK_C: tl.constexpr):
    """`(C, C)`: those of what leads to a row from a column."""
    place = (direction * BLOCK_C + c[:, None]) * BLOCK_C + c[None, :]
    return tl.load(tables.matrix_m + place), tl.load(tables.matrix_e + place)
