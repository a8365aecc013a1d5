"""A million positions, against products of matrices multiplied in pairs, in pairs of pairs, and so on.

A chain over (label, positions so far) makes the recursion a product of one matrix a position. A tree of
products sums in another order than a scan, and rounds 20 times where that rounds a million times.
"""

import math
from functools import reduce

import numpy as np
import pytest
import torch

from semicrf_reference import compiled

T, K, C, BLOCK = 1_000_000, 3, 2, 1000

LOG_PARTITION, POSTERIOR = 1e-12, 1e-9
"""What a million positions may cost: relative, and absolute."""


def scaled(matrices):
    """The same up to a power of two each, which rounds nothing, and the exponents."""
    exponents = np.frexp(matrices.max(axis=(-2, -1)))[1]
    return np.ldexp(matrices, -exponents[..., None, None]), exponents


def product(left, right):
    """Of two scaled matrices, or of two stacks of them."""
    (a, a_exponent), (b, b_exponent) = left, right
    matrices, exponent = scaled(a @ b)
    return matrices, exponent + a_exponent + b_exponent


def tree(steps):
    """Products over the first axis, by halves."""
    if len(steps) == 1:
        return scaled(steps[0])
    half = len(steps) // 2
    return product(tree(steps[:half]), tree(steps[half:]))


@pytest.fixture(scope="module")
def terms():
    rng = np.random.default_rng(130)
    shapes = {"emissions": (1, T, C), "transition": (C, C), "duration": (K, C), "start": (C,), "end": (C,)}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def weights(terms):
    """Weights of everything up to the end of every block, and of everything after it, by (label, so far)."""
    transition, duration = np.exp(terms["transition"]), np.exp(terms["duration"])
    step = np.zeros((C, K, C, K))
    for c in range(C):
        for so_far in range(K):
            step[c, so_far, :, 0] += duration[so_far, c] * transition[c]
            if so_far + 1 < K:
                step[c, so_far, c, so_far + 1] += 1.0
    step = step.reshape(C * K, C * K)
    emissions = np.exp(np.repeat(terms["emissions"][0], K, axis=1))
    first = np.zeros((C, K))
    first[:, 0] = np.exp(terms["start"])
    last = (duration * np.exp(terms["end"])).T.reshape(C * K, 1)

    steps = (step * emissions[:, None, :]).reshape(T // BLOCK, BLOCK, C * K, C * K)
    steps[0, 0] = np.diag(emissions[0])  # nothing comes before it
    matrices, exponents = tree(steps.swapaxes(0, 1))
    blocks = list(zip(matrices, exponents, strict=True))
    before, after = [scaled(first.reshape(1, C * K))], [scaled(last)]
    for block in blocks:
        before.append(product(before[-1], block))
    for block in reversed(blocks):
        after.append(product(block, after[-1]))
    return before[1:], after[-2::-1]


@pytest.mark.slow
def test_the_log_partition_of_a_million_positions_is_good_to_twelve_digits(terms, weights):
    before, after = weights
    (total,), exponent = reduce(product, (before[-1], after[-1]))
    expected = math.log(total[0]) + float(exponent) * math.log(2.0)
    found = compiled.log_partition(**{n: torch.from_numpy(x) for n, x in terms.items()}).item()
    assert abs(found - expected) <= LOG_PARTITION * abs(expected)


@pytest.mark.slow
def test_posteriors_of_a_million_positions_are_good_to_nine_digits(terms, weights):
    found = compiled.posteriors(**{n: torch.from_numpy(x) for n, x in terms.items()})
    for block, ((before, _), (after, _)) in enumerate(zip(*weights, strict=True)):
        joint = (before[0] * after[:, 0]).reshape(C, K)
        expected = joint.sum(1) / joint.sum()
        position = found.position[0, (block + 1) * BLOCK - 1].numpy()
        assert np.abs(position - expected).max() <= POSTERIOR
    assert abs(found.begins.sum() - found.durations.sum()) <= POSTERIOR * T
