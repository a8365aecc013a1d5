"""Tables of the weights that scans share."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from semicrf_triton.kernels.tables import Tables, table_rows, tables_kernel
from semicrf_triton.kernels.terms import BY_SEGMENT, BY_SEQUENCE, SHARED, Weights
from semicrf_triton.launch.blocks import Blocks


def tables_of(
    weights: Weights, shape: tuple[int, int, int, int], kind: int, by_position: bool, blocks: Blocks
) -> Tables:
    """The tables for scans in such blocks, filled.

    Args:
        shape: B, T, K and C.
        kind: of durations.
        by_position: whether there is one transition for each boundary.
    """
    batch, _, max_duration, classes = shape
    tile, labels, device = blocks.scan, blocks.classes, weights.duration_m.device

    def empty(dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    each, own = kind == BY_SEGMENT.value, batch if kind == BY_SEQUENCE.value else 1
    rows = table_rows.fn(max_duration, tile.positions, tile.wide)
    tables = Tables(
        durations=None if each else empty(torch.int64, own, rows, labels),
        near=empty(torch.int64, tile.positions, labels, tile.positions) if kind == SHARED.value else None,
        matrix_m=None if by_position else empty(torch.float32, 2, labels, labels),
        matrix_e=None if by_position else empty(torch.int32, 2, labels, labels),
    )
    programs = max(1 if each else triton.cdiv(rows, tile.positions), tile.positions)
    tables_kernel[(programs, own)](
        weights, tables, max_duration, classes,
        BY_POSITION=by_position, DURATIONS=kind, **blocks.sized(tile),
    )  # fmt: skip
    return tables
