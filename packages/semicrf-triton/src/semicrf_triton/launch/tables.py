"""Tables of the weights, or scores, that scans share."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from semicrf_triton.kernels.fixed import Scores
from semicrf_triton.kernels.tables import Tables, tables_kernel
from semicrf_triton.kernels.terms import SHARED, Weights
from semicrf_triton.launch.blocks import Blocks, Tile


def tables_of(
    given: Weights | Scores, shape: tuple[int, ...], kind: int, by_position: bool, blocks: Blocks, tile: Tile
) -> Tables:
    """The tables for scans in such tiles, filled with what is given.

    Args:
        shape: B, T, K and C.
        kind: of durations.
        by_position: whether there is one transition for each boundary.
    """
    _, time, max_duration, classes = shape
    best = isinstance(given, Scores)
    transition: Tensor = given.transition if isinstance(given, Scores) else given.transition_m
    positions, labels = tile.positions, blocks.classes
    rows = min(max_duration, time) + positions + 2 * tile.wide  # all that a tile may meet

    def table(wanted: bool, dtype: torch.dtype, *shape: int) -> Tensor | None:
        return torch.empty(shape, dtype=dtype, device=transition.device) if wanted else None

    shared = kind == SHARED.value
    tables = Tables(
        durations=table(shared, torch.int64, rows, labels),
        near=table(shared, torch.int64, positions, labels, positions),
        matrix_m=table(not by_position, transition.dtype, 2, labels, labels),
        matrix_e=table(not (by_position or best), torch.int32, 2, labels, labels),
    )
    programs = max(triton.cdiv(rows, positions), positions)
    if shared or not by_position:
        tables_kernel[(programs,)](
            given, tables, rows, max_duration, classes, BEST=best, **blocks.sized(tile)
        )
    return tables
