"""Launches: tensors in, kernels over their memory, tensors out. Nothing waits for the device."""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_triton.kernels.scan import exp_kernel, scan_kernel
from semicrf_triton.kernels.wide import FRACTION_BITS

TILE = 16
"""Positions that are taken one by one between two wide sums."""

WIDE = 16
"""Segments of the window that a wide sum reads at once."""

WARPS = 8
"""Of 32 threads each, so that what a program of up to 32 labels holds fits into their registers."""

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
    rows = max_duration + TILE + 2 * WIDE
    window_m = torch.empty((batch * directions, rows, classes), dtype=torch.float32, device=device)
    window_e = torch.empty_like(window_m, dtype=torch.int32)
    total = torch.empty((batch, directions), dtype=torch.int64, device=device)
    factor = torch.empty((batch, directions), dtype=torch.float32, device=device)
    block = max(16, triton.next_power_of_2(classes))
    scan_kernel[(batch, directions)](
        terms.emissions, terms.begin, terms.finish, *terms.emissions.stride(),
        terms.transition, *(terms.transition.stride()[:2] if by_position else (0, 0)),
        mantissas, exponents, mantissas.stride(0) if by_sequence else 0,
        terms.start, terms.end, terms.lengths,
        window_m, window_e, rows, total, factor, time, max_duration, classes,
        BY_POSITION=by_position, BLOCK_C=block, BLOCK_T=TILE, BLOCK_K=WIDE, num_warps=WARPS,
    )  # fmt: skip
    log2: Tensor = total.double() * 2.0**-FRACTION_BITS.value + factor.double().log2()
    return log2 * NATS
