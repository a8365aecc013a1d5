"""Launches: tensors in, kernels over their memory, tensors out. Nothing waits for the device."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_triton.kernels.scan import exp_kernel, scan_kernel
from semicrf_triton.kernels.wide import FRACTION_BITS


class Blocks(NamedTuple):
    """How much a program holds at once: constants of its compilation."""

    classes: int  # labels, a power of two
    tile: int  # positions that are taken one by one between two wide sums
    wide: int  # segments of the window that a wide sum reads at once
    warps: int  # of 32 threads


BLOCKS = (Blocks(16, 16, 16, 8), Blocks(32, 8, 16, 4), Blocks(64, 8, 4, 8), Blocks(128, 8, 2, 16))
"""The more labels, the fewer positions and segments: all that a step needs is meant to stay in registers."""


def blocks_for(classes: int) -> Blocks:
    """The least blocks that hold so many labels.

    Raises: ValueError where there are none.
    """
    for blocks in BLOCKS:
        if classes <= blocks.classes:
            return blocks
    raise ValueError(
        f"C = {classes} labels are more than the GPU kernels hold, {BLOCKS[-1].classes}: "
        "use backend='eager', or move the tensors to the CPU"
    )


NATS = math.log(2.0)
EXP_BLOCK = 1024


def exponentials(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The exponentials of all scores, as mantissas and exponents."""
    scores = scores.contiguous()
    mantissas = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    exponents = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)
    grid = (triton.cdiv(scores.numel(), EXP_BLOCK),)
    exp_kernel[grid](scores, mantissas, exponents, scores.numel(), BLOCK=EXP_BLOCK)
    return mantissas, exponents


def scan(potentials: Potentials[Tensor], directions: int) -> Tensor:
    """Log partitions, by the forward scan and, if there are two directions, by the backward one beside it.

    Returns: `(B, directions)` float64 nats.
    """
    batch, time, classes = potentials.shape
    max_duration = potentials.max_duration
    device = potentials.emissions.device
    terms = potentials.map(lambda term: term.detach().contiguous())
    mantissas, exponents = exponentials(terms.duration)
    by_position, by_sequence = terms.transition.ndim == 4, terms.duration.ndim == 3
    blocks = blocks_for(classes)
    rows = max_duration + blocks.tile + 2 * blocks.wide
    window_m = torch.empty((batch * directions, rows, classes), dtype=torch.float32, device=device)
    window_e = torch.empty_like(window_m, dtype=torch.int32)
    total = torch.empty((batch, directions), dtype=torch.int64, device=device)
    factor = torch.empty((batch, directions), dtype=torch.float32, device=device)
    scan_kernel[(batch, directions)](
        terms.emissions, terms.begin, terms.finish, *terms.emissions.stride(),
        terms.transition, *(terms.transition.stride()[:2] if by_position else (0, 0)),
        mantissas, exponents, mantissas.stride(0) if by_sequence else 0,
        terms.start, terms.end, terms.lengths,
        window_m, window_e, rows, total, factor, time, max_duration, classes,
        BY_POSITION=by_position, BLOCK_C=blocks.classes, BLOCK_T=blocks.tile, BLOCK_K=blocks.wide,
        num_warps=blocks.warps,
    )  # fmt: skip
    log2: Tensor = total.double() * 2.0**-FRACTION_BITS.value + factor.double().log2()
    return log2 * NATS
