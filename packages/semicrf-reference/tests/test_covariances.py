"""The second-order scan: covariances as the definition has them, and gradients as autograd has them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from semicrf_reference import compiled, eager
from semicrf_reference.compiled import kernels
from semicrf_spec import Potentials
from semicrf_spec.operators.contracts import statistics_shapes
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close, random_potentials
from semicrf_spec.testing.enumerated import STATISTICS, answer
from semicrf_spec.testing.strategies import small_potentials


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


def terms_of(potentials):
    return potentials.map(torch.from_numpy).terms()


def random_values(potentials, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = statistics_shapes(terms_of(potentials), True)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def test_covariances_are_those_of_the_list_of_all_segmentations(named):
    given = (*terms_of(named), *random_values(named), True)
    expected = answer("covariances", *given)
    for name, found, wanted in zip(STATISTICS, torch.ops.semicrf.covariances(*given), expected, strict=True):
        assert_close(found, wanted, FLOAT64_POSTERIOR, name)


def gradients(backend, function, terms):
    """Of a sum of answers in which no two entries weigh the same."""
    terms = {n: t.clone().requires_grad_() if t.is_floating_point() else t for n, t in terms.items()}
    answers = getattr(backend, function)(**terms)
    answers = answers if isinstance(answers, tuple) else (answers,)
    total = sum((x * torch.arange(1.0, 1.0 + x.numel()).reshape(x.shape).sin()).sum() for x in answers)
    wanted = {n: t for n, t in terms.items() if t.requires_grad}
    found = torch.autograd.grad(total, list(wanted.values()), materialize_grads=True)
    return dict(zip(wanted, found, strict=True))


def assert_gradients_agree(function, terms):
    found, expected = (gradients(backend, function, terms) for backend in (compiled, eager))
    for name in expected:
        scale = expected[name].abs().max().item() if expected[name].numel() else 1.0
        assert_close(found[name], expected[name], FLOAT64_POSTERIOR, name, scale=scale)


@pytest.mark.parametrize("function", ["entropy", "posteriors"])
def test_gradients_of_expectations_equal_the_oracles(named, function):
    terms = {n: t.double() if t.is_floating_point() else t for n, t in tensors(named).items()}
    assert_gradients_agree(function, terms)


@settings(max_examples=60)
@given(small_potentials(max_time=6))
def test_gradients_of_the_entropy_of_any_small_problem_equal_the_oracles(potentials):
    assert_gradients_agree("entropy", tensors(potentials))


@settings(max_examples=40)
@given(small_potentials(max_time=6, largest=1e4))
def test_gradients_of_posteriors_of_any_small_problem_of_extreme_scores_equal_the_oracles(potentials):
    assert_gradients_agree("posteriors", tensors(potentials))


@pytest.mark.parametrize("size", [(3, 70, 9, 5), (2, 40, 60, 3), (2, 600, 20, 2), (3, 50, 1, 4)])
def test_gradients_of_larger_problems_equal_the_oracles(size):
    terms = tensors(random_potentials(*size, seed=5, lengths=[size[1], *range(7, 7 * size[0], 7)]))
    assert_gradients_agree("entropy", terms)
    assert_gradients_agree("posteriors", terms)


FLOAT32_MIN = float(np.finfo(np.float32).min)


@pytest.mark.parametrize("mask", [-1e4, -1e9, -1e30, FLOAT32_MIN])
@pytest.mark.parametrize("name", ["duration", "finish", "begin", "transition", "emissions", "start"])
def test_masks_that_can_be_avoided_may_be_as_low_as_one_likes(name, mask):
    potentials = random_potentials(2, 14, 7, 3, seed=14)
    terms = tensors(potentials)
    place = {
        "duration": slice(0, 2),  # a minimum duration of 3
        "finish": (slice(None), slice(4, 7)),
        "begin": (slice(None), slice(4, 7)),
        "transition": (slice(None), slice(1, None)),
        "emissions": (slice(None), slice(3, 9), slice(1, None)),
        "start": slice(0, 2),
    }
    terms[name][place[name]] = mask
    exactly = {**terms, name: terms[name].clone()}
    exactly[name][place[name]] = -math.inf
    for function in ("entropy", "posteriors"):
        found, expected = gradients(compiled, function, terms), gradients(eager, function, exactly)
        for term in expected:
            assert_close(found[term], expected[term], FLOAT64_POSTERIOR, term)


@pytest.mark.parametrize("what", ["cross_entropy", "kl_divergence"])
def test_a_divergence_trains_both_models(what):
    ours, theirs = (tensors(random_potentials(2, 30, 5, 3, seed=seed)) for seed in (6, 7))

    def slopes(backend):
        given = [{n: t.clone().requires_grad_() for n, t in model.items()} for model in (ours, theirs)]
        divergence = getattr(backend, what)(**given[0], other=Potentials(**given[1]))
        return torch.autograd.grad(divergence.sum(), [term for model in given for term in model.values()])

    for found, expected in zip(slopes(compiled), slopes(eager), strict=True):
        assert_close(found, expected, FLOAT64_POSTERIOR, scale=expected.abs().max().item())


def test_nothing_drifts_over_a_hundred_thousand_positions():
    """Every position has one label, so its covariances with anything sum to 0; so do those of both edges."""
    potentials = random_potentials(1, 100_000, 12, 3, seed=8, optional=False)
    values = random_values(potentials)
    position, begins, ends, transitions, durations, first, last = kernels.covariances(
        *terms_of(potentials), *values, True
    )
    assert_close(position.sum(-1), torch.zeros(1, 100_000), FLOAT64_POSTERIOR)
    for edge in (first, last):
        assert_close(edge.sum(-1), torch.zeros(1), FLOAT64_POSTERIOR)
    segments = begins.sum()
    scale = begins.abs().sum().item()
    for counts in (ends.sum(), transitions.sum(), durations.sum()):
        assert_close(counts, segments, FLOAT64_RELATIVE, scale=scale)


def test_the_variance_of_the_score_is_the_slope_of_the_expected_score():
    """With scores divided by a temperature, `d E[score] / d (1 / temperature)` is their variance."""
    terms = tensors(random_potentials(2, 2000, 30, 4, seed=9, optional=False))
    inverse = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(
        compiled.log_partition(**{n: t * inverse for n, t in terms.items()}).sum(), inverse, create_graph=True
    )
    (variance,) = torch.autograd.grad(slope, inverse)
    step = 1e-4
    ahead, behind = (
        compiled.log_partition(**{n: t * (1.0 + h) for n, t in terms.items()}).sum() for h in (step, -step)
    )
    middle = compiled.log_partition(**terms).sum()
    assert_close(variance, (ahead - 2.0 * middle + behind) / step**2, 1e-4, scale=variance.item())


def test_threads_and_neighbours_change_no_bit(two_threads):
    potentials = random_potentials(9, 80, 12, 5, seed=10, lengths=[80, 3, 0, 50, 51, 80, 1, 2, 79])
    values = random_values(potentials)
    terms = terms_of(potentials)
    found = kernels.covariances(*terms, *values, True)
    torch.set_num_threads(1)
    for a, b in zip(found, kernels.covariances(*terms, *values, True), strict=True):
        assert torch.equal(a, b)


def test_without_boundaries_the_rest_has_the_same_bits():
    potentials = random_potentials(2, 9, 4, 3, seed=11)
    values = random_values(potentials)
    given = (*terms_of(potentials), *values)
    everything, less = (kernels.covariances(*given, boundaries) for boundaries in (True, False))
    for i, (a, b) in enumerate(zip(everything, less, strict=True)):
        if i in (1, 2):
            assert b.shape == (2, 0, 3)
        else:
            assert torch.equal(a, b)


def test_a_value_that_is_nan_makes_its_sequence_nan_and_no_other():
    potentials = random_potentials(3, 5, 2, 2, seed=12)
    values = random_values(potentials)
    clean = kernels.covariances(*terms_of(potentials), *values, True)
    values[0][1, 2, 0] = math.nan
    found = kernels.covariances(*terms_of(potentials), *values, True)
    for counts, expected in zip(found, clean, strict=True):
        assert counts[1].isnan().all()
        assert torch.equal(counts[[0, 2]], expected[[0, 2]])


def test_values_of_what_is_never_used_may_be_anything():
    potentials = random_potentials(2, 4, 3, 2, seed=15, lengths=[4, 2])
    by_position = np.random.default_rng(0).standard_normal((2, 4, 2, 2))
    terms = (*map(torch.from_numpy, (potentials.emissions, by_position)), *terms_of(potentials)[2:])
    values = random_values(Potentials(*terms).map(torch.Tensor.numpy))
    clean = kernels.covariances(*terms, *values, True)
    for i in range(3):
        values[i][1, 2:] = math.nan
    values[3][:, 0] = math.inf
    values[3][1, 2:] = math.nan
    for counts, expected in zip(kernels.covariances(*terms, *values, True), clean, strict=True):
        assert torch.equal(counts, expected)


@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_empty_problems_have_gradients(batch, time):
    assert_gradients_agree("entropy", tensors(random_potentials(batch, time, 3, 2)))
