"""Scores of whole segments and transitions by duration, of sequences that were cut off: by enumeration."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from semicrf_nn import SemiCRF
from semicrf_spec import enumerate_batch, enumerate_censored, segments_to_labels
from semicrf_spec.enumeration import preference
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close, random_potentials
from semicrf_spec.testing.enumerated import as_numpy

LENGTHS = (3, 0, 4, 1)
T, K, C = 4, 4, 2
SIZES = {"B": len(LENGTHS), "T": T, "K": K, "C": C}
LEFT, RIGHT = [False, True, True, True], [True, True, False, True]
WHICH = {"left": (True, False), "right": (False, True), "both": (True, True), "each": (LEFT, RIGHT)}
SHAPES = {
    "segments": ("BTKC", "CC", "compiled"),
    "segments on eager": ("BTKC", "BTCC", "eager"),
    "transitions": ("KC", "KCC", "eager"),
    "transitions of sequences": ("BKC", "KCC", "eager"),
    "both": ("BTKC", "KCC", "eager"),
    "transitions of segments": ("BTKC", "BTKCC", "eager"),
}
each_shape = pytest.mark.parametrize("shape", SHAPES)
each_way = pytest.mark.parametrize("which", WHICH)


def counted(b, s, d, left, right):
    """Whether something that begins at s and lasts d positions may have happened, seen or not."""
    length = LENGTHS[b]
    return s + d <= length or (s < length and right[b]) or (s == 0 and left[b] and length > 0)


def poisoned(potentials, left, right):
    """NaN where scores by position and duration count for nothing."""
    terms = {}
    for name, axes in (("duration", 4), ("transition", 5)):
        term = np.array(getattr(potentials, name))
        if term.ndim == axes:
            for b, s, d in np.ndindex(term.shape[:3]):
                if not counted(b, s, d + 1, left, right) or (axes == 5 and s == 0):
                    term[b, s, d] = np.nan
        terms[name] = term
    return replace(potentials, **terms)


@cache
def named(shape, which, seed=41, forbidden=0.15):
    """Potentials, their flags for each sequence, and what enumeration says."""
    rng = np.random.default_rng(seed)
    terms = {}
    for name, axes in zip(("duration", "transition"), SHAPES[shape], strict=False):
        term = rng.standard_normal([SIZES[letter] for letter in axes])
        terms[name] = np.where(rng.random(term.shape) < forbidden, -np.inf, term)
    potentials = replace(random_potentials(len(LENGTHS), T, K, C, seed=seed, lengths=list(LENGTHS)), **terms)
    left, right = (np.broadcast_to(side, len(LENGTHS)).tolist() for side in WHICH[which])
    potentials = poisoned(potentials, left, right)
    return potentials, enumerate_censored(potentials, left, right)


def distribution(potentials, shape, which):
    left, right = WHICH[which]
    terms = dict(potentials.map(torch.from_numpy).items())
    return SemiCRF(**terms, left_censored=left, right_censored=right, backend=SHAPES[shape][2])


def allowed_of(e):
    return [(y, score) for y, score in zip(e.all, e.scores, strict=True) if score > -np.inf]


def segment_probabilities(e):
    """`(T, K, C)`, of what is seen."""
    found = np.zeros((T, K, C))
    for probability, y in zip(e.probabilities, e.all, strict=True):
        for start, end, label in y:
            found[start, end - start - 1, label] += probability
    return found


@each_way
@each_shape
def test_log_partition_entropy_and_posteriors_are_those_of_what_is_seen(shape, which):
    potentials, listed = named(shape, which)
    d = distribution(potentials, shape, which)
    size = d.log_partition
    assert_close(size, [e.log_partition for e in listed], FLOAT64_RELATIVE)
    assert_close(d.entropy(), [e.entropy for e in listed], FLOAT64_RELATIVE, scale=size)
    expected_score = [e.probabilities @ np.maximum(e.scores, -1e9) for e in listed]
    assert_close(d.expected_score(), expected_score, FLOAT64_RELATIVE, scale=size)
    posteriors = d.posteriors
    for count in posteriors._fields:
        expected = np.array([e.posteriors[count] for e in listed])
        if count == "transitions" and "T" not in SHAPES[shape][1]:
            expected = expected.sum(1)
        assert_close(getattr(posteriors, count), expected, FLOAT64_POSTERIOR, count)


@each_way
@each_shape
def test_the_best_are_found_in_order_with_the_scores_of_all(shape, which):
    potentials, listed = named(shape, which)
    d = distribution(potentials, shape, which)
    most = max(e.count for e in listed)
    ranked = d.top_k(most)
    found = ranked.to_list()
    for b, e in enumerate(listed):
        expected = e.top_k(most)
        scores = [score for score, _ in expected] + [-np.inf] * (most - len(expected))
        assert_close(ranked.scores[:, b], scores, FLOAT64_RELATIVE)
        assert {tuple(y[b]) for y in found[: len(expected)]} == {y for _, y in expected}
    assert_close(d.mode.scores, ranked.scores[0], FLOAT64_RELATIVE)
    assert_close(d.score(ranked), ranked.scores, FLOAT64_RELATIVE)
    log_prob = torch.where(ranked.scores > -torch.inf, ranked.scores - d.log_partition, -torch.inf)
    assert_close(d.log_prob(ranked), log_prob, FLOAT64_RELATIVE, scale=d.log_partition)


@each_way
@each_shape
def test_samples_are_those_that_the_definition_selects(shape, which):
    potentials, _ = named(shape, which)
    d = distribution(potentials, shape, which)
    drawn = d.sample(30, generator=torch.Generator().manual_seed(5))
    uniforms = torch.rand((30, 4, T, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    count = d.censoring.copies.count
    for b, e in enumerate(enumerate_batch(as_numpy(d._unfolded))):
        for sample, numbers in zip(drawn.to_list(), uniforms.numpy(), strict=True):
            assert sample[b] == [(s, t, c // count) for s, t, c in e.draw(numbers[b])]
    assert_close(drawn.scores, d.score(drawn), FLOAT64_RELATIVE)


@each_way
@each_shape
def test_the_uniform_distribution_is_over_what_may_be_seen_in_the_order_of_ties(shape, which):
    potentials, listed = named(shape, which)
    u = distribution(potentials, shape, which).uniform()
    assert_close(u.log_partition, np.log([e.count for e in listed]), FLOAT64_RELATIVE)
    most = max(e.count for e in listed)
    ranked = u.top_k(most).to_list()
    for b, e in enumerate(listed):
        expected = sorted((y for y, _ in allowed_of(e)), key=preference)
        assert [tuple(y[b]) for y in ranked] == expected + [()] * (most - len(expected))


@each_way
@each_shape
def test_segments_are_expected_charged_and_decoded_as_they_are_seen(shape, which):
    potentials, listed = named(shape, which)
    d = distribution(potentials, shape, which)
    segments = d.segment_posteriors
    costs = torch.randn(segments.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    risk = d.expected_cost(segments=costs, durations=torch.tensor(0.5))
    last = [y[-1:] for y in d.mode.to_list()]
    known = d.segment_probabilities(last)
    given = d.constrained(segments=last).log_partition - d.log_partition
    found = d.decode("segment_f1").to_list(), d.decode("position").to_list()
    for b, e in enumerate(listed):
        right, position = segment_probabilities(e), e.posteriors["position"]
        assert_close(segments[b], right, FLOAT64_POSTERIOR)
        assert_close(risk[b], np.vdot(right, costs[b].numpy() + 0.5), FLOAT64_POSTERIOR)
        for start, end, label in last[b]:
            wanted = right[start, end - start - 1, label]
            assert_close(known[b], [wanted], FLOAT64_POSTERIOR)
            assert_close(given[b].exp(), wanted, FLOAT64_POSTERIOR)

        def segment_gain(y, right=right):
            return sum(right[start, end - start - 1, label] for start, end, label in y)

        def position_gain(y, position=position):
            return sum(position[t, c] for t, c in enumerate(segments_to_labels(y)))

        for gain, answer in zip((segment_gain, position_gain), found, strict=True):
            best = max(gain(y) for y, _ in allowed_of(e))
            assert_close(gain(answer[b]), best, FLOAT64_POSTERIOR)


@each_way
@each_shape
def test_constraints_are_on_what_is_seen_and_on_how_long_it_lasted(shape, which):
    potentials, _ = named(shape, which, forbidden=0.0)
    duration, transition = np.array(potentials.duration), np.array(potentials.transition)
    duration[..., 0, 0] = duration[..., 3, 0] = duration[..., 2:, 1] = -np.inf
    transition[..., 1, 1] = -np.inf
    labels = [[-100] * T, [-100] * T, [0, 0, 1, -100], [-100] * T]
    d = distribution(potentials, shape, which).constrained(
        labels=labels, forbidden_transitions=[(1, 1)], min_duration=[2, 1], max_duration=[3, 2]
    )
    bounded = replace(potentials, duration=duration, transition=transition)
    for b, e in enumerate(enumerate_censored(bounded, *WHICH[which])):
        agreed = e.label_log_prob(labels[b][: e.length]) + e.log_partition
        assert_close(d.log_partition[b], agreed, FLOAT64_RELATIVE)


@each_way
@each_shape
def test_divergences_from_scores_that_depend_on_less_are_those_of_the_lists(shape, which):
    potentials, listed = named(shape, which, forbidden=0.0)
    p = distribution(potentials, shape, which)
    plain = random_potentials(len(LENGTHS), T, K, C, seed=43, lengths=list(LENGTHS))
    q = SemiCRF(**dict(plain.map(torch.from_numpy).items()), right_censored=RIGHT, backend=SHAPES[shape][2])
    others = enumerate_censored(plain, False, RIGHT)
    for a, lists in ((p.kl_divergence(q), (listed, others)), (q.kl_divergence(p), (others, listed))):
        expected = [
            ours.probabilities @ (ours.scores - ours.log_partition - theirs.scores + theirs.log_partition)
            for ours, theirs in zip(*lists, strict=True)
        ]
        assert_close(a, expected, FLOAT64_RELATIVE, scale=10.0)
    assert_close(p.cross_entropy(q) - p.entropy(), p.kl_divergence(q), FLOAT64_RELATIVE, scale=10.0)


@each_shape
def test_gradients_are_those_of_differences(shape):
    potentials, _ = named(shape, "each", forbidden=0.0)
    terms = dict(potentials.map(torch.from_numpy).items())
    names = ("duration", "transition")
    left, right = WHICH["each"]

    def answers(*given):
        own = dict(zip(names, given, strict=True))
        d = SemiCRF(**terms | own, left_censored=left, right_censored=right, backend=SHAPES[shape][2])
        return d.log_prob([[(0, 1, 0), (1, 3, 1)], [], [(0, 4, 1)], [(0, 1, 0)]]), d.entropy()

    leaves = [terms[name].nan_to_num().requires_grad_() for name in names]
    assert gradcheck(answers, leaves, fast_mode=True)


@each_way
@each_shape
def test_gradients_are_expected_counts_of_whole_segments_and_0_of_what_counts_for_nothing(shape, which):
    """However long it has been, each segment lasted something: the counts of durations are one a segment."""
    potentials, listed = named(shape, which)
    terms = {n: torch.tensor(t, requires_grad=t.dtype.kind == "f") for n, t in potentials.items()}
    left, right = WHICH[which]
    d = SemiCRF(**terms, left_censored=left, right_censored=right, backend=SHAPES[shape][2])
    d.log_partition.sum().backward()
    segments = sum(e.posteriors["begins"].sum() for e in listed)
    first = sum(bool(e.length) for e in listed)
    for name, number in (("duration", segments), ("transition", segments - first)):
        counts = terms[name].grad
        assert counts.isfinite().all()
        assert_close(counts.sum(), number, FLOAT64_POSTERIOR, scale=10.0)
        assert (counts[~(terms[name] > -torch.inf)] == 0.0).all()
    if terms["duration"].ndim == 4:
        past = [i for i in np.ndindex(4, T, K) if i[1] + i[2] >= LENGTHS[i[0]]]
        assert any(terms["duration"].grad[i].sum() > 0.0 for i in past)
