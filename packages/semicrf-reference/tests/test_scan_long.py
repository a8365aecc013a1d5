"""What must hold between semirings, on every algorithm, at a length that nothing can enumerate."""

import pytest
import torch

from semicrf_reference import compiled, eager
from semicrf_reference.scan import ALGORITHMS
from semicrf_spec import (
    BOOLEAN,
    COUNT,
    COVARIANCE,
    CROSS_ENTROPY,
    ENTROPY,
    EXPECTATION,
    KL_DIVERGENCE,
    LOG,
    MAX,
    REAL,
    KMaxSemiring,
)
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, random_potentials

T, K, C = 1_000, 3, 2
LENGTHS = torch.tensor([T, 640])

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)


def potentials(seed):
    return random_potentials(2, T, K, C, seed=seed, lengths=LENGTHS.tolist()).map(torch.from_numpy)


OURS, THEIRS = potentials(1), potentials(2)
TERMS = dict(OURS.items())
EDGES, OTHERS = eager.edges(OURS), eager.edges(THEIRS)


@every_algorithm
def test_sums_and_maxima_are_those_of_the_factored_recursion(algorithm):
    total = compiled.log_partition(**TERMS)
    assert_close(algorithm(EDGES, LENGTHS, LOG), total, FLOAT64_RELATIVE, scale=total)
    best = compiled.top_k(**TERMS, k=3).scores.T
    assert_close(algorithm(EDGES, LENGTHS, MAX), best[:, 0], FLOAT64_RELATIVE, scale=total)
    assert_close(algorithm(EDGES, LENGTHS, KMaxSemiring(3)), best, FLOAT64_RELATIVE, scale=total[:, None])
    assert algorithm(EDGES, LENGTHS, BOOLEAN).tolist() == [1.0, 1.0]


@every_algorithm
def test_an_entropy_is_the_log_partition_less_the_mean_of_the_score(algorithm):
    total, entropy = algorithm(EDGES, LENGTHS, ENTROPY).unbind(1)
    again, score = algorithm(EDGES, LENGTHS, EXPECTATION, EDGES).unbind(1)
    assert_close(again, total, FLOAT64_RELATIVE, scale=total)
    assert_close(entropy, total - score, FLOAT64_RELATIVE, scale=total)
    assert (entropy > 0.0).all()


@every_algorithm
def test_a_cross_entropy_is_the_entropy_and_the_divergence_which_is_above_0_and_0_from_itself(algorithm):
    entropy = algorithm(EDGES, LENGTHS, ENTROPY)[:, 1]
    cross = algorithm(EDGES, LENGTHS, CROSS_ENTROPY, OTHERS)[:, 2]
    divergence = algorithm(EDGES, LENGTHS, KL_DIVERGENCE, OTHERS)[:, 2]
    assert_close(cross, entropy + divergence, FLOAT64_RELATIVE, scale=cross)
    assert (divergence > 0.0).all()
    itself = algorithm(EDGES, LENGTHS, KL_DIVERGENCE, EDGES)[:, 2]
    assert_close(itself, torch.zeros(2), FLOAT64_RELATIVE, scale=entropy)


@every_algorithm
def test_a_covariance_of_the_score_with_itself_is_how_fast_its_mean_grows(algorithm):
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    allowed = EDGES.isfinite()
    scaled = torch.where(allowed, scale * EDGES.masked_fill(~allowed, 0.0), -torch.inf)
    mean = algorithm(scaled, LENGTHS, EXPECTATION, EDGES)[:, 1]
    growth = torch.stack([torch.autograd.grad(each, scale, retain_graph=True)[0] for each in mean])
    _, first, second, variance = algorithm(EDGES, LENGTHS, COVARIANCE, EDGES, EDGES).unbind(1)
    assert_close(first, mean.detach(), FLOAT64_RELATIVE, scale=mean.detach())
    assert torch.equal(first, second)
    assert_close(variance, growth, FLOAT64_RELATIVE, scale=mean.detach())
    assert (variance > 0.0).all()


@every_algorithm
def test_what_holds_no_weight_of_its_own_counts_and_what_is_normalised_weighs_one(algorithm):
    short = EDGES[:, :200]
    free = torch.where(short > -torch.inf, 0.0, -torch.inf)
    count = algorithm(free, None, COUNT)
    assert_close(count.double().log(), algorithm(free, None, LOG), FLOAT64_RELATIVE, scale=count.log())
    each = algorithm(short, None, LOG)[:, None, None, None, None] / 200  # of a position
    durations = torch.arange(1, K + 1, dtype=torch.float64)[:, None, None]
    weight = algorithm(short - durations * each, None, REAL)
    assert_close(weight, torch.ones(2), FLOAT64_RELATIVE)
