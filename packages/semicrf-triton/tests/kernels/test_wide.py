"""Wide numbers: what they hold, and how precisely."""

import math
from decimal import Decimal

import pytest
import torch
import triton
from triton import language as tl

from semicrf_triton.kernels.wide import (
    LARGEST_EXPONENT,
    NOTHING,
    add_loose,
    exp_wide,
    fixed_point,
    load_scores,
    normal,
    sum_wide,
)

SCORES = [
    0.0,
    1.0,
    -1.0,
    0.3,
    -0.3,
    1e-30,
    -1e-40,
    88.7,
    -104.0,
    1e4,
    -1e4,
    12345.678,
    -1e6,
    1.2e6,
    1.7e-38,
    2e-9,
]
EPSILON = 2.0**-23
"""The spacing of float32 beside 1."""


@triton.jit
def scores_kernel(score_ptr, fixed_ptr, mantissa_ptr, exponent_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    score = load_scores(score_ptr, i, i < N)
    mantissa, exponent = exp_wide(score)
    tl.store(fixed_ptr + i, fixed_point(score))
    tl.store(mantissa_ptr + i, mantissa)
    tl.store(exponent_ptr + i, exponent)


@triton.jit
def sum_kernel(mantissa_ptr, exponent_ptr, by_sum_ptr, by_add_ptr, power_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    mantissa, exponent = normal(tl.load(mantissa_ptr + i), tl.load(exponent_ptr + i))
    total, power = sum_wide(mantissa, exponent, 0)
    tl.store(by_sum_ptr, total)
    tl.store(power_ptr, power)
    total, power = tl.zeros([], tl.float32), tl.full([], NOTHING, tl.int32)
    for k in range(N):
        m, e = normal(tl.load(mantissa_ptr + k), tl.load(exponent_ptr + k))
        total, power = add_loose(total, power, m, e)
    total, power = normal(total, power)
    tl.store(by_add_ptr, total)
    tl.store(power_ptr + 1, power)


def read(scores):
    """Fixed point, mantissa and exponent of a row of scores."""
    count = triton.next_power_of_2(len(scores))
    padded = torch.zeros(count, dtype=scores.dtype, device=scores.device)
    padded[: len(scores)] = scores
    fixed = torch.empty(count, dtype=torch.int64, device=scores.device)
    mantissa, exponent = (
        torch.empty_like(fixed, dtype=torch.float32),
        torch.empty_like(fixed, dtype=torch.int32),
    )
    scores_kernel[(1,)](padded, fixed, mantissa, exponent, N=count)
    return tuple(t[: len(scores)].cpu() for t in (fixed, mantissa, exponent))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_scores_become_logarithms_to_base_2(device, dtype):
    scores = torch.tensor(SCORES, dtype=dtype).clamp(-6e4, 6e4)
    fixed, mantissa, exponent = read(scores.to(device))
    for score, f, m, e in zip(
        scores.tolist(), fixed.tolist(), mantissa.tolist(), exponent.tolist(), strict=True
    ):
        exact = Decimal(score) / Decimal(2).ln()
        assert abs(Decimal(f) / 2**24 - exact) <= Decimal(2) ** -25 + abs(exact) * Decimal(2) ** -39
        assert 1.0 <= m < 2.0
        assert e + math.log2(m) == pytest.approx(f / 2**24, abs=2 * EPSILON)


def test_what_is_forbidden_weighs_nothing(device):
    _, mantissa, exponent = read(torch.tensor([-math.inf], device=device))
    assert mantissa.item() == 0.0
    assert exponent.item() == NOTHING.value


@pytest.mark.parametrize("mask", [-1e9, -1e30, torch.finfo(torch.float32).min])
def test_finite_masks_weigh_next_to_nothing_but_do_not_wrap_around(device, mask):
    _, mantissa, exponent = read(torch.tensor([mask], device=device))
    assert mantissa.item() >= 1.0
    assert exponent.item() == -LARGEST_EXPONENT.value


@pytest.mark.parametrize("spread", [0, 10, 100, 10**6])
def test_sums_are_those_of_the_numbers(device, spread):
    rng = torch.Generator().manual_seed(spread)
    mantissas = 1.0 + torch.rand(64, generator=rng)
    mantissas[::7] = 0.0
    exponents = torch.randint(-spread, spread + 1, (64,), generator=rng, dtype=torch.int32)
    by_sum, by_add = torch.empty((2, 1), device=device)
    power = torch.empty(2, dtype=torch.int32, device=device)
    sum_kernel[(1,)](mantissas.to(device), exponents.to(device), by_sum, by_add, power, N=64)
    top = exponents[mantissas > 0].max().item()
    exact = math.fsum(
        m * 2.0 ** max(e - top, -1000) for m, e in zip(mantissas.tolist(), exponents.tolist(), strict=True)
    )
    for found, e in ((by_sum, power[0]), (by_add, power[1])):
        assert found.item() * 2.0 ** (e.item() - top) == pytest.approx(exact, rel=64 * EPSILON)


def test_a_sum_of_nothing_is_nothing(device):
    by_sum, by_add = torch.empty((2, 1), device=device)
    power = torch.empty(2, dtype=torch.int32, device=device)
    zeros = torch.zeros(4, device=device)
    sum_kernel[(1,)](
        zeros, torch.tensor([5, -3, 2**27, 0], dtype=torch.int32, device=device), by_sum, by_add, power, N=4
    )
    assert by_sum.item() == by_add.item() == 0.0
    assert power.tolist() == [NOTHING.value] * 2
