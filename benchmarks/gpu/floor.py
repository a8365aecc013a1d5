"""The sequential floor: a kernel with only the step that each position waits for, one `(C, C)` sum."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from semicrf_triton.kernels.wide import packed, sum_wide, unpacked
from semicrf_triton.launch.blocks import blocks_for


@triton.jit(do_not_specialize=["T"])
def floor_kernel(matrix_ptr, out_ptr, T, BLOCK_C: tl.constexpr):
    """T dependent steps from labels to labels."""
    c = tl.arange(0, BLOCK_C)
    matrix = tl.load(matrix_ptr + c[:, None] * BLOCK_C + c[None, :])
    exponents = tl.zeros([BLOCK_C, BLOCK_C], tl.int32)
    mantissa, exponent = tl.full([BLOCK_C], 1.0, tl.float32), tl.zeros([BLOCK_C], tl.int32)
    for _ in range(T):
        row_m, row_e = unpacked(packed(mantissa, exponent)[:, None])
        mantissa, exponent = sum_wide(row_m * matrix, row_e + exponents, 0)
    out = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * BLOCK_C + c
    tl.store(out_ptr + out, mantissa + exponent.to(tl.float32))


def sequential_floor(batch: int, time: int, classes: int, directions: int, device: torch.device) -> Tensor:
    """As many steps and programs as a scan has; of one warp each, as several would wait for one another."""
    size = blocks_for(classes).classes
    matrix = torch.full((size, size), 1.0, device=device)
    out = torch.empty((batch, directions, size), device=device)
    floor_kernel[(batch, directions)](matrix, out, time, BLOCK_C=size, num_warps=1)
    return out
