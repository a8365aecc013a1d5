"""Tables of weights, or of scores, that all scans of a batch share, in the order in which they are read.

They are filled up to the labels that a program holds and beyond the durations that there are: nothing that is
read of them has to be masked, and Triton sees how their entries lie, so that it reads several at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.fixed import load_duration
from semicrf_triton.kernels.terms import SHARED, duration_weight, pairs, transition_weight
from semicrf_triton.kernels.wide import packed


class Tables(NamedTuple):
    """Pointers to tables; None where each sequence, segment or position has weights of its own.

    Durations are packed weights, or scores in fixed point; of scores `matrix_m` has them as they are.
    """

    durations: Any  # int64 `(rows, C)`, of which the first BLOCK_K are empty
    near: Any  # int64 `(T, C, T)`: of what begins at one position of a tile and ends at another
    matrix_m: Any  # `(2, C, C)`: transitions to a row from a column in the direction of a scan
    matrix_e: Any


@triton.jit
def entry(given, d, c, K, C, BEST: tl.constexpr):
    """What a table has of durations, which count from 0."""
    known = (d >= 0) & (d < K) & (c < C)
    if BEST:
        found = load_duration(given.duration, 0, 0, d, c, 0, K, C, known, SHARED)
    else:
        weight_m, weight_e = duration_weight(given, 0, 0, d, c, 0, K, C, known, SHARED)
        found = packed(weight_m, weight_e)
    return found


@triton.jit(do_not_specialize=["rows", "K", "C"])
def tables_kernel(
    given, tables, rows, K, C, BEST: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Fill tables: each program some rows of durations, a position of `near` and a direction.

    Of weights; of scores where the BEST segmentation is sought.
    """
    i = tl.program_id(0)
    c, j = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_T)
    if tables.durations is not None:
        row = (i * BLOCK_T + j)[:, None]
        listed = entry(given, row - BLOCK_K, c[None, :], K, C, BEST)
        tl.store(tables.durations + row * BLOCK_C + c[None, :], listed, mask=row < rows)
        if i < BLOCK_T:
            near = entry(given, (j - i)[None, :], c[:, None], K, C, BEST)
            tl.store(tables.near + (i * BLOCK_C + c[:, None]) * BLOCK_T + j[None, :], near)
    if tables.matrix_m is not None:  # noqa: SIM102 - this is known when the kernel is compiled
        if i < 2:
            to_from = (i * BLOCK_C + c[:, None]) * BLOCK_C + c[None, :]
            if BEST:
                of_pair, known = pairs(0, 0, 0, C, c, 1 - i, False)
                score = tl.load(given.transition + of_pair, mask=known, other=-float("inf"))
                tl.store(tables.matrix_m + to_from, score)
            else:
                matrix_m, matrix_e = transition_weight(given, 0, 0, 0, C, c, 1 - i, False)
                tl.store(tables.matrix_m + to_from, matrix_m)
                tl.store(tables.matrix_e + to_from, matrix_e)


@triton.jit
def listed_duration(tables, d, c, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr):
    """The entries of durations, which count from 0."""
    return tl.load(tables.durations + (BLOCK_K + d) * BLOCK_C + c)


@triton.jit
def near_duration(tables, at, j, c, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr):
    """`(C, T)`: those of what begins at a position of a tile, for each end in it."""
    return tl.load(tables.near + (at * BLOCK_C + c[:, None]) * BLOCK_T + j[None, :])


@triton.jit
def listed_transition(tables, direction, c, BLOCK_C: tl.constexpr):
    """`(C, C)`: those of what leads to a row from a column."""
    place = (direction * BLOCK_C + c[:, None]) * BLOCK_C + c[None, :]
    return tl.load(tables.matrix_m + place), tl.load(tables.matrix_e + place)
