"""Whole segments: their scores, their probabilities, and answers that count them."""

import numpy as np
import pytest
import torch

from semicrf_nn import SemiCRF
from semicrf_spec import Segment, enumerate_batch
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    assert_close,
    case,
    case_names,
    random_potentials,
)

BACKENDS = ["eager", "compiled"]
CASES = [(name, k) for name in case_names() for k in (1, 3)]


def distribution(potentials, backend=None):
    return SemiCRF(**dict(potentials.map(torch.from_numpy).items()), backend=backend)


@pytest.fixture(params=CASES, ids=lambda given: f"{given[0]}-{given[1]}")
def named(request):
    return case(*request.param)


def probabilities(listed):
    """Of every segment that lies in some segmentation of the list, the probability of those that hold it."""
    found = {}
    for p, y in zip(listed.probabilities, listed.all, strict=True):
        for segment in y:
            found[segment] = found.get(segment, 0.0) + p
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_posterior_of_a_segment_is_the_probability_of_all_segmentations_that_hold_it(named, backend):
    p = distribution(named, backend)
    found = p.segment_posteriors
    for b, listed in enumerate(enumerate_batch(named)):
        expected = np.zeros(found.shape[1:])
        for (start, end, label), probability in probabilities(listed).items():
            expected[start, end - start - 1, label] = probability
        assert_close(found[b], expected, FLOAT64_POSTERIOR)


def test_probabilities_of_given_segments_are_in_their_order_whatever_they_are():
    potentials = random_potentials(2, 5, 3, 2, seed=30, lengths=[5, 3])
    given = [[(2, 4, 1), (0, 3, 0), (0, 5, 1), (2, 4, -100)], []]
    first, second = distribution(potentials).segment_probabilities(given)
    expected = probabilities(enumerate_batch(potentials)[0])
    either = expected[Segment(2, 4, 0)] + expected[Segment(2, 4, 1)]
    wanted = [expected[Segment(2, 4, 1)], expected[Segment(0, 3, 0)], 0.0, either]
    assert_close(first, wanted, FLOAT64_POSTERIOR)
    assert second.shape == (0,)


def test_each_segment_of_an_answer_has_a_probability_of_its_own():
    p = distribution(random_potentials(3, 40, 6, 3, seed=31, lengths=[40, 0, 17]))
    best = p.mode
    sure = p.segment_probabilities(best)
    assert [len(each) for each in sure] == best.num_segments.tolist()
    begun = p.posteriors.begins
    for b, segments in enumerate(best.to_list()):
        for segment, probability in zip(segments, sure[b], strict=True):
            assert probability <= begun[b, segment.start, segment.label] + FLOAT64_POSTERIOR


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([[(0, 2, 0)]], r"1 lists of segments given; expected B = 2"),
        ([[], [(2, 4, 0)]], r"sequence 1, segment 0 \(2, 4, 0\) does not fit: .*length = 3"),
        ([[(0, 2, 2)], []], r"sequence 0, segment 0 \(0, 2, 2\) has a label out of range"),
        ([[(0, 2)], []], r"sequence 0, segment 0 is \(0, 2\); expected three integers"),
    ],
)
def test_a_segment_that_cannot_be_asked_for_is_named(segments, message):
    p = distribution(random_potentials(2, 5, 3, 2, seed=30, lengths=[5, 3]))
    with pytest.raises(ValueError, match=message):
        p.segment_probabilities(segments)


@pytest.mark.parametrize("backend", BACKENDS)
def test_decoding_by_segments_has_the_most_expected_right_segments_of_all(named, backend):
    p = distribution(named, backend)
    found = p.decode("segment_f1")
    for b, (listed, segments) in enumerate(zip(enumerate_batch(named), found.to_list(), strict=True)):
        right = probabilities(listed)
        allowed = [y for y, score in zip(listed.all, listed.scores, strict=True) if score > -np.inf]
        best = max((sum(right[segment] for segment in y) for y in allowed), default=0.0)
        assert_close(sum(right[segment] for segment in segments), best, FLOAT64_POSTERIOR)
        expected = dict(zip(listed.all, listed.scores, strict=True))[tuple(segments)] if allowed else -np.inf
        assert_close(found.scores[b], expected, FLOAT64_RELATIVE)


