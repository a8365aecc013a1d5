from dataclasses import replace

import numpy as np
import pytest
import torch

from semicrf_nn import Segmentation, SemiCRF
from semicrf_spec import Potentials, enumerate_batch, segments_to_labels
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    MAX_DURATIONS,
    PROBABILITY_SUM,
    assert_close,
    case,
    case_names,
    probability_bound,
    random_potentials,
)

ALL_CASES = [(name, k) for name in case_names() for k in MAX_DURATIONS]
BACKENDS = ["eager", "compiled"]


def distribution(potentials: Potentials, backend=None) -> SemiCRF:
    return SemiCRF(**dict(potentials.map(torch.from_numpy).items()), backend=backend)


@pytest.fixture(params=ALL_CASES, ids=lambda given: f"{given[0]}-{given[1]}")
def named(request):
    return case(*request.param)


def test_probabilities_of_all_segmentations_sum_to_one(named):
    d = distribution(named)
    for b, listed in enumerate(enumerate_batch(named)):
        copies = SemiCRF(**{n: repeated(t, n, b, len(listed.all)) for n, t in d.potentials.items()})
        log_probs = copies.log_prob(listed.all)
        bound = probability_bound(listed.log_partition)
        assert (log_probs <= bound - PROBABILITY_SUM).all()  # spacings of float64 where both were rounded
        if listed.count:
            assert_close(log_probs.exp().sum(), 1.0, bound)
        else:
            assert torch.isneginf(log_probs).all()


def repeated(term: torch.Tensor, name: str, b: int, times: int) -> torch.Tensor:
    """Sequence b of the batch, so many times."""
    per_sequence = name in ("emissions", "begin", "finish", "lengths", "cuts") or term.ndim > 2
    return term[b].expand(times, *term.shape[1:]) if per_sequence else term


def test_log_prob_of_labels_is_the_sum_over_what_agrees(named):
    d = distribution(named)
    _, time, classes = named.shape
    labels = np.random.default_rng(0).integers(0, classes, (named.shape[0], time))
    labels[:, ::2] = -100
    found = d.log_prob(torch.from_numpy(labels))
    for b, listed in enumerate(enumerate_batch(named)):
        if listed.count:
            expected = listed.label_log_prob(labels[b, : listed.length].tolist())
            assert_close(found[b], expected, FLOAT64_RELATIVE, scale=listed.log_partition)


def test_unknown_labels_have_probability_one(named):
    d = distribution(named)
    found = d.log_prob(torch.full(d.potentials.shape[:2], -100))
    allowed = d.log_partition > -torch.inf
    assert torch.equal(found[allowed], torch.zeros_like(found[allowed]))
    assert torch.isneginf(found[~allowed]).all()


