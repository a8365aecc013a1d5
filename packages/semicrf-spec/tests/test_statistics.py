"""What semirings of several numbers say of a list of alternatives, by its definition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from semicrf_spec import (
    COVARIANCE,
    CROSS_ENTROPY,
    ENTROPY,
    EXPECTATION,
    KL_DIVERGENCE,
    LOG,
    MAX,
    SEMIRINGS,
    CheckpointSemiring,
    KMaxSemiring,
)
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close
from semicrf_spec.testing.strategies import scores

ALTERNATIVES = st.integers(1, 6)
MIXED = np.array([1.0, -math.inf, 0.5, -2.0, 0.5])
FINITE = np.array([3.0, -1.0, 0.5, 2.0, 0.0])
every_semiring = pytest.mark.parametrize("semiring", SEMIRINGS, ids=lambda semiring: semiring.name)


@st.composite
def lists(draw, *kinds):
    """Arrays of one length."""
    number = draw(ALTERNATIVES)
    return [draw(hnp.arrays(np.float64, number, elements=kind)) for kind in kinds]


def of_all(semiring, *given):
    """The element of all alternatives."""
    return semiring.sum(semiring.lift(*given), 0)


def distribution(x):
    """Probabilities, 0 where nothing is allowed."""
    weights = np.exp(x - x.max()) if x.max() > -math.inf else np.zeros_like(x)
    return weights / max(weights.sum(), 1.0)


def expected(p, values):
    """The mean of the values that have a probability, which may be infinite."""
    return math.fsum(a * b for a, b in zip(p, values, strict=True) if a > 0)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


@given(lists(scores(20.0)))
def test_the_entropy_of_alternatives_is_that_of_their_distribution(given):
    (x,) = given
    p = distribution(x)
    entropy = math.fsum(-a * math.log(a) for a in p if a > 0)
    assert_close(of_all(ENTROPY, x), [LOG.sum(x, 0), entropy], FLOAT64_RELATIVE)


@given(lists(scores(20.0), scores(20.0)))
def test_divergences_are_those_of_two_distributions(given):
    x, y = given
    p, q = distribution(x), distribution(y)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log(q)
    totals = [LOG.sum(x, 0), LOG.sum(y, 0)]
    assert_close(of_all(CROSS_ENTROPY, x, y), [*totals, expected(p, -log_q)], FLOAT64_RELATIVE)
    difference = np.where(p > 0, log_p, 0.0) - log_q
    assert_close(of_all(KL_DIVERGENCE, x, y), [*totals, expected(p, difference)], FLOAT64_RELATIVE)


@given(lists(scores(20.0), st.floats(-9.0, 9.0), st.floats(-9.0, 9.0)))
def test_expectations_and_covariances_are_those_of_the_distribution(given):
    x, v, w = given
    p, total = distribution(x), LOG.sum(x, 0)
    mean_v, mean_w = expected(p, v), expected(p, w)
    assert_close(of_all(EXPECTATION, x, v), [total, mean_v], FLOAT64_RELATIVE)
    covariance = expected(p, (v - mean_v) * (w - mean_w))
    assert_close(of_all(COVARIANCE, x, v, w), [total, mean_v, mean_w, covariance], FLOAT64_RELATIVE)


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@given(given=lists(scores()))
def test_the_k_best_are_the_first_of_all_in_order(k, given):
    (x,) = given
    best = sorted(x.tolist(), reverse=True)[:k]
    found = of_all(KMaxSemiring(k), x)
    assert found.tolist() == best + [-math.inf] * (k - len(best))
    assert found[0] == MAX.sum(x, 0)


def test_no_score_is_the_best_of_no_scores():
    with pytest.raises(ValueError, match="k is 0; expected at least 1"):
        KMaxSemiring(0)


def test_large_scores_take_no_digits_from_an_entropy_or_a_covariance():
    x = np.array([0.0, 1.0, 2.0])
    for semiring, *others in ((ENTROPY,), (COVARIANCE, x, x), (KL_DIVERGENCE, x[::-1])):
        near, far = (of_all(semiring, x + shift, *others)[-1] for shift in (0.0, 1e4))
        assert near == far
    apart = of_all(COVARIANCE, x, x + 1e8, x + 1e8)[-1]
    assert_close(apart, of_all(COVARIANCE, x, x, x)[-1], FLOAT64_RELATIVE)


@given(lists(scores(1e4)))
def test_the_divergence_from_equal_scores_is_exactly_0_and_the_cross_entropy_the_entropy(given):
    (x,) = given
    assert of_all(KL_DIVERGENCE, x, x)[-1] == 0.0
    assert of_all(CROSS_ENTROPY, x, x)[-1] == of_all(ENTROPY, x)[-1]


@pytest.mark.parametrize("semiring", [CROSS_ENTROPY, KL_DIVERGENCE], ids=lambda semiring: semiring.name)
def test_what_the_other_forbids_is_infinite_however_improbable_and_has_gradient_0(semiring):
    p, q = leaf([[0.0, -2e3], [0.0, -math.inf]]), leaf([[0.0, -math.inf]] * 2)
    divergence = semiring.sum(semiring.lift(p, q), 1)[:, -1]
    assert divergence.tolist() == [math.inf, 0.0]
    for gradient in torch.autograd.grad(divergence[0], [p, q]):
        assert not gradient.any()


@every_semiring
def test_where_nothing_is_allowed_gradients_are_0(semiring):
    given = [leaf([-math.inf, -math.inf]) for _ in range(semiring.arity)]
    found = of_all(semiring, *given)
    assert found.tolist() == (list(semiring.zero) if isinstance(semiring.zero, tuple) else semiring.zero)
    if found.requires_grad:
        for gradient in torch.autograd.grad(found.sum(), given, allow_unused=True, materialize_grads=True):
            assert gradient.tolist() == [0.0, 0.0]


@every_semiring
def test_a_checkpointed_semiring_has_the_bits_of_the_other_in_value_and_gradient(semiring):
    checkpointed = CheckpointSemiring(semiring)
    assert (checkpointed.zero, checkpointed.one) == (semiring.zero, semiring.one)
    found = []
    for each in (semiring, checkpointed):
        given = [leaf(MIXED), leaf(FINITE), leaf(FINITE[::-1].copy())][: semiring.arity]
        lifted = each.lift(*given)
        total = each.dot(lifted[:, None], lifted[None], 0)
        again = each.add(each.mul(total, total), each.sum(lifted, 0))
        wanted = again[again.isfinite()].sum()
        gradients = torch.autograd.grad(wanted, given) if wanted.requires_grad else ()
        found.append((again, *gradients))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def kept_bytes(call):
    """Bytes that autograd keeps of a call for its backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.nbytes) or x, lambda x: x):
        call()
    return sum(kept)


@pytest.mark.parametrize(
    "semiring", [s for s in SEMIRINGS if s.name not in ("count", "boolean")], ids=lambda s: s.name
)
def test_autograd_keeps_no_product_of_a_checkpointed_dot(semiring):
    given = [torch.zeros(32, 32, dtype=torch.float64, requires_grad=True) for _ in range(semiring.arity)]
    lifted = semiring.lift(*given)
    products = lifted.nbytes * 32
    arguments = (lifted[:, :, None], lifted[None], 1)
    assert kept_bytes(lambda: semiring.dot(*arguments)) >= 32 * 32 * 8
    assert kept_bytes(lambda: CheckpointSemiring(semiring).dot(*arguments)) < products / 8


def test_there_is_nothing_to_checkpoint_in_numpy():
    x = MIXED[:, None] + MIXED
    assert np.array_equal(CheckpointSemiring(LOG).dot(x, x, 0), LOG.dot(x, x, 0))