def test_decoding_by_segments_differs_from_the_mode_where_more_are_right():
    # the mode is one segment of 3; its first and last thirds are more often right in pieces
    duration = torch.zeros(1, 3, 3, 1)
    duration[0, 0, 2], duration[0, 0, 1], duration[0, 1, 0] = 1.2, 0.9, 0.9
    p = SemiCRF(torch.zeros(1, 3, 1), torch.zeros(1, 1), duration)
    assert p.mode.to_list() != p.decode("segment_f1").to_list()


def test_the_expected_cost_of_segments_is_that_of_the_list_of_all(named):
    p = distribution(named)
    rng = np.random.default_rng(2)
    batch, time, classes = named.shape
    costs = rng.standard_normal((batch, time, named.max_duration, classes))
    found = p.expected_cost(segments=torch.from_numpy(costs), ends=torch.tensor(0.5))
    for b, listed in enumerate(enumerate_batch(named)):
        each = [
            sum(costs[b, start, end - start - 1, label] + 0.5 for start, end, label in y) for y in listed.all
        ]
        assert_close(found[b], listed.probabilities @ np.array(each), FLOAT64_POSTERIOR, scale=10.0)


def test_a_risk_of_segments_has_the_gradients_of_the_oracle():
    potentials = random_potentials(2, 7, 3, 2, seed=32, lengths=[7, 5])
    costs = torch.randn(2, 7, 3, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = {}
    for backend in BACKENDS:
        terms = {n: torch.from_numpy(x) for n, x in potentials.items()}
        wanted = [x.requires_grad_() for x in terms.values() if x.is_floating_point()]
        risk = SemiCRF(**terms, backend=backend).expected_cost(segments=costs)
        found[backend] = torch.autograd.grad(risk.sum(), wanted)
    for ours, theirs in zip(found["compiled"], found["eager"], strict=True):
        assert_close(ours, theirs, FLOAT64_POSTERIOR)


def test_scores_of_whole_segments_are_conditions_divergences_and_samples_like_any_other():
    potentials = random_potentials(2, 6, 3, 2, seed=33, lengths=[6, 4])
    scores = torch.randn(2, 6, 3, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    terms = dict(potentials.map(torch.from_numpy).items())
    p = SemiCRF(**{**terms, "duration": terms["duration"] + scores})
    q = SemiCRF(**terms)
    assert (p.kl_divergence(q) > 0).all()
    assert (q.kl_divergence(p) > 0).all()
    assert_close(p.kl_divergence(p), torch.zeros(2), FLOAT64_RELATIVE)
    assert_close(p.cross_entropy(q) - p.entropy(), p.kl_divergence(q), FLOAT64_RELATIVE)
    known = p.constrained(segments=[[(1, 3, 0)], []], max_duration=2)
    assert known.sample(5).to_list()[0][0].count(Segment(1, 3, 0)) == 1
    assert (known.log_partition <= p.log_partition).all()
    assert_close(p.entropy() + p.expected_score(), p.log_partition, FLOAT64_RELATIVE)


def test_several_segmentations_at_once_are_asked_for_one_by_one():
    p = distribution(random_potentials(2, 5, 3, 2, seed=1))
    best = p.top_k(2)
    for refused in (lambda: p.segment_probabilities(best), lambda: p.constrained(segments=best)):
        with pytest.raises(ValueError, match=r"shape \(2, 2, 5\); expected \(B, T\), one .* segments\[i\]"):
            refused()
    assert len(p.segment_probabilities(best[1])) == 2


@pytest.mark.parametrize("name", ["duration_transition", "segment_transition"])
def test_transitions_that_depend_on_durations_are_served_by_the_oracle_and_refused_by_others(name):
    potentials = case(name)
    p = distribution(potentials, "eager")
    listed = enumerate_batch(potentials)
    assert_close(p.log_partition, [e.log_partition for e in listed], FLOAT64_RELATIVE)
    assert_close(p.log_prob(p.mode), p.mode.scores - p.log_partition, FLOAT64_RELATIVE)
    best = p.top_k(3)
    for b, e in enumerate(listed):
        expected = [score for score, _ in e.top_k(3)]
        assert_close(best.scores[: len(expected), b], expected, FLOAT64_RELATIVE)
    drawn = p.sample(3, generator=torch.Generator().manual_seed(0))
    assert (p.log_prob(drawn) > -torch.inf).all()
    with pytest.raises(ValueError, match=r"transition has shape .* backend='compiled' does not serve: use"):
        _ = distribution(potentials).log_partition