def test_the_mode_has_the_best_score_of_all(named):
    mode = distribution(named).mode
    for listed, segments, score in zip(enumerate_batch(named), mode.to_list(), mode.scores, strict=True):
        best = listed.top_k(1)
        assert tuple(segments) == (best[0][1] if best else ())
        assert_close(score, best[0][0] if best else -np.inf, FLOAT64_RELATIVE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_posteriors_are_the_gradients_of_the_log_partition(backend):
    given = random_potentials(2, 7, 3, 4, seed=3, lengths=[7, 4]).map(torch.from_numpy)
    terms = {n: t.requires_grad_() if t.is_floating_point() else t for n, t in given.items()}
    d = SemiCRF(**terms, backend=backend)
    d.log_partition.sum().backward()
    posteriors = d.posteriors
    for name, counts in (
        ("emissions", posteriors.position),
        ("begin", posteriors.begins),
        ("finish", posteriors.ends),
        ("transition", posteriors.transitions.sum(0)),
        ("duration", posteriors.durations.sum(0)),
        ("start", posteriors.begins[:, 0].sum(0)),
    ):
        assert_close(terms[name].grad, counts.detach(), FLOAT64_POSTERIOR, name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_entropy_is_the_expected_surprise(backend):
    given = random_potentials(2, 5, 3, 2, seed=5, lengths=[5, 3])
    expected = [listed.entropy for listed in enumerate_batch(given)]
    assert_close(distribution(given, backend).entropy(), expected, FLOAT64_RELATIVE, scale=10.0)


def test_a_loss_with_an_entropy_in_it_trains_on_the_fast_backend():
    potentials = random_potentials(2, 8, 3, 3, seed=13, lengths=[8, 5])

    def slopes(backend):
        terms = {n: torch.tensor(x, requires_grad=x.dtype.kind == "f") for n, x in potentials.items()}
        p = SemiCRF(**terms, backend=backend)
        loss = (p.mode.scores.sum() - p.log_prob(p.mode) + 0.3 * p.entropy() - 0.2 * p.expected_score()).sum()
        loss.backward()
        return {n: term.grad for n, term in terms.items() if term.requires_grad}

    found, expected = slopes(None), slopes("eager")
    for name in expected:
        assert_close(found[name], expected[name], FLOAT64_POSTERIOR, name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_expected_score_is_that_of_the_list_of_all(named, backend):
    expected = []
    for listed in enumerate_batch(named):
        likely = listed.probabilities > 0.0
        expected.append(listed.probabilities[likely] @ listed.scores[likely])
    d = distribution(named, backend)
    assert_close(d.expected_score(), expected, FLOAT64_RELATIVE, scale=d.log_partition)


@pytest.mark.parametrize("backend", BACKENDS)
def test_entropy_and_expected_score_are_the_log_partition(backend):
    d = distribution(random_potentials(2, 6, 3, 3, seed=30, lengths=[6, 4]), backend)
    assert_close(d.entropy() + d.expected_score(), d.log_partition, FLOAT64_RELATIVE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_divergences_are_those_of_torch_distributions_and_of_the_definition(backend):
    terms = random_potentials(2, 5, 3, 2, seed=31, lengths=[5, 3])
    p, q = distribution(terms, backend), distribution(random_potentials(2, 5, 3, 2, seed=32, lengths=[5, 3]))
    found = torch.distributions.kl_divergence(p, q)
    assert torch.equal(found, p.kl_divergence(q))
    assert_close(found, p.cross_entropy(q) - p.entropy(), FLOAT64_RELATIVE, scale=10.0)
    for b, listed in enumerate(enumerate_batch(terms)):
        log_q = torch.stack(
            [q.log_prob([y if i == b else z for i, z in enumerate(AT_ONCE)])[b] for y in listed.all]
        )
        assert_close(
            p.cross_entropy(q)[b], -(torch.from_numpy(listed.probabilities) * log_q).sum(), FLOAT64_RELATIVE
        )
    with pytest.raises(TypeError, match=r"^other is a Posteriors; expected a SemiCRF"):
        p.kl_divergence(p.posteriors)


AT_ONCE = [[(0, 3, 0), (3, 5, 0)], [(0, 3, 0)]]
"""Any segmentation of each sequence."""


@pytest.mark.parametrize("backend", BACKENDS)
def test_decoding_by_position_has_the_fewest_expected_mistakes_of_all(named, backend):
    p = distribution(named, backend)
    found = p.decode("position")
    for b, (listed, segments) in enumerate(zip(enumerate_batch(named), found.to_list(), strict=True)):
        right = {y: np.vdot(listed.counts(y)["position"], listed.posteriors["position"]) for y in listed.all}
        allowed = [y for y, score in zip(listed.all, listed.scores, strict=True) if score > -np.inf]
        if not allowed:
            assert segments == []
            assert found.scores[b] == -torch.inf
            continue
        y = tuple(segments)
        assert_close(right[y], max(right[z] for z in allowed), FLOAT64_POSTERIOR)
        alike = [z for z in allowed if segments_to_labels(z) == segments_to_labels(y)]
        best = max(score for z, score in zip(listed.all, listed.scores, strict=True) if z in alike)
        assert_close(found.scores[b], best, FLOAT64_RELATIVE)


def test_decoding_by_position_differs_from_the_mode_where_mistakes_are_fewer():
    emissions = torch.tensor([[[0.0, 0.9], [0.0, 0.9], [0.0, 0.9]]]).double()
    transition = torch.zeros(2, 2).double()
    p = SemiCRF(emissions, transition, torch.tensor([[-4.0, 0.0], [-4.0, 0.0], [3.0, 0.0]]).double())
    by_position = p.decode("position")
    assert p.decode().to_list() == p.mode.to_list() == [[(0, 3, 0)]]
    assert by_position.to_labels().tolist() == [[1, 1, 1]]
    assert_close(by_position.scores, p.score(by_position), FLOAT64_RELATIVE)


def test_decoding_obeys_constraints_and_refuses_unknown_methods():
    p = distribution(random_potentials(2, 9, 4, 3, seed=17)).constrained(
        labels=torch.tensor([[2] + [-100] * 8] * 2), min_duration=3
    )
    for segments in p.decode("position").to_list():
        assert segments[0].label == 2
        assert min(segment.duration for segment in segments) >= 3
    with pytest.raises(ValueError, match=r"method is 'best'; expected one of 'viterbi', 'position'"):
        p.decode("best")


def test_boundaries_and_numbers_of_segments_are_those_expected(named):
    p = distribution(named)
    boundary = p.posteriors.boundary
    for b, listed in enumerate(enumerate_batch(named)):
        starts = np.array([listed.counts(y)["begins"] for y in listed.all])
        expected = np.tensordot(listed.probabilities, starts, axes=1)
        assert_close(boundary[b], expected.sum(-1), FLOAT64_POSTERIOR)
        assert_close(p.expected_counts[b], expected.sum(0), FLOAT64_POSTERIOR)


COSTS = ("position", "begins", "ends", "transitions", "durations")


def test_the_expected_cost_is_that_of_the_list_of_all(named):
    p = distribution(named)
    generator = torch.Generator().manual_seed(0)
    costs = {
        name: torch.rand(getattr(p.posteriors, name).shape[1:], generator=generator, dtype=torch.float64)
        for name in COSTS
    }
    found = p.expected_cost(**costs)
    for b, listed in enumerate(enumerate_batch(named)):
        expected = 0.0
        for probability, y in zip(listed.probabilities, listed.all, strict=True):
            counts = listed.counts(y)
            if named.transition.ndim == 2:
                counts["transitions"] = counts["transitions"].sum(0)
            expected += probability * sum(np.vdot(counts[name], cost.numpy()) for name, cost in costs.items())
        assert_close(found[b], expected, FLOAT64_POSTERIOR)


@pytest.mark.parametrize("junk", [torch.nan, torch.inf])
def test_the_cost_of_what_cannot_be_does_not_matter(junk):
    potentials = random_potentials(2, 5, 3, 2, seed=31, lengths=[5, 3])
    forbidden = potentials.emissions.copy()
    forbidden[0, 2, 1] = -np.inf
    p = distribution(replace(potentials, emissions=forbidden))
    cost, clean = torch.ones(2, 5, 2).double(), torch.ones(2, 5, 2).double()
    cost[1, 3:] = cost[0, 2, 1] = junk
    for name in ("position", "begins", "ends"):
        assert torch.equal(p.expected_cost(**{name: cost}), p.expected_cost(**{name: clean}))
    assert p.expected_cost(position=cost).tolist() == pytest.approx([5.0, 3.0])


def test_a_risk_trains_towards_the_gold():
    emissions = torch.zeros(1, 12, 2, dtype=torch.float64, requires_grad=True)
    gold = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0])
    wrong = 1.0 - torch.nn.functional.one_hot(gold, 2)[None].double()

    def risk():
        return SemiCRF(emissions, torch.zeros(2, 2), torch.zeros(6, 2)).expected_cost(position=wrong).sum()

    before = risk()
    (slope,) = torch.autograd.grad(before, emissions)
    with torch.no_grad():
        emissions -= slope
    assert risk() < before
    assert_close(before.detach(), 6.0, FLOAT64_RELATIVE)


def test_costs_of_what_there_is_not_are_named():
    p = distribution(random_potentials(1, 4, 3, 2))
    with pytest.raises(ValueError, match=r"costs are given for 'positions'; expected some of position, "):
        p.expected_cost(positions=torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"the cost of durations has shape \(4, 2\); .* to \(1, 3, 2\)"):
        p.expected_cost(durations=torch.zeros(4, 2))


def test_under_the_uniform_distribution_all_that_is_allowed_is_as_probable(named):
    p = distribution(named).uniform()
    counts = torch.tensor([float(listed.count) for listed in enumerate_batch(named)], dtype=torch.float64)
    assert_close(p.log_partition, counts.log(), FLOAT64_RELATIVE)


def test_the_k_best_are_those_of_enumeration(named):
    found = distribution(named).top_k(4)
    for b, listed in enumerate(enumerate_batch(named)):
        best = [score for score, _ in listed.top_k(4)]
        assert_close(found.scores[: len(best), b], best, FLOAT64_RELATIVE)
        assert (found.scores[len(best) :, b] == -torch.inf).all()
        assert len({tuple(y[b]) for y in found.to_list()[: len(best)]}) == len(best)


def test_the_probabilities_of_all_of_the_best_sum_to_one():
    p = distribution(random_potentials(2, 4, 3, 2, seed=9))
    best = p.top_k(200)
    assert_close((best.scores - p.log_partition).exp().sum(0), torch.ones(2), PROBABILITY_SUM)


def test_what_there_is_not_among_the_k_best_has_no_probability():
    p = distribution(random_potentials(2, 4, 3, 2, seed=9, lengths=[4, 1]))
    best = p.top_k(3)
    assert best.scores[2, 1] == -torch.inf
    assert_close(p.log_prob(best), best.scores - p.log_partition, FLOAT64_RELATIVE)
    assert_close(p.log_prob(best[2]), best[2].scores - p.log_partition, FLOAT64_RELATIVE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_have_the_log_probabilities_of_each_by_itself(backend):
    d = distribution(random_potentials(2, 6, 3, 3, seed=33, lengths=[6, 4]), backend)
    samples = d.sample(5, generator=torch.Generator().manual_seed(0))
    assert samples.labels.shape == (5, 2, 6)
    assert d.sample().labels.shape == (2, 6)
    each = torch.stack([d.log_prob(sample) for sample in samples.unbind()])
    assert torch.equal(d.log_prob(samples), each)
    assert_close(samples.scores, d.score(samples), FLOAT64_RELATIVE)
    with pytest.raises(ValueError, match=r"^temperature is 0"):
        d.sample(temperature=0)


def test_log_prob_accepts_a_segmentation_and_lists_alike():
    d = distribution(random_potentials(2, 5, 3, 2, seed=6, lengths=[5, 3]))
    lists = [[(0, 2, 1), (2, 5, 0)], [(0, 3, 1)]]
    tensors = Segmentation.from_list(lists, num_positions=5)
    assert torch.equal(d.log_prob(lists), d.log_prob(tensors))


def test_log_prob_of_what_is_forbidden_is_minus_infinity_with_gradients_of_zero():
    emissions = torch.zeros(1, 3, 2, requires_grad=True)
    transition = torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])
    d = SemiCRF(emissions, transition, torch.zeros(2, 2))
    found = d.log_prob([[(0, 1, 0), (1, 3, 1)]])
    found.sum().backward()
    assert found.item() == -torch.inf
    assert torch.equal(emissions.grad, torch.zeros_like(emissions))


def test_nothing_allowed_has_a_log_partition_of_minus_infinity_and_no_segments():
    emissions = torch.full((1, 3, 2), -torch.inf, requires_grad=True)
    d = SemiCRF(emissions, torch.zeros(2, 2), torch.zeros(2, 2))
    d.log_partition.sum().backward()
    assert d.log_partition.item() == -torch.inf
    assert d.mode.to_list() == [[]]
    assert d.entropy().item() == 0
    assert torch.equal(emissions.grad, torch.zeros_like(emissions))


def test_log_likelihoods_are_float64_and_gradients_have_the_dtype_of_their_term():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        emissions = torch.randn(2, 6, 3).to(dtype).requires_grad_()
        d = SemiCRF(emissions, torch.zeros(3, 3), torch.zeros(4, 3))
        loss = -d.log_prob(torch.zeros(2, 6, dtype=torch.int64)).mean()
        loss.backward()
        assert loss.dtype == torch.float64
        assert emissions.grad.dtype == dtype


def test_known_labels_give_posteriors_that_respect_them():
    d = distribution(random_potentials(2, 6, 3, 3, seed=9))
    labels = torch.full((2, 6), -100)
    labels[0, 2], labels[1, 5] = 1, 2
    position = d.constrained(labels=labels).posteriors.position
    assert_close(position[0, 2], torch.tensor([0.0, 1.0, 0.0]), FLOAT64_POSTERIOR)
    assert_close(position[1, 5], torch.tensor([0.0, 0.0, 1.0]), FLOAT64_POSTERIOR)


def test_it_is_a_torch_distribution():
    d = distribution(random_potentials(3, 6, 2, 2))
    assert isinstance(d, torch.distributions.Distribution)
    assert d.batch_shape == (3,)
    assert repr(d) == "SemiCRF(B=3, T=6, K=2, C=2, backend=None)"


def test_a_forced_backend_that_cannot_serve_says_what_to_do():
    d = distribution(random_potentials(1, 3, 2, 2), backend="triton")
    with pytest.raises(ValueError, match=r"backend='triton' serves cuda tensors, .* on cpu: move them"):
        _ = d.log_partition
    with pytest.raises(ValueError, match="expected one of 'eager', 'compiled', 'triton' or None"):
        distribution(random_potentials(1, 3, 2, 2), backend="cuda")
