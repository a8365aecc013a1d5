"""Every semiring on every algorithm: what the list of all segmentations says, and all algorithms alike."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semicrf_reference import eager, scan
from semicrf_reference.scan import ALGORITHMS, binary_tree_sharded, linear_scan
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
    SEMIRINGS,
    CheckpointSemiring,
    KMaxSemiring,
    Potentials,
    enumerate_batch,
)
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, case, case_names
from semicrf_spec.testing.strategies import small_potentials

EXACT = (COUNT, BOOLEAN)
VALUED = (EXPECTATION, COVARIANCE)
LARGEST_EXPONENT = 600.0

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
every_semiring = pytest.mark.parametrize("semiring", SEMIRINGS, ids=lambda semiring: semiring.name)


def like(potentials, seed, forbidden=0.0):
    """Normal scores where potentials have any, and `-inf` as often as is said."""
    rng = np.random.default_rng(seed)

    def drawn(term):
        if not np.issubdtype(term.dtype, np.floating):
            return term
        return np.where(rng.random(term.shape) < forbidden, -np.inf, rng.standard_normal(term.shape))

    return potentials.map(drawn)


def log_distribution(scores):
    """Log probabilities, all `-inf` where nothing is allowed."""
    total = np.logaddexp.reduce(scores)
    return scores - total if total > -np.inf else scores


def expected(p, values):
    """The mean of the values of what has a probability."""
    return math.fsum(a * b for a, b in zip(p, values, strict=True) if a > 0)


def by_enumeration(semiring, scores, *others):
    """The element, from the scores of all segmentations of one sequence and what else is known of each."""
    log_p = log_distribution(scores)
    p, log_total = np.exp(log_p), np.logaddexp.reduce(scores)
    if semiring is LOG:
        return log_total
    if semiring is REAL:
        return math.fsum(np.exp(scores))
    if semiring is MAX:
        return scores.max()
    if semiring is COUNT:
        return np.sum(scores > -np.inf)
    if semiring is BOOLEAN:
        return float(log_total > -np.inf)
    if isinstance(semiring, KMaxSemiring):
        return (sorted(scores, reverse=True) + [-np.inf] * semiring.k)[: semiring.k]
    if semiring is ENTROPY:
        return [log_total, -expected(p, log_p)]
    if semiring in VALUED:
        means = [expected(p, value) for value in others]
        deviations = [value - mean for value, mean in zip(others, means, strict=True)]
        return [log_total, *means, *([expected(p, np.prod(deviations, 0))] if len(others) == 2 else [])]
    log_q = log_distribution(others[0])
    totals = [log_total, np.logaddexp.reduce(others[0])]
    if np.any((p > 0) & np.isneginf(log_q)):
        return [*totals, np.inf]
    if semiring is CROSS_ENTROPY:
        return [*totals, -expected(p, log_q)]
    assert semiring is KL_DIVERGENCE
    return [*totals, expected(p, np.where(p > 0, log_p, 0.0) - np.where(p > 0, log_q, 0.0))]


class Model(NamedTuple):
    """Potentials, their edges, and the scores of all segmentations of every sequence."""

    potentials: Potentials
    edges: torch.Tensor
    scores: list

    @classmethod
    def of(cls, potentials):
        scores = [each.scores for each in enumerate_batch(potentials)]
        return cls(potentials, eager.edges(potentials.map(torch.from_numpy)), scores)


@cache
def named_model(name, longest, seed, scaled):
    """A named case, or finite scores of its kind; with weights that float64 holds, if it is to be scaled."""
    potentials = case(name, longest)
    model = Model.of(like(potentials, seed) if seed else potentials)
    largest = max(np.abs(scores[np.isfinite(scores)]).max(initial=0.0) for scores in model.scores)
    if not scaled or largest < LARGEST_EXPONENT:
        return model
    return Model.of(potentials.map(lambda x: x * (LARGEST_EXPONENT / largest)))


def assert_as_listed(semiring, *models):
    """Every algorithm says what the list of all segmentations says."""
    each = zip(*(model.scores for model in models), strict=True)
    expected = np.array([by_enumeration(semiring, *scores) for scores in each], dtype=float)
    cancelling = np.array([np.logaddexp.reduce(scores) for scores in models[0].scores])
    edges, *others = (model.edges for model in models)
    lengths = models[0].potentials.lengths
    lengths = None if lengths is None else torch.from_numpy(lengths)
    for what, algorithm in ALGORITHMS.items():
        found = algorithm(edges, lengths, semiring, *others)
        assert_same(found, expected, semiring, what, scale=cancelling)


def assert_same(actual, expected, semiring, what, scale=1.0):
    if semiring in EXACT:
        assert actual.tolist() == expected.tolist(), what
    else:
        spread = np.reshape(scale, (-1, *(1,) * (actual.ndim - 1)))
        assert_close(
            actual.detach(), expected, FLOAT64_RELATIVE, what, scale=np.broadcast_to(spread, actual.shape)
        )


@pytest.mark.parametrize("longest", [1, 3])
@pytest.mark.parametrize("name", case_names())
@every_semiring
def test_every_algorithm_says_what_the_list_of_all_segmentations_says(semiring, name, longest):
    assert_as_listed(
        semiring, *(named_model(name, longest, seed, semiring is REAL) for seed in range(semiring.arity))
    )


@settings(max_examples=25)
@given(small_potentials(largest=20.0), st.integers(0, 99))
def test_small_models_with_anything_forbidden_are_compared_alike_by_every_algorithm(potentials, seed):
    for semiring in (CROSS_ENTROPY, KL_DIVERGENCE):
        assert_as_listed(semiring, Model.of(potentials), Model.of(like(potentials, seed, forbidden=0.1)))


def random_edges(semiring, *shape, seed=0):
    """Edges that no potentials make, and what else the semiring lifts."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(semiring.arity)]
    return [x.requires_grad_() for x in found]


