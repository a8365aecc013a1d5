"""What must hold between answers at lengths that nothing can enumerate."""

import math

import pytest
import torch

from semicrf_nn import SemiCRF
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    assert_close,
    random_potentials,
    with_segment_scores,
)

T, K, C = 3_000, 12, 4
LENGTHS = [T, 1_700]


def terms_of(seed):
    return random_potentials(2, T, K, C, seed=seed, lengths=LENGTHS)


def model(potentials):
    return SemiCRF(**dict(potentials.map(torch.from_numpy).items()))


@pytest.fixture(scope="module")
def p():
    return model(terms_of(1))


@pytest.fixture(scope="module")
def q():
    return model(terms_of(2))


@pytest.fixture(scope="module")
def whole():
    """A score of its own for every segment."""
    return model(with_segment_scores(terms_of(3), seed=4))


@pytest.fixture
def either(request):
    """One of the models, by its name."""
    return request.getfixturevalue(request.param)


of_both_kinds = pytest.mark.parametrize("either", ["p", "whole"], indirect=True)


def test_an_entropy_is_the_log_partition_less_the_expected_score(p):
    assert_close(p.entropy(), p.log_partition - p.expected_score(), FLOAT64_RELATIVE, scale=p.log_partition)
    assert (p.entropy() > 0.0).all()
    assert (p.uniform().entropy() >= p.entropy()).all()


def test_a_cross_entropy_is_the_entropy_and_the_divergence(p, q):
    total = p.entropy() + p.kl_divergence(q)
    assert_close(p.cross_entropy(q), total, FLOAT64_RELATIVE, scale=total)
    assert_close(torch.distributions.kl_divergence(p, q), p.kl_divergence(q), 0.0)


def test_a_divergence_is_above_0_and_0_from_itself(p, q):
    assert (p.kl_divergence(q) > 0.0).all()
    assert_close(p.kl_divergence(p), torch.zeros(2), FLOAT64_RELATIVE, scale=p.log_partition)


def test_expected_counts_are_those_of_segments_however_they_are_counted(p):
    found = p.posteriors
    counts = p.expected_counts
    covered = torch.arange(1, K + 1, dtype=torch.float64)[:, None]
    scale = counts.max()
    assert_close(found.durations.sum(1), counts, FLOAT64_POSTERIOR, scale=scale)
    assert_close(found.ends.sum(1), counts, FLOAT64_POSTERIOR, scale=scale)
    assert_close(p.segment_posteriors.sum((1, 2)), counts, FLOAT64_POSTERIOR, scale=scale)
    lasting = (found.durations * covered).sum(1)
    assert_close(lasting, found.position.sum(1), FLOAT64_POSTERIOR, scale=lasting.max())
    first = found.begins[:, 0]
    assert_close(found.transitions.sum(1) + first, counts, FLOAT64_POSTERIOR, scale=scale)


CONSTRAINTS = {
    "labels": lambda y: {"labels": torch.where(torch.arange(T) % 7 == 0, y.to_labels(fill=-100), -100)},
    "allowed": lambda y: {"allowed": torch.nn.functional.one_hot(y.labels.clamp(min=0), C).bool() | (
        torch.arange(C) < 2
    )},
    "boundaries": lambda y: {"boundaries": torch.where(torch.arange(T) % 5 == 0, y.starts.long(), -100)},
    "segments": lambda y: {"segments": [listed[::3] for listed in y.to_list()]},
    "transitions": lambda y: {"forbidden_transitions": [(0, 1)]},
    "durations": lambda y: {"min_duration": 2, "max_duration": [3, 9, K, K]},
}  # fmt: skip


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_constraints_take_away_and_what_is_left_obeys_them_again(p, kind):
    held = CONSTRAINTS[kind](p.sample(generator=torch.Generator().manual_seed(3)))
    known = p.constrained(**held)
    assert (known.log_partition < p.log_partition).all()
    assert_close(known.constrained(**held).log_partition, known.log_partition, FLOAT64_RELATIVE)
    best = known.mode
    assert (best.scores <= p.mode.scores).all()
    assert_close(p.log_prob(best), known.log_prob(best) + known.log_partition - p.log_partition, 1e-9)


def test_decoders_are_each_the_best_by_their_own_measure(p):
    mode, by_position, by_segment = (p.decode(method) for method in ("viterbi", "position", "segment_f1"))
    right = p.posteriors.position
    positions = [right.gather(2, y.labels.clamp(min=0)[..., None]).sum((1, 2)) for y in (mode, by_position)]
    segments = [torch.stack([x.sum() for x in p.segment_probabilities(y)]) for y in (mode, by_segment)]
    assert (positions[1] >= positions[0]).all()
    assert (segments[1] >= segments[0]).all()
    assert (mode.scores >= torch.maximum(by_position.scores, by_segment.scores)).all()


def test_the_k_best_fall_and_begin_with_the_mode(p):
    best = p.top_k(5)
    assert (best.scores[1:] <= best.scores[:-1]).all()
    assert torch.equal(best[0].labels, p.mode.labels)
    assert_close(p.score(best), best.scores, FLOAT64_RELATIVE)
    assert len({str(listed) for y in best.unbind() for listed in y.to_list()}) == 10


