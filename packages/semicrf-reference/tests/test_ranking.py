"""The k best: those that the definition lists, in its order."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semicrf_reference import compiled, eager
from semicrf_spec import enumerate_batch
from semicrf_spec import score as defined_score
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, random_potentials
from semicrf_spec.testing.strategies import small_potentials

COUNTS = (1, 2, 5, 300)
LONG = random_potentials(3, 400, 20, 4, seed=7, lengths=[400, 31, 0])


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


def ranked(found, b):
    """Scores and segments of one sequence, without what is absent."""
    lists = found.to_list()
    return [
        (score, tuple(lists[i][b]))
        for i, score in enumerate(found.scores[:, b].tolist())
        if score > -math.inf
    ]


@pytest.mark.parametrize("k", COUNTS)
def test_scores_are_those_of_the_k_best_of_all(backend, named, k):
    found = backend.top_k(**tensors(named), k=k)
    for b, listed in enumerate(enumerate_batch(named)):
        best = [score for score, _ in listed.top_k(k)]
        assert_close([score for score, _ in ranked(found, b)], best, FLOAT64_RELATIVE)
        assert found.scores[len(best) :, b].tolist() == [-math.inf] * (k - len(best))


@pytest.mark.parametrize("k", COUNTS)
def test_each_is_another_and_scores_what_it_says(backend, named, k):
    found = backend.top_k(**tensors(named), k=k)
    for b in range(named.shape[0]):
        best = ranked(found, b)
        assert len({segments for _, segments in best}) == len(best)
        for score, segments in best:
            alone = [segments if i == b else e.all[0] for i, e in enumerate(enumerate_batch(named))]
            assert_close(score, defined_score(named, alone)[b], FLOAT64_RELATIVE)


@settings(max_examples=100)
@given(small_potentials(largest=2, whole=True), st.integers(1, 12))
def test_ties_are_in_the_order_of_the_definition(potentials, k):
    listed = [e.top_k(k) for e in enumerate_batch(potentials)]
    for backend in (eager, compiled):
        found = backend.top_k(**tensors(potentials), k=k)
        assert [ranked(found, b) for b in range(len(listed))] == listed


@settings(max_examples=100)
@given(small_potentials(max_time=6, largest=1e4), st.integers(1, 12))
def test_both_backends_give_the_same_bits(potentials, k):
    assert_same(compiled.top_k(**tensors(potentials), k=k), eager.top_k(**tensors(potentials), k=k))


@pytest.mark.parametrize("size", [(2, 60, 7, 24), (3, 90, 40, 3), (2, 300, 1, 2)])
def test_both_backends_give_the_same_bits_on_larger_problems(size):
    terms = tensors(random_potentials(*size, seed=3, lengths=[size[1], *range(5, 5 * size[0], 5)]))
    assert_same(compiled.top_k(**terms, k=6), eager.top_k(**terms, k=6))


def assert_same(found, expected):
    for name in ("scores", "labels", "durations", "lengths"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_the_first_is_the_best_segmentation_bit_for_bit(backend, named):
    (first,) = backend.top_k(**tensors(named), k=1).unbind()
    assert_same(first, backend.viterbi(**tensors(named)))


def test_more_are_asked_for_and_the_first_ones_stay():
    terms = tensors(LONG)
    many, few = (compiled.top_k(**terms, k=k) for k in (50, 8))
    assert torch.equal(many.scores[:8], few.scores)
    assert torch.equal(many.labels[:8], few.labels)
    assert (many.scores[1:, :2] <= many.scores[:-1, :2]).all()


def test_threads_change_no_bit(two_threads):
    terms = tensors(random_potentials(9, 200, 30, 8, seed=1))
    found = compiled.top_k(**terms, k=5)
    torch.set_num_threads(1)
    assert_same(found, compiled.top_k(**terms, k=5))


def test_an_empty_sequence_has_one_segmentation_and_empty_batches_have_answers(backend):
    found = backend.top_k(**tensors(LONG), k=2)
    assert found.scores[:, 2].tolist() == [0.0, -math.inf]
    assert ranked(found, 2) == [(0.0, ())]
    for batch, time in ((0, 3), (2, 0), (0, 0)):
        found = backend.top_k(**tensors(random_potentials(batch, time, 3, 2)), k=2)
        assert found.labels.shape == found.durations.shape == (2, batch, time)
        assert found.scores.shape == (2, batch)


def test_where_nothing_is_allowed_there_is_nothing(backend):
    terms = tensors(random_potentials(2, 4, 3, 2))
    terms["emissions"][0, 2] = -math.inf
    found = backend.top_k(**terms, k=3)
    assert found.scores[:, 0].tolist() == [-math.inf] * 3
    assert (found.labels[:, 0] == -1).all()
    assert (found.durations[:, 0] == 0).all()
    assert len(ranked(found, 1)) == 3


def test_what_is_no_count_is_refused(backend):
    terms = tensors(random_potentials(1, 2, 2, 2))
    with pytest.raises(ValueError, match=r"k is 0; expected at least 1"):
        backend.top_k(**terms, k=0)
    with pytest.raises(TypeError, match=r"k is 2\.5; expected an integer"):
        backend.top_k(**terms, k=2.5)
    assert backend.top_k(**terms, k=np.int64(2)).labels.shape == (2, 1, 2)


def test_terms_that_require_gradients_are_ranked_without_a_graph(backend):
    terms = {name: term.requires_grad_() for name, term in tensors(random_potentials(1, 3, 2, 2)).items()}
    assert not backend.top_k(**terms, k=2).scores.requires_grad
