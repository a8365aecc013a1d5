"""Edge tensors: the same sums where the factored potentials say it too, and where they cannot."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from semicrf_reference import eager
from semicrf_reference.scan import linear_scan
from semicrf_spec import ENTROPY, LOG, MAX, SCALARS, enumerate_batch, segmentations
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, case, random_potentials
from semicrf_spec.testing.strategies import small_potentials

REAL_LIMIT = 600.0
"""Largest score whose exponential, and those of its parts, float64 holds."""


def assert_edges_agree(potentials, semiring):
    given = potentials.map(torch.from_numpy)
    lengths = given.lengths
    factored = eager.partition(given, semiring)
    over_edges = linear_scan(eager.edges(given), lengths, semiring)
    assert_close(over_edges, factored, FLOAT64_RELATIVE, semiring.name)


def exponentiable(potentials):
    """The potentials, scaled down if the weights of their segmentations overflow."""
    scores = np.concatenate([e.scores for e in enumerate_batch(potentials)])
    largest = np.abs(scores[np.isfinite(scores)]).max(initial=REAL_LIMIT)
    return potentials.map(lambda term: term * (REAL_LIMIT / largest) if term.dtype == np.float64 else term)


@pytest.mark.parametrize("semiring", SCALARS, ids=lambda semiring: semiring.name)
def test_edges_sum_to_what_the_factored_potentials_sum_to(named, semiring):
    assert_edges_agree(exponentiable(named) if semiring.name == "real" else named, semiring)


@settings(max_examples=60)
@given(small_potentials(largest=20.0))
def test_edges_of_any_small_problem_sum_alike_in_every_semiring_of_numbers(potentials):
    for semiring in SCALARS:
        assert_edges_agree(potentials, semiring)


def test_the_factored_recursion_names_what_sums_elements_of_several_numbers():
    potentials = random_potentials(1, 5, 3, 2).map(torch.from_numpy)
    with pytest.raises(TypeError, match=r"'entropy' are several numbers.*semicrf_reference\.scan sums them"):
        eager.partition(potentials, ENTROPY)


def test_an_edge_scores_one_segment_after_one_label():
    potentials = random_potentials(1, 5, 3, 2, seed=30)
    found = eager.edges(potentials.map(torch.from_numpy))
    assert found.shape == (1, 5, 3, 2, 2)
    p = potentials
    inner = p.transition[1, 0] + p.begin[0, 1, 0] + p.emissions[0, 1:3, 0].sum() + p.duration[1, 0]
    assert_close(found[0, 1, 1, 1, 0], inner + p.finish[0, 2, 0], FLOAT64_RELATIVE, "inner segment")
    last = p.transition[0, 1] + p.begin[0, 4, 1] + p.emissions[0, 4, 1] + p.duration[0, 1] + p.end[1]
    assert_close(found[0, 4, 0, 0, 1], last + p.finish[0, 4, 1], FLOAT64_RELATIVE, "last segment")
    first = p.start[1] + p.begin[0, 0, 1] + p.emissions[0, 0, 1] + p.duration[0, 1] + p.finish[0, 0, 1]
    assert_close(found[0, 0, 0, :, 1], [first, first], FLOAT64_RELATIVE, "first segment, after any label")


def test_a_segment_that_would_pass_the_length_is_forbidden():
    found = eager.edges(random_potentials(2, 4, 3, 2, lengths=[4, 2]).map(torch.from_numpy))
    for b, length in enumerate((4, 2)):
        for s in range(4):
            for d in range(1, 4):
                assert torch.isfinite(found[b, s, d - 1]).all() == (s + d <= length)


def test_transitions_that_depend_on_the_duration_are_summed_exactly():
    generator = torch.Generator().manual_seed(0)
    edges = torch.randn(1, 5, 3, 2, 2, generator=generator, dtype=torch.float64)

    def score(segments):
        first = segments[0]
        total = edges[0, 0, first.duration - 1, 0, first.label].item()
        for left, right in pairwise(segments):
            total += edges[0, right.start, right.duration - 1, left.label, right.label].item()
        return total

    scores = [score(segments) for segments in segmentations(5, 2, 3)]
    expected = math.log(math.fsum(map(math.exp, scores)))
    assert_close(linear_scan(edges), [expected], FLOAT64_RELATIVE, "log")
    best = linear_scan(edges, semiring=MAX)
    assert_close(best, [max(scores)], FLOAT64_RELATIVE, "max")


def test_missing_lengths_are_the_whole_of_the_edges():
    edges = eager.edges(random_potentials(2, 4, 3, 2).map(torch.from_numpy))
    assert torch.equal(linear_scan(edges), linear_scan(edges, torch.tensor([4, 4])))


def test_what_is_past_the_lengths_reaches_no_edge():
    edges = eager.edges(case("poisoned_padding").map(torch.from_numpy))
    assert not torch.isnan(edges).any()
    assert not torch.isposinf(edges).any()


def test_gradients_of_the_edges_are_the_posteriors_of_their_segments():
    potentials = random_potentials(2, 5, 3, 2, lengths=[5, 3], seed=31).map(torch.from_numpy)
    edges = eager.edges(potentials).requires_grad_()
    (grad,) = torch.autograd.grad(linear_scan(edges, potentials.lengths, LOG).sum(), edges)
    found = eager.posteriors(**dict(potentials.items()))
    assert_close(grad.sum((1, 3)), found.durations, FLOAT64_RELATIVE, "durations")
    assert_close(grad.sum((2, 3)), found.begins, FLOAT64_RELATIVE, "begins")
    assert_close(grad[:, 1:].sum((1, 2)), found.transitions, FLOAT64_RELATIVE, "transitions")


def test_edges_of_an_empty_sequence_sum_to_one_segmentation():
    potentials = random_potentials(2, 0, 3, 2).map(torch.from_numpy)
    for semiring in SCALARS:
        found = linear_scan(eager.edges(potentials), semiring=semiring)
        assert found.tolist() == [semiring.one] * 2