def gradients(total, given):
    return torch.autograd.grad(total, given, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("shape", [(2, 7, 3, 2, 2), (3, 5, 1, 2, 2), (1, 6, 4, 1, 1), (2, 2, 5, 2, 2)])
@every_semiring
def test_every_algorithm_has_the_value_and_the_gradient_of_the_plain_scan(semiring, shape):
    given = random_edges(semiring, *shape)
    lengths = torch.arange(shape[1], shape[1] - shape[0], -1)
    found = {}
    for what, algorithm in ALGORITHMS.items():
        element = algorithm(given[0], lengths, semiring, *given[1:])
        weights = torch.linspace(0.5, 1.5, element.numel(), dtype=torch.float64).view_as(element)
        total = (weights * element)[element.isfinite()].sum()
        found[what] = element.detach(), gradients(total, given) if total.requires_grad else ()
    plain, wanted = found["linear_scan"]
    assert bool(wanted) == (semiring not in EXACT)
    for what, (element, gradient) in found.items():
        assert_same(element, plain, semiring, what)
        for mine, theirs in zip(gradient, wanted, strict=True):
            assert_close(mine, theirs, FLOAT64_RELATIVE, f"gradient of {what}")


@pytest.mark.parametrize(
    "semiring", [s for s in SEMIRINGS if s not in EXACT], ids=lambda semiring: semiring.name
)
def test_gradients_of_the_plain_scan_are_those_of_finite_differences(semiring):
    given = random_edges(semiring, 2, 3, 2, 2, 2, seed=1)

    def finite(edges, *others):
        found = linear_scan(edges, torch.tensor([3, 1]), semiring, *others)
        return found[found.isfinite()]

    assert torch.autograd.gradcheck(finite, given)


@pytest.mark.parametrize("algorithm", [linear_scan, binary_tree_sharded])
@pytest.mark.parametrize("semiring", [LOG, KL_DIVERGENCE], ids=lambda semiring: semiring.name)
def test_second_derivatives_are_those_of_finite_differences(semiring, algorithm):
    given = random_edges(semiring, 1, 3, 2, 1, 1, seed=2)

    def last(edges, *others):
        return algorithm(edges, None, semiring, *others)[..., -1:]

    assert torch.autograd.gradgradcheck(last, given)


@every_algorithm
@every_semiring
def test_where_nothing_is_allowed_the_answer_is_zero_and_so_is_every_gradient(semiring, algorithm):
    given = [x.detach() for x in random_edges(semiring, 2, 4, 2, 2, 2)]
    for x in given:
        x[1, :, 1:] = x[1, 2] = -math.inf  # sequence 1 has no way past position 2
        x.requires_grad_()
    found = algorithm(given[0], None, semiring, *given[1:])
    of_p = found[1].tolist()
    assert of_p == (list(semiring.zero) if isinstance(semiring.zero, tuple) else semiring.zero)
    if semiring not in EXACT:
        for gradient in gradients(found[found.isfinite()].sum(), given):
            assert gradient.isfinite().all()
            assert gradient[0].any()
            assert not gradient[1].any()


@every_algorithm
def test_what_the_other_model_forbids_is_infinite_and_leaves_gradients_finite(algorithm):
    p, q = (x.detach() for x in random_edges(KL_DIVERGENCE, 2, 4, 2, 2, 2))
    q[1, 2:, :, 0] = -math.inf
    given = [p.requires_grad_(), q.requires_grad_()]
    found = algorithm(p, None, KL_DIVERGENCE, q)
    assert found[:, 2].isinf().tolist() == [False, True]
    for gradient in gradients(found[:, 2].sum(), given):
        assert gradient.isfinite().all()
        assert gradient[0].any()
        assert not gradient[1].any()


@every_algorithm
@pytest.mark.parametrize(
    "semiring",
    [s for s in SEMIRINGS if s is not REAL and s not in VALUED],
    ids=lambda semiring: semiring.name,
)
def test_scores_of_ten_thousand_nats_keep_values_and_gradients_finite(semiring, algorithm):
    given = [1e4 * x.detach().sign() for x in random_edges(semiring, 2, 6, 3, 2, 2)]
    plain = linear_scan(given[0], None, semiring, *given[1:])
    leaves = [x.requires_grad_() for x in given]
    found = algorithm(given[0], None, semiring, *given[1:])
    assert found.isfinite().all()
    assert_same(found.detach(), plain, semiring, "against the plain scan")
    if semiring not in EXACT:
        assert all(x.isfinite().all() for x in gradients(found.sum(), leaves))


def test_the_derivative_of_the_log_partition_is_the_probability_of_each_edge():
    (edges,) = random_edges(LOG, 1, 4, 3, 2, 2)
    for algorithm in ALGORITHMS.values():
        (probability,) = gradients(algorithm(edges).sum(), [edges])
        assert_close(probability[0, 0].sum(), 1.0, FLOAT64_RELATIVE, "of all first segments")
        assert not probability[0, 0, :, 1].any()  # no label precedes the first


def test_an_entropy_is_log_partition_less_the_expected_score():
    (edges,) = random_edges(LOG, 2, 6, 3, 2, 2)
    total, entropy = linear_scan(edges, None, ENTROPY).unbind(1)
    assert_close(
        entropy.detach(), (total - linear_scan(edges, None, EXPECTATION, edges)[:, 1]).detach(), 1e-10
    )


@pytest.mark.parametrize("positions", [1, 2, 3, 5, 100])
def test_shards_of_any_size_say_the_same(positions):
    given = random_edges(KL_DIVERGENCE, 2, 7, 3, 2, 2)
    found = binary_tree_sharded(given[0], None, KL_DIVERGENCE, given[1], positions=positions)
    plain = linear_scan(given[0], None, KL_DIVERGENCE, given[1])
    assert_close(found.detach(), plain.detach(), FLOAT64_RELATIVE)


@every_algorithm
@every_semiring
def test_a_checkpointed_semiring_has_the_same_bits_and_gradient(semiring, algorithm):
    found = []
    for each in (semiring, CheckpointSemiring(semiring)):
        given = random_edges(semiring, 2, 5, 3, 2, 2)
        element = algorithm(given[0], torch.tensor([5, 2]), each, *given[1:])
        total = element[element.isfinite()].sum()
        found.append([element, *(gradients(total, given) if total.requires_grad else ())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def kept_bytes(algorithm, edges, semiring):
    """Bytes that autograd keeps for the backward pass, beside the steps."""
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        total = algorithm(edges, None, semiring)  # alive, so that no memory is used twice
    assert total.requires_grad
    return sum(kept.values())


def test_checkpoints_and_shards_keep_less_for_the_backward_pass():
    (edges,) = random_edges(LOG, 1, 64, 8, 3, 3)
    kept = {what: kept_bytes(run, edges, LOG) for what, run in ALGORITHMS.items()}
    again = {what: kept_bytes(run, edges, CheckpointSemiring(LOG)) for what, run in ALGORITHMS.items()}
    assert kept["linear_scan_vectorized"] < kept["binary_tree"] / 8
    assert kept["binary_tree_sharded"] < kept["binary_tree"] / 8
    assert again["binary_tree"] < kept["binary_tree"] / 4
    assert again["linear_scan_vectorized"] < kept["linear_scan_vectorized"] / 1.5


@every_algorithm
def test_what_is_past_the_lengths_counts_for_nothing(algorithm):
    (edges,) = (x.detach() for x in random_edges(LOG, 2, 5, 3, 2, 2))
    lengths = torch.tensor([5, 2])
    changed = edges.clone()
    changed[1, 2:] += 3.0
    for start, duration in ((0, 3), (1, 2), (1, 3)):
        changed[1, start, duration - 1] -= 7.0
    assert torch.equal(algorithm(edges, lengths), algorithm(changed, lengths))


@every_algorithm
def test_only_the_first_row_counts_at_the_first_position(algorithm):
    (edges,) = (x.detach() for x in random_edges(LOG, 1, 4, 3, 2, 2))
    changed = edges.clone()
    changed[:, 0, :, 1] += 5.0
    assert torch.equal(algorithm(edges), algorithm(changed))


@every_algorithm
def test_an_empty_batch_and_an_empty_sequence_are_part_of_the_graph(algorithm):
    for shape, answer in (((0, 4, 2, 3, 3), []), ((2, 0, 2, 3, 3), [0.0, 0.0])):
        (edges,) = random_edges(LOG, *shape)
        found = algorithm(edges)
        assert found.tolist() == answer
        found.sum().backward()


@every_algorithm
@pytest.mark.parametrize("integers", [torch.int32, torch.uint8])
def test_lengths_of_any_integers_and_scores_of_any_floats_will_do(algorithm, integers):
    edges = random_edges(LOG, 2, 4, 2, 2, 2)[0].detach().half()
    lengths = torch.tensor([4, 1])
    found = algorithm(edges, lengths.to(integers))
    assert found.dtype == torch.float64
    assert torch.equal(found, algorithm(edges.double(), lengths))


EDGES = torch.zeros(1, 3, 2, 2, 2)


@every_algorithm
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EDGES[0],), r"edges has shape \(3, 2, 2, 2\); expected \(B, T, K, C, C\)"),
        ((EDGES[..., :1],), r"edges has shape \(1, 3, 2, 2, 1\)"),
        ((EDGES[:, :, :0],), r"K and C at least 1"),
        ((EDGES + math.nan,), "edges holds NaN or \\+inf"),
        ((EDGES, torch.tensor([4])), r"lengths\[0\] is 4"),
        ((EDGES, None, KL_DIVERGENCE), "'kl_divergence' was given 0 tensors beside edges; expected 1"),
        ((EDGES, None, MAX, EDGES), "'max' was given 1 tensors beside edges; expected 0"),
        ((EDGES, None, EXPECTATION, EDGES[:, :2]), r"others\[0\] has shape .* as edges have it: \(1, 3, "),
        ((EDGES, None, COVARIANCE, EDGES, EDGES + math.inf), r"others\[1\] holds NaN or \+inf"),
    ],
)
def test_what_cannot_be_summed_is_named(algorithm, arguments, message):
    with pytest.raises(ValueError, match=message):
        algorithm(*arguments)


def test_a_shard_has_a_position():
    with pytest.raises(ValueError, match="positions is 0; expected at least 1"):
        binary_tree_sharded(EDGES, positions=0)


def test_every_algorithm_is_listed_under_its_own_name():
    assert all(ALGORITHMS[name] is getattr(scan, name) for name in ALGORITHMS)
    assert [*ALGORITHMS] == ["linear_scan", "linear_scan_vectorized", "binary_tree", "binary_tree_sharded"]
