"""Scores of whole segments, and transitions that depend on durations: every question, by enumeration."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from semicrf_nn import SemiCRF
from semicrf_spec import enumerate_batch, segments_to_labels
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    assert_close,
    case,
    edge_case_names,
)

SERVED = [(name, "eager") for name in edge_case_names()]
SERVED += [("segment_duration", "eager"), ("segment_duration", "compiled")]


@pytest.fixture(params=SERVED, ids=" ".join)
def served(request):
    return request.param


@pytest.fixture
def potentials(served):
    return case(served[0])


@pytest.fixture
def distribution(served):
    """What makes a distribution of potentials on the backend that is to serve them."""
    return lambda given: SemiCRF(**dict(given.map(torch.from_numpy).items()), backend=served[1])


def other_than(potentials, seed=5):
    """The same segmentations with other scores."""
    generator = np.random.default_rng(seed)
    shape = potentials.emissions.shape
    return potentials.map(lambda a: 0.2 * (a + generator.normal(size=shape)) if a.shape == shape else a)


def allowed_of(listed):
    """What is allowed, with its score."""
    return [(y, s) for y, s in zip(listed.all, listed.scores, strict=True) if s > -np.inf]


def normalised(scores):
    return np.exp(np.array(scores) - np.logaddexp.reduce(scores))


def test_entropies_and_divergences_are_those_of_the_list_of_all(potentials, distribution):
    p, q = distribution(potentials), distribution(other_than(potentials))
    lists = zip(enumerate_batch(potentials), enumerate_batch(other_than(potentials)), strict=True)
    entropy, cross, divergence = p.entropy(), p.cross_entropy(q), p.kl_divergence(q)
    for b, (ours, theirs) in enumerate(lists):
        pairs = [(s, t) for s, t in zip(ours.scores, theirs.scores, strict=True) if s > -np.inf]
        weights = normalised([s for s, _ in pairs])
        surprise = -np.log(weights), -np.log(normalised([t for _, t in pairs]))
        assert_close(entropy[b], weights @ surprise[0], FLOAT64_RELATIVE)
        assert_close(cross[b], weights @ surprise[1], FLOAT64_RELATIVE)
        assert_close(divergence[b], weights @ (surprise[1] - surprise[0]), FLOAT64_RELATIVE)


@pytest.mark.parametrize("others", [0, 1, 2, 6])
@pytest.mark.parametrize("method", ["viterbi", "position", "segment_f1"])
def test_every_decoder_has_the_most_of_what_it_is_for(potentials, distribution, method, others):
    potentials = other_than(potentials, others) if others else potentials
    decoded = distribution(potentials).decode(method).to_list()
    for b, listed in enumerate(enumerate_batch(potentials)):
        allowed = allowed_of(listed)
        weights = normalised([score for _, score in allowed])
        expected = Counter()  # of each right label, and of each right segment
        for (y, _), weight in zip(allowed, weights, strict=True):
            for right in [*enumerate(segments_to_labels(y)), *y]:
                expected[right] += weight
        gains = {
            "viterbi": lambda y, scores=dict(allowed): scores[y],
            "position": lambda y, p=expected: sum(p[right] for right in enumerate(segments_to_labels(y))),
            "segment_f1": lambda y, p=expected: sum(p[segment] for segment in y),
        }
        gain = gains[method]
        assert_close(gain(tuple(decoded[b])), max(gain(y) for y, _ in allowed), FLOAT64_POSTERIOR)


def test_constraints_leave_what_satisfies_them(potentials, distribution):
    p = distribution(potentials).constrained(
        max_duration=2, allowed=first_label_anywhere_but_second(potentials)
    )
    for b, listed in enumerate(enumerate_batch(potentials)):
        left = [
            (y, score)
            for y, score in allowed_of(listed)
            if all(s.duration <= 2 for s in y) and segments_to_labels(y)[1:2] != [0]
        ]
        assert left
        scores = [score for _, score in left]
        assert_close(p.log_partition[b], np.logaddexp.reduce(scores), FLOAT64_RELATIVE)
        assert p.mode.to_list()[b] == list(max(left, key=lambda pair: pair[1])[0])


def first_label_anywhere_but_second(potentials):
    """Label 0 may be at any position but the second."""
    allowed = torch.ones(potentials.emissions.shape, dtype=torch.bool)
    allowed[:, 1, 0] = False
    return allowed


def test_an_expected_cost_is_that_of_the_list_of_all(potentials, distribution):
    p = distribution(potentials)
    cost = torch.rand(potentials.emissions.shape, generator=torch.Generator().manual_seed(0)).double()
    found = p.expected_cost(position=cost, begins=cost)
    for b, listed in enumerate(enumerate_batch(potentials)):
        expected = 0.0
        for probability, y in zip(listed.probabilities, listed.all, strict=True):
            counts = listed.counts(y)
            expected += probability * np.vdot(counts["position"] + counts["begins"], cost[b].numpy())
        assert_close(found[b], expected, FLOAT64_POSTERIOR)


def test_a_loss_of_entropies_and_costs_has_the_gradients_of_finite_differences(potentials, served):
    given = dict(potentials.map(torch.from_numpy).items())
    cost = torch.rand(potentials.emissions.shape, generator=torch.Generator().manual_seed(0)).double()

    def answers(emissions, transition):
        p = SemiCRF(**given | {"emissions": emissions, "transition": transition}, backend=served[1])
        return p.log_partition, p.entropy(), p.expected_cost(position=cost)

    # NaN stands where no segment fits; it is never read, but nothing near it can be differed
    leaves = [given[name].double().nan_to_num().requires_grad_() for name in ("emissions", "transition")]
    assert gradcheck(answers, leaves)
