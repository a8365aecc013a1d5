"""Samples of what was scanned."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_spec.operators import NO_LABEL
from semicrf_triton.kernels.sample import NUMBER_BITS, sample_kernel
from semicrf_triton.launch.blocks import options
from semicrf_triton.launch.scan import Scanned


def samples(scanned: Scanned, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and durations `(n, B, T)` int64, of what was scanned forward and kept."""
    batch, time, max_duration, classes = scanned.shape
    blocks = scanned.blocks
    labels = torch.full(uniforms.shape[:-1], NO_LABEL, dtype=torch.int64, device=uniforms.device)
    durations = torch.zeros_like(labels)
    numbers = (uniforms * 2.0**NUMBER_BITS.value).long().contiguous()
    programs = len(uniforms) * batch
    if programs:
        sample_kernel[(programs,)](
            scanned.terms, scanned.weights, scanned.opens, scanned.sums,
            numbers, labels, durations,
            scanned.opens.mantissa.shape[2], batch, time, max_duration, classes,
            BY_POSITION=scanned.by_position, DURATIONS=scanned.kind,
            BLOCK_C=blocks.classes, BLOCK_T=blocks.scan.positions, BLOCK_D=blocks.drawn,
            **options(blocks.helpers),
        )  # fmt: skip
    return labels, durations
