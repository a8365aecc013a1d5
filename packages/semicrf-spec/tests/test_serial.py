"""Passes over CPU tensors: numpy's answers are PyTorch's."""

import math

import numpy as np
import pytest
import torch

from semicrf_spec.operators.derivatives import gradients
from semicrf_spec.serial import for_numpy, largest

SIZES = [9, 2**15]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_entry_is_found_at_every_size_and_dtype(size, dtype):
    term = -torch.arange(1, size + 1).remainder(1000).to(dtype)
    term[-2] = 3.0
    terms = [term, term.clone().requires_grad_(), term[:0]]
    if dtype is torch.float64:
        terms.append(term.numpy())
    assert largest(terms) == [3.0, 3.0, -math.inf, 3.0][: len(terms)]


@pytest.mark.parametrize("size", SIZES)
def test_a_nan_or_an_infinity_is_what_is_found(size):
    term = torch.zeros(size)
    term[5] = math.inf
    assert largest([term]) == [math.inf]
    term[7] = math.nan
    found, below = largest([term, torch.full((size,), -math.inf)])
    assert math.isnan(found)
    assert below == -math.inf


def test_numpy_takes_dtypes_it_is_fast_on_on_the_cpu():
    assert for_numpy(torch.zeros(2))
    assert not for_numpy(torch.zeros(2, dtype=torch.bfloat16))
    assert not for_numpy(torch.zeros(2, device="meta"))


@pytest.mark.parametrize("weights", [(1.0, -0.3, 1e3), (1e300, -math.inf, 0.0)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("time", [2, 2**12])
def test_gradients_have_the_same_bits_with_and_without_a_graph(time, dtype, weights):
    rng = np.random.default_rng(0)
    batch, classes, longest = 3, 4, 2
    position = torch.from_numpy(rng.random((batch, time, classes)))
    transitions, durations, first, last = (
        torch.from_numpy(rng.random((batch, *shape)))
        for shape in ((classes, classes), (longest, classes), (classes,), (classes,))
    )
    statistics = (position, position[:, :0], position[:, :0], transitions, durations, first, last)
    shapes = position.shape, (classes, classes), (longest, classes)
    terms = (*(torch.zeros(shape, dtype=dtype) for shape in shapes), *(None,) * 5)
    grad, needed = torch.tensor(weights, dtype=torch.float64), [True] * len(terms)
    with torch.no_grad():
        without = gradients(grad, statistics, terms, needed)
    with torch.enable_grad():
        expected = gradients(grad, statistics, terms, needed)
    assert torch.equal(expected[0], (position * grad[:, None, None]).to(dtype))
    for found, wanted in zip(without[:3], expected[:3], strict=True):
        assert found.dtype == dtype
        assert torch.equal(found, wanted)
