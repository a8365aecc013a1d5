"""Log partitions, and what the posteriors are taken from."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_triton.kernels.open import FRAME, Open
from semicrf_triton.kernels.scan import Behind, Passed, State, Sums, scan_kernel, wide_kernel
from semicrf_triton.kernels.terms import BY_SEGMENT, Terms, Weights
from semicrf_triton.kernels.wide import FRACTION_BITS
from semicrf_triton.launch.blocks import Blocks, blocks_for
from semicrf_triton.launch.tables import tables_of
from semicrf_triton.launch.terms import kind_of, prepared, terms_of, weights_of

NATS = math.log(2.0)
"""Of one bit."""


class Scanned(NamedTuple):
    """A batch of sequences, and what scans left behind."""

    shape: tuple[int, int, int, int]  # B, T, K, C
    by_position: bool  # transitions
    kind: int  # of durations
    blocks: Blocks
    terms: Terms
    weights: Weights
    opens: Open
    sums: Sums
    passed: Passed

    def log_partition(self) -> Tensor:
        """`(B, directions)` float64 nats."""
        level = self.sums.level.double() * 2.0**-FRACTION_BITS.value
        log2: Tensor = self.sums.whole + (level + self.sums.factor.double().log2())
        return log2 * NATS


def scan(
    potentials: Potentials[Tensor], directions: int, *, keep: bool = False, blocks: Blocks | None = None
) -> Scanned:
    """Scan forward and, if there are two directions, backward at the same time.

    With `keep` every open segment is kept, else only the last K of them. Other blocks than those for so many
    labels are for `benchmarks.gpu.sweep` to try.
    """
    batch, time, classes = potentials.shape
    max_duration = potentials.max_duration
    blocks = blocks or blocks_for(classes)
    given = prepared(potentials)
    frame = FRAME.value
    window = max_duration + blocks.scan.positions + blocks.scan.wide + frame
    frames = max(triton.cdiv(time if keep else min(time, window), frame), 1)
    chunks = triton.cdiv(time, blocks.chunk)

    def empty(dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty((batch, directions, *shape), dtype=dtype, device=given.emissions.device)

    found = Scanned(
        shape=(batch, time, max_duration, classes),
        by_position=given.transition.ndim == 4,
        kind=kind_of(given.duration),
        blocks=blocks,
        terms=terms_of(given),
        weights=weights_of(given),
        opens=Open(
            mantissa=empty(torch.float32, frames * frame, classes),
            packed=empty(torch.int32, frames * frame, classes),
            frame=empty(torch.int64, frames, classes),
            hurdles=empty(torch.int32, frames, classes),
        ),
        sums=Sums(
            whole=empty(torch.int64),
            level=empty(torch.int64),
            factor=empty(torch.float32),
            norm_m=empty(torch.float32, classes),
            norm_e=empty(torch.int64, classes),
            hurdles=empty(torch.int32, classes),
        ),
        passed=Passed(*(empty(torch.int64, chunks, classes) for _ in Passed._fields)),
    )
    span = blocks.span if max_duration > blocks.span else max(time, 1)
    longer = span if time > span else 0
    of_scans = (empty(torch.int64) for _ in range(3))
    state = State(*of_scans, *(empty(torch.int64, classes) for _ in range(4)))
    behind = Behind(empty(torch.float32, longer, classes), empty(torch.int64, longer, classes))
    tile = empty(torch.int64, 2 * blocks.scan.positions, blocks.classes)
    reach = empty(torch.int8, blocks.classes, blocks.scan.positions)
    tables = tables_of(found.weights, found.shape, found.kind, found.by_position, blocks, blocks.scan)
    sizes = (frames * frame, time, max_duration, classes)
    constants = {"DURATIONS": found.kind, **blocks.tiled(blocks.scan)}
    for origin in range(0, max(time, 1), span):
        if origin > 0:
            wide_kernel[(batch, directions, span // blocks.scan.positions)](
                found.terms,
                found.weights,
                tables,
                found.opens,
                found.sums,
                state,
                behind,
                origin,
                *sizes,
                **constants,
            )
        scan_kernel[(batch, directions)](
            found.terms, found.weights, tables, found.opens, found.sums, found.passed, state, behind,
            tile, reach, origin, span, *sizes, BY_POSITION=found.by_position, CHUNK=blocks.chunk, **constants,
        )  # fmt: skip
    if found.kind == BY_SEGMENT.value:
        unfit = ~(given.duration < math.inf).flatten(1).all(1)
        found.sums.factor.masked_fill_(unfit[:, None], math.nan)
    return found