def drawn(p):
    return p.sample(generator=torch.Generator().manual_seed(5))


def uniforms(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def test_the_log_prob_of_a_position_is_the_logarithm_of_its_posterior(p):
    position = p.posteriors.position
    least, label = position[:, : min(LENGTHS)].min(2)
    places = least.topk(8, largest=False).indices
    unknown = torch.full((2, T), -100)
    unlikely = unknown.scatter(1, places, label.gather(1, places))
    for labels in (drawn(p).to_labels(fill=-100), unlikely):
        known = labels != -100
        found = p.position_log_prob(labels)
        of_label = position.gather(2, labels.clamp(min=0)[..., None])[..., 0]
        assert_close(found[known].exp(), of_label[known], FLOAT64_POSTERIOR)
        assert not found[~known].any()
    first = places[:, :1]
    only = p.constrained(labels=unknown.scatter(1, first, label.gather(1, first)))
    assert (least < 1e-4).any(1).all()  # of such a posterior the logarithm would lose digits
    assert_close(found.gather(1, first)[:, 0], only.log_partition - p.log_partition, FLOAT64_RELATIVE)


def test_positions_are_less_unsure_than_of_labels_all_alike_and_not_at_all_of_known_ones(p):
    entropy = p.position_entropy()
    within = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    assert (entropy[within] > 0.0).all()
    assert (entropy <= math.log(C)).all()
    assert not entropy[~within].any()
    labels = torch.where(torch.arange(T) % 7 == 0, drawn(p).to_labels(fill=-100), -100)
    given = p.constrained(labels=labels).position_entropy()
    assert_close(given[labels != -100], torch.zeros(int((labels != -100).sum())), FLOAT64_POSTERIOR)
    assert (given[within & (labels == -100)] > 0.0).any()


@of_both_kinds
def test_costs_that_count_expect_the_counts(either):
    lasting = torch.arange(1, K + 1, dtype=torch.float64)[:, None]
    number = either.expected_counts.sum(1)
    for costs, expected in (
        ({"position": 1.0}, either.lengths.double()),
        ({"durations": lasting}, either.lengths.double()),
        ({"segments": lasting}, either.lengths.double()),
        ({"begins": 1.0}, number),
        ({"ends": 1.0}, number),
        ({"durations": 1.0}, number),
        ({"segments": 1.0}, number),
        ({"transitions": 1.0}, number - 1.0),
    ):
        assert_close(either.expected_cost(**costs), expected, FLOAT64_POSTERIOR, str(costs))


@of_both_kinds
def test_expected_costs_are_linear_in_the_costs(either):
    shapes = {name: counts.shape for name, counts in either.posteriors._asdict().items()}
    shapes["segments"] = (2, T, K, C)
    one, other = ({name: uniforms(*x) - shift for name, x in shapes.items()} for shift in (0.2, 0.9))
    other["position"] = other["position"].flip(1)
    both = {name: 2.0 * one[name] - 3.0 * other[name] for name in shapes}
    expected = 2.0 * either.expected_cost(**one) - 3.0 * either.expected_cost(**other)
    assert_close(either.expected_cost(**both), expected, FLOAT64_RELATIVE, scale=T)
    one_by_one = sum(either.expected_cost(**{name: cost}) for name, cost in one.items())
    assert_close(one_by_one, either.expected_cost(**one), FLOAT64_RELATIVE)


@of_both_kinds
def test_a_cost_of_1_for_each_error_expects_the_number_of_errors(either):
    y = drawn(either)
    labels, found = y.to_labels(fill=-100), either.posteriors
    right = torch.nn.functional.one_hot(labels.clamp(min=0), C) * (labels != -100)[..., None]
    wrong = either.lengths - (found.position * right).sum((1, 2))
    assert_close(either.expected_cost(position=1.0 - right.double()), wrong, FLOAT64_POSTERIOR)

    spurious = torch.ones(2, T, K, C)
    for b, segments in enumerate(y.to_list()):
        for start, end, label in segments:
            spurious[b, start, end - start - 1, label] = 0.0
    held = torch.stack([each.sum() for each in either.segment_probabilities(y)])
    assert_close(
        either.expected_cost(segments=spurious), either.expected_counts.sum(1) - held, FLOAT64_POSTERIOR
    )


@of_both_kinds
def test_costs_of_positions_are_costs_of_the_segments_that_cover_them(either):
    costs = uniforms(2, T, C)
    padded = torch.nn.functional.pad(costs, (0, 0, 0, K))
    of_segments = torch.stack([padded[:, d : d + T] for d in range(K)], dim=2).cumsum(2)
    expected = (either.posteriors.position * costs).sum((1, 2))
    assert_close(either.expected_cost(position=costs), expected, FLOAT64_RELATIVE)
    assert_close(either.expected_cost(segments=of_segments), expected, FLOAT64_POSTERIOR)
