"""Best segmentations."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_spec.operators import NO_LABEL
from semicrf_triton.kernels.fixed import Scores
from semicrf_triton.kernels.viterbi import traceback_kernel, viterbi_kernel
from semicrf_triton.launch.blocks import Blocks, blocks_for
from semicrf_triton.launch.tables import tables_of
from semicrf_triton.launch.terms import fixed_of, kind_of, terms_of

POSITIONS = 128
"""Labels that the walk back writes at once."""


def viterbi(given: Potentials[Tensor], *, blocks: Blocks | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Labels and durations of the best segmentations, each `(B, T)` int64, and whether any is allowed.

    Of terms that are `prepared`.
    """
    batch, time, classes = given.shape
    max_duration = given.max_duration
    blocks = blocks or blocks_for(classes)
    device = given.emissions.device
    rows = max(min(time, max_duration + blocks.best.positions + blocks.best.wide), 1)
    window = torch.empty((batch, rows, classes), dtype=torch.int64, device=device)
    tile = torch.empty((batch, 2 * blocks.best.positions, blocks.classes), dtype=torch.int64, device=device)
    reach = torch.empty((batch, blocks.classes, blocks.best.positions), dtype=torch.int8, device=device)
    lasted = torch.empty((batch, time, classes), dtype=torch.int32, device=device)
    previous = torch.empty((batch, time, classes), dtype=torch.int8, device=device)
    final = torch.empty(batch, dtype=torch.int32, device=device)
    scores, kind = Scores(given.transition, fixed_of(given.duration)), kind_of(given.duration)
    by_position = given.transition.ndim == 4
    shape = (batch, time, max_duration, classes)
    tables = tables_of(scores, shape, kind, by_position, blocks, blocks.best)
    viterbi_kernel[(batch,)](
        terms_of(given), scores, tables, window, tile, reach, lasted, previous, final,
        rows, time, max_duration, classes,
        BY_POSITION=by_position, DURATIONS=kind, **blocks.tiled(blocks.best),
    )  # fmt: skip
    labels = torch.full((batch, time), NO_LABEL, dtype=torch.int64, device=device)
    durations = torch.zeros_like(labels)
    traceback_kernel[(batch,)](
        lasted, previous, final, given.lengths, labels, durations, time, classes, BLOCK=POSITIONS
    )
    empty = time == 0 if given.lengths is None else given.lengths == 0
    return labels, durations, (final >= 0) | empty
