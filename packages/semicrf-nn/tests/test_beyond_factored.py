"""Scores of whole segments, and transitions that depend on durations: every question, by enumeration."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from semicrf_nn import SemiCRF
from semicrf_reference import eager, scan
from semicrf_spec import ENTROPY, enumerate_batch, segments_to_labels
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    assert_close,
    case,
    edge_case_names,
    random_potentials,
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


LENGTHS = torch.tensor([150, 0, 97])
T, K, C = 150, 6, 3
LARGE = random_potentials(3, T, K, C, seed=6, lengths=LENGTHS.tolist()).map(torch.from_numpy)
BEYOND = {"duration_transition": (K, C, C), "segment_transition": (3, T, K, C, C)}
of_either_kind = pytest.mark.parametrize("shape", BEYOND.values(), ids=BEYOND)


def with_transition(transition):
    return SemiCRF(**dict(LARGE.items()) | {"transition": transition}, backend="eager")


@of_either_kind
def test_transitions_that_are_the_same_for_every_duration_are_those_of_none(shape):
    p, plain = with_transition(LARGE.transition.expand(shape)), with_transition(LARGE.transition)
    assert_close(p.log_partition, plain.log_partition, FLOAT64_RELATIVE)
    assert_close(p.entropy(), plain.entropy(), FLOAT64_RELATIVE, scale=plain.log_partition)
    assert_close(p.mode.scores, plain.mode.scores, FLOAT64_RELATIVE)
    assert p.mode.to_list() == plain.mode.to_list()
    for name, counts, expected in zip(plain.posteriors._fields, p.posteriors, plain.posteriors, strict=True):
        summed = counts.flatten(1, -3).sum(1) if name == "transitions" else counts
        assert_close(summed, expected, FLOAT64_POSTERIOR, name, scale=T)


@of_either_kind
def test_transitions_by_duration_keep_the_identities_of_large_problems(shape):
    p = with_transition(torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64))
    size, posteriors = p.log_partition, p.posteriors
    covered = (torch.arange(T) < LENGTHS[:, None]).double()
    assert_close(posteriors.position.sum(-1), covered, FLOAT64_POSTERIOR)
    lasting = (posteriors.durations.sum(-1) * torch.arange(1, K + 1)).sum(1)
    assert_close(lasting, LENGTHS.double(), FLOAT64_POSTERIOR)
    after_another = posteriors.transitions.flatten(1).sum(1)
    assert_close(after_another, p.expected_counts.sum(1) - (LENGTHS > 0).double(), FLOAT64_POSTERIOR)
    assert_close(p.entropy(), size - p.expected_score(), FLOAT64_RELATIVE, scale=size)
    by_semiring = scan.linear_scan_vectorized(eager.edges(p.potentials), LENGTHS, ENTROPY)
    assert_close(size, by_semiring[:, 0], FLOAT64_RELATIVE)
    assert_close(p.entropy(), by_semiring[:, 1], FLOAT64_RELATIVE, scale=size)
    best, other = p.mode, p.sample(generator=torch.Generator().manual_seed(8))
    assert (best.scores >= other.scores).all()
    for y in (best, other):
        assert_close(p.score(y), y.scores, FLOAT64_RELATIVE)
