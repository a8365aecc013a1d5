"""What must hold between answers at lengths that nothing can enumerate."""

import pytest
import torch

from semicrf_nn import SemiCRF
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close, random_potentials

T, K, C = 3_000, 12, 4
LENGTHS = [T, 1_700]


def model(seed):
    terms = random_potentials(2, T, K, C, seed=seed, lengths=LENGTHS).map(torch.from_numpy)
    return SemiCRF(**dict(terms.items()))


@pytest.fixture(scope="module")
def p():
    return model(1)


@pytest.fixture(scope="module")
def q():
    return model(2)


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
