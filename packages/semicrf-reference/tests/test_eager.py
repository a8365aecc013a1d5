"""The oracle against the definition: every segmentation, listed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from semicrf_reference import eager
from semicrf_spec import COUNT, MAX, REAL, Potentials, enumerate_batch, labels_to_segments
from semicrf_spec import score as defined_score
from semicrf_spec.operators import Posteriors, Segmentation
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    PROBABILITY_SUM,
    assert_close,
    case,
    random_potentials,
)
from semicrf_spec.testing.strategies import small_potentials

REAL_LIMIT = 600.0
"""Largest log partition whose exponential, and those of its parts, float64 holds."""


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


def assert_equals_enumeration(potentials):
    """Everything the oracle computes, against the list."""
    terms, listed = tensors(potentials), enumerate_batch(potentials)
    log_partition = np.array([e.log_partition for e in listed])
    assert_close(eager.log_partition(**terms), log_partition, FLOAT64_RELATIVE, "log_partition")
    entropies = [e.entropy for e in listed]
    assert_close(eager.entropy(**terms), entropies, FLOAT64_RELATIVE, "entropy", scale=log_partition)
    assert_posteriors_equal_enumeration(eager.posteriors(**terms), listed)
    assert_best_equals_enumeration(eager.viterbi(**terms), listed)


def assert_posteriors_equal_enumeration(found, listed):
    for name, counts in found._asdict().items():
        for b, e in enumerate(listed):
            expected = e.posteriors[name]
            if name == "transitions" and counts.ndim == 3:
                expected = expected.sum(0)
            assert_close(counts[b], expected, FLOAT64_POSTERIOR, f"{name} of sequence {b}")


def assert_best_equals_enumeration(found, listed):
    """As good as the best: where two scores differ by rounding alone, either is."""
    best = [value for value, _ in best_of(listed)]
    assert_close(found.scores, best, FLOAT64_RELATIVE, "scores")
    scores = [
        dict(zip(e.all, e.scores.tolist(), strict=True)).get(tuple(segments), -np.inf)
        for segments, e in zip(found.to_list(), listed, strict=True)
    ]
    assert_close(scores, best, FLOAT64_RELATIVE, "scores of the segments found")


def best_of(listed):
    return [(e.top_k(1) or [(-np.inf, ())])[0] for e in listed]


def test_log_partition_is_the_log_of_the_summed_weights(named):
    expected = [e.log_partition for e in enumerate_batch(named)]
    assert_close(eager.log_partition(**tensors(named)), expected, FLOAT64_RELATIVE)


def test_posteriors_are_the_expected_counts(named):
    assert_posteriors_equal_enumeration(eager.posteriors(**tensors(named)), enumerate_batch(named))


def test_viterbi_is_the_best_of_all_segmentations_ties_included(named):
    found = eager.viterbi(**tensors(named))
    best = best_of(enumerate_batch(named))
    assert [tuple(segments) for segments in found.to_list()] == [segments for _, segments in best]
    assert_close(found.scores, [value for value, _ in best], FLOAT64_RELATIVE)


def test_entropy_is_the_expected_surprise(named):
    listed = enumerate_batch(named)
    scale = [e.log_partition for e in listed]
    found = eager.entropy(**tensors(named))
    assert_close(found, [e.entropy for e in listed], FLOAT64_RELATIVE, scale=scale)


def test_score_is_the_defined_one(named):
    terms, listed = tensors(named), enumerate_batch(named)
    for n in range(min(25, min(len(e.all) for e in listed))):
        segments = [e.all[n * len(e.all) // 25 if len(e.all) > 25 else n] for e in listed]
        given = Segmentation.from_list(
            segments, num_positions=named.shape[1], lengths=[e.length for e in listed]
        )
        assert_close(eager.score(given, **terms), defined_score(named, segments), FLOAT64_RELATIVE)


def test_score_of_the_best_segmentation_is_the_score_that_viterbi_reports():
    terms = tensors(random_potentials(3, 40, 7, 4, seed=20, lengths=[40, 1, 23]))
    best = eager.viterbi(**terms)
    assert_close(eager.score(best, **terms), best.scores, FLOAT64_RELATIVE)


@settings(max_examples=60)
@given(small_potentials())
def test_any_small_problem_is_answered_as_by_enumeration(potentials):
    assert_equals_enumeration(potentials)


@settings(max_examples=30)
@given(small_potentials(largest=1e4))
def test_any_small_problem_of_extreme_scores_is_answered_as_by_enumeration(potentials):
    assert_equals_enumeration(potentials)


@settings(max_examples=60)
@given(small_potentials(largest=2, whole=True))
def test_any_ties_are_broken_as_by_enumeration(potentials):
    found = eager.viterbi(**tensors(potentials))
    expected = [segments for _, segments in best_of(enumerate_batch(potentials))]
    assert [tuple(segments) for segments in found.to_list()] == expected


def test_partition_counts_the_segmentations_that_are_allowed(named):
    counts = eager.partition(named.map(torch.from_numpy), COUNT)
    assert counts.tolist() == [e.count for e in enumerate_batch(named)]


def test_partition_over_max_is_the_best_score(named):
    expected = [e.scores.max() for e in enumerate_batch(named)]
    assert_close(eager.partition(named.map(torch.from_numpy), MAX), expected, FLOAT64_RELATIVE)


def test_partition_over_the_reals_is_the_sum_of_the_weights(named):
    potentials = exponentiable(named)
    expected = [math.fsum(np.exp(e.scores)) for e in enumerate_batch(potentials)]
    found = eager.partition(potentials.map(torch.from_numpy), REAL)
    assert_close(found, expected, FLOAT64_RELATIVE)


def exponentiable(potentials):
    """The potentials, scaled down if the weights of their segmentations overflow."""
    scores = np.concatenate([e.scores for e in enumerate_batch(potentials)])
    largest = np.abs(scores[np.isfinite(scores)]).max(initial=REAL_LIMIT)
    return potentials.map(lambda term: term * (REAL_LIMIT / largest) if term.dtype == np.float64 else term)


def test_partition_is_log_unless_told_otherwise(named):
    potentials = named.map(torch.from_numpy)
    assert torch.equal(eager.partition(potentials), eager.log_partition(**tensors(named)))


def test_ties_go_to_the_lowest_label_then_the_shortest_duration_from_the_end_backwards():
    terms = tensors(random_potentials(1, 4, 3, 3, scale=0.0))
    assert eager.viterbi(**terms).to_list() == [[(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 4, 0)]]
    terms["emissions"][0, 3, 0] = -1.0  # label 0 no longer ties at the end
    assert eager.viterbi(**terms).to_list()[0][-1] == (3, 4, 1)
    terms["duration"][0] = -1.0  # nor does one position: fewest cuts, the shortest of those last
    assert eager.viterbi(**terms).to_list() == [[(0, 2, 0), (2, 4, 1)]]


def test_position_posteriors_sum_to_one_at_every_position():
    position = eager.posteriors(**tensors(random_potentials(3, 60, 9, 4, lengths=[60, 1, 33]))).position
    within = torch.arange(60) < torch.tensor([60, 1, 33])[:, None]
    assert_close(position.sum(-1), within.double(), PROBABILITY_SUM)


def test_answers_are_float64_whatever_the_dtype_of_the_terms():
    terms = {n: t.float() for n, t in tensors(random_potentials(2, 4, 2, 2)).items()}
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        narrow = {n: t.to(dtype) for n, t in terms.items()}
        wide = {n: t.double() for n, t in narrow.items()}
        for name in ("log_partition", "entropy"):
            assert_same_float64(getattr(eager, name)(**narrow), getattr(eager, name)(**wide))
        assert_same_float64(eager.viterbi(**narrow).scores, eager.viterbi(**wide).scores)
        for a, b in zip(eager.posteriors(**narrow), eager.posteriors(**wide), strict=True):
            assert_same_float64(a, b)


def assert_same_float64(found, expected):
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e300])
def test_what_stands_past_the_lengths_changes_no_bit(poison):
    clean = tensors(case("ragged"))
    dirty = {n: t.clone() for n, t in clean.items()}
    past = torch.arange(clean["emissions"].shape[1]) >= clean["lengths"][:, None]
    for name in ("emissions", "begin", "finish"):
        dirty[name][past] = poison
    for name in ("log_partition", "entropy"):
        assert torch.equal(getattr(eager, name)(**dirty), getattr(eager, name)(**clean))
    for a, b in zip(eager.posteriors(**dirty), eager.posteriors(**clean), strict=True):
        assert torch.equal(a, b)
    assert eager.viterbi(**dirty).to_list() == eager.viterbi(**clean).to_list()
    best = eager.viterbi(**clean)
    assert torch.equal(eager.score(best, **dirty), eager.score(best, **clean))


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_the_transition_into_the_first_position_counts_for_nothing(poison):
    clean = tensors(case("position_transition"))
    dirty = {**clean, "transition": clean["transition"].clone()}
    dirty["transition"][:, 0] = poison
    assert torch.equal(eager.log_partition(**dirty), eager.log_partition(**clean))
    for a, b in zip(eager.posteriors(**dirty), eager.posteriors(**clean), strict=True):
        assert torch.equal(a, b)
    assert_close(eager.entropy(**dirty), eager.entropy(**clean), FLOAT64_RELATIVE)
    assert eager.viterbi(**dirty).to_list() == eager.viterbi(**clean).to_list()


def test_one_tensor_may_serve_as_several_terms():
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    square = torch.eye(3, dtype=torch.float64)
    together = {"emissions": shared, "transition": square, "duration": square}
    together |= {"begin": shared, "finish": shared, "start": square[0], "end": square[0]}
    apart = {name: term.clone() for name, term in together.items()}
    for a, b in zip(eager.posteriors(**together), eager.posteriors(**apart), strict=True):
        assert torch.equal(a, b)
    leaf = shared.clone().requires_grad_()
    for a, b in zip(
        eager.posteriors(leaf, square, square, begin=leaf, finish=leaf),
        eager.posteriors(shared, square, square, begin=shared.clone(), finish=shared.clone()),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_no_term_is_changed():
    terms = tensors(case("poisoned_padding"))
    before = {name: term.clone() for name, term in terms.items()}
    for name in ("log_partition", "posteriors", "entropy", "viterbi"):
        getattr(eager, name)(**terms)
    for name, term in terms.items():
        assert torch.equal(term.nan_to_num(), before[name].nan_to_num()), name


def test_nothing_needs_a_graph_where_gradients_are_off():
    terms = {n: t.requires_grad_() for n, t in tensors(random_potentials(2, 4, 3, 2)).items()}
    expected = eager.posteriors(**{n: t.detach() for n, t in terms.items()})
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            found = eager.posteriors(**terms)
            entropy = eager.entropy(**terms)
        assert not any(counts.requires_grad for counts in (*found, entropy))
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)


def test_tensors_made_in_inference_mode_are_served_there_and_outside():
    potentials = random_potentials(2, 4, 3, 2, lengths=[4, 2])
    expected = eager.entropy(**tensors(potentials))
    with torch.inference_mode():
        terms = {name: term.clone() for name, term in tensors(potentials).items()}
        inside = eager.entropy(**terms)
    assert torch.equal(inside, expected)
    assert torch.equal(eager.entropy(**terms), expected)


@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_empty_batches_and_empty_sequences_have_answers(batch, time):
    potentials = random_potentials(batch, time, 3, 2, lengths=[0] * batch)
    terms = tensors(potentials)
    assert eager.log_partition(**terms).tolist() == [0.0] * batch
    assert eager.entropy(**terms).tolist() == [0.0] * batch
    best = eager.viterbi(**terms)
    assert (best.to_list(), best.scores.tolist()) == ([[]] * batch, [0.0] * batch)
    assert eager.score(best, **terms).tolist() == [0.0] * batch
    shapes = [tuple(counts.shape) for counts in eager.posteriors(**terms)]
    assert shapes == [(batch, time, 2)] * 3 + [(batch, 2, 2), (batch, 3, 2)]
    assert all(counts.sum() == 0 for counts in eager.posteriors(**terms))


def test_lists_of_runs_score_as_the_definition_says():
    potentials = random_potentials(3, 7, 7, 3, seed=21)
    labels = np.random.default_rng(0).integers(0, 3, (3, 7))
    segments = [labels_to_segments(row) for row in labels.tolist()]
    found = eager.score(Segmentation.from_labels(torch.from_numpy(labels)), **tensors(potentials))
    assert_close(found, defined_score(potentials, segments), FLOAT64_RELATIVE)


def test_posteriors_are_a_named_tuple_in_the_documented_order():
    found = eager.posteriors(**tensors(case("every_term")))
    assert type(found) is Posteriors
    assert found._fields == ("position", "begins", "ends", "transitions", "durations")


def test_potentials_of_any_dtype_are_partitioned_in_float64():
    potentials = Potentials(
        *(torch.zeros(shape, dtype=torch.float16) for shape in ((1, 30, 2), (2, 2), (3, 2)))
    )
    assert eager.partition(potentials, COUNT).dtype == torch.float64
