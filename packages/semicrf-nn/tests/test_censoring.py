"""Every answer about sequences that were cut off, against enumeration of how long their segments were."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from semicrf_nn import SemiCRF
from semicrf_spec import enumerate_batch, enumerate_censored, segments_to_labels
from semicrf_spec.enumeration import preference
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    PROBABILITY_SUM,
    assert_close,
    case,
    factored_case_names,
    random_potentials,
)
from semicrf_spec.testing.enumerated import as_numpy
from semicrf_spec.testing.strategies import small_potentials

BACKENDS = ["eager", "compiled"]
WHICH = {"left": (True, False), "right": (False, True), "both": (True, True), "each": ("left", "right")}
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_case = pytest.mark.parametrize(
    ("name", "max_duration"), [(name, k) for name in factored_case_names() for k in (2, 5)]
)
each_way = pytest.mark.parametrize("which", WHICH)


def flags(which, batch):
    """Left and right; for `"each"` every sequence has its own."""
    left, right = WHICH[which]
    if which == "each":
        return [bool(b % 2) for b in range(batch)], [b % 3 < 2 for b in range(batch)]
    return left, right


def distribution(potentials, left, right, backend=None):
    return SemiCRF(
        **dict(potentials.map(torch.from_numpy).items()),
        left_censored=left,
        right_censored=right,
        backend=backend,
    )


@cache
def named(name, max_duration, which):
    """A case, its flags and what enumeration says."""
    potentials = case(name, max_duration)
    left, right = flags(which, potentials.shape[0])
    return potentials, left, right, enumerate_censored(potentials, left, right)


SMALL = random_potentials(4, 5, 3, 2, seed=301, lengths=[5, 0, 1, 4])


def small(which, backend=None):
    left, right = flags(which, 4)
    return distribution(SMALL, left, right, backend), enumerate_censored(SMALL, left, right)


def each_repeated(d, b, times):
    """Sequence b, so many times."""
    terms = {}
    for name, term in d.potentials.items():
        own = name in ("emissions", "begin", "finish", "lengths", "cuts") or term.ndim > 2
        terms[name] = term[b].expand(times, *term.shape[1:]) if own else term
    left, right = (s if isinstance(s, bool) else bool(s[b]) for s in (d.censoring.left, d.censoring.right))
    return SemiCRF(**terms, backend=d.backend, left_censored=left, right_censored=right)


@each_backend
@each_case
@each_way
def test_log_partition_entropy_and_posteriors_are_those_of_what_is_seen(name, max_duration, which, backend):
    potentials, left, right, listed = named(name, max_duration, which)
    d = distribution(potentials, left, right, backend)
    size = d.log_partition
    assert_close(size, [e.log_partition for e in listed], FLOAT64_RELATIVE)
    assert_close(d.entropy(), [e.entropy for e in listed], FLOAT64_RELATIVE, scale=size)
    posteriors = d.posteriors
    for count in posteriors._fields:
        expected = np.array([e.posteriors[count] for e in listed])
        if count == "transitions" and potentials.transition.ndim == 2:
            expected = expected.sum(1)
        assert_close(getattr(posteriors, count), expected, FLOAT64_POSTERIOR, count)


@each_backend
@each_case
@each_way
def test_the_best_of_what_is_seen_are_found_with_their_scores(name, max_duration, which, backend):
    potentials, left, right, listed = named(name, max_duration, which)
    d = distribution(potentials, left, right, backend)
    k = 4
    found = d.top_k(k)
    ranked = [[score for score, _ in e.top_k(k)] for e in listed]
    expected = [r + [-np.inf] * (k - len(r)) for r in ranked]
    assert_close(found.scores, np.array(expected).T, FLOAT64_RELATIVE)
    assert_close(d.score(found), found.scores, FLOAT64_RELATIVE)
    assert_close(d.mode.scores, found.scores[0], FLOAT64_RELATIVE)
    for b, sequences in enumerate(zip(*found.to_list(), strict=True)):
        segmentations = [
            tuple(y) for y, score in zip(sequences, found.scores[:, b], strict=True) if score > -np.inf
        ]
        assert len(set(segmentations)) == len(segmentations)
        assert set(segmentations) <= set(listed[b].all)


@each_way
@each_case
def test_scores_and_probabilities_of_all_segmentations_are_those_of_enumeration(name, max_duration, which):
    potentials, left, right, listed = named(name, max_duration, which)
    d = distribution(potentials, left, right)
    for b, e in enumerate(listed):
        copies = each_repeated(d, b, len(e.all))
        assert_close(copies.score(e.all), e.scores, FLOAT64_RELATIVE)
        log_probs = copies.log_prob(e.all)
        assert_close(log_probs.exp(), e.probabilities, FLOAT64_RELATIVE, scale=e.log_partition)


@settings(max_examples=60)
@given(
    small_potentials(max_time=4, max_classes=2), st.lists(st.booleans(), min_size=4, max_size=4), st.data()
)
def test_any_potentials_answer_as_enumeration_says(potentials, sides, data):
    batch, time, classes = potentials.shape
    left, right = sides[:batch], sides[2 : 2 + batch]
    listed = enumerate_censored(potentials, left, right)
    labels = data.draw(
        st.lists(
            st.lists(st.sampled_from([-100, *range(classes)]), min_size=time, max_size=time),
            min_size=batch,
            max_size=batch,
        )
    )
    for backend in BACKENDS:
        d = distribution(potentials, left, right, backend)
        size = d.log_partition
        assert_close(size, [e.log_partition for e in listed], FLOAT64_RELATIVE)
        assert_close(d.entropy(), [e.entropy for e in listed], FLOAT64_RELATIVE, scale=size)
        expected = np.array([e.posteriors["durations"] for e in listed])
        assert_close(d.posteriors.durations, expected, FLOAT64_POSTERIOR, scale=size.abs().max())
        best = [e.top_k(1) for e in listed]
        assert_close(d.mode.scores, [b[0][0] if b else -np.inf for b in best], FLOAT64_RELATIVE)
        agreed = [e.label_log_prob(y[: e.length]) for e, y in zip(listed, labels, strict=True)]
        found = d.log_prob(torch.tensor(labels, dtype=torch.int64).reshape(batch, time))
        assert_close(found, agreed, FLOAT64_RELATIVE, scale=size)


@each_backend
@each_way
def test_expected_scores_are_those_of_what_is_seen(which, backend):
    d, listed = small(which, backend)
    expected = [e.probabilities @ e.scores for e in listed]
    assert_close(d.expected_score(), expected, FLOAT64_RELATIVE, scale=d.log_partition)
    assert_close(d.log_partition - d.expected_score(), d.entropy(), FLOAT64_RELATIVE, scale=d.log_partition)


@each_backend
@each_way
def test_expected_costs_are_of_seen_counts(which, backend):
    d, listed = small(which, backend)
    rng = np.random.default_rng(0)
    costs = {
        "position": rng.standard_normal((5, 2)),
        "durations": rng.standard_normal((3, 2)),
        "transitions": rng.standard_normal((2, 2)),
    }
    found = d.expected_cost(**{name: torch.from_numpy(cost) for name, cost in costs.items()})
    expected = [sum(np.sum(e.posteriors[name] * cost) for name, cost in costs.items()) for e in listed]
    assert_close(found, expected, FLOAT64_RELATIVE)


@each_backend
@pytest.mark.parametrize("q_which", ["none", *WHICH])
@pytest.mark.parametrize("p_which", ["none", *WHICH])
def test_divergences_are_between_distributions_over_what_is_seen(p_which, q_which, backend):
    theirs = random_potentials(4, 5, 4, 2, seed=302, lengths=[5, 0, 1, 4])
    pairs = []
    for potentials, which in ((SMALL, p_which), (theirs, q_which)):
        sides = (False, False) if which == "none" else flags(which, 4)
        pairs.append((distribution(potentials, *sides, backend), enumerate_censored(potentials, *sides)))
    (p, p_listed), (q, q_listed) = pairs
    crossed, divergence = [], []
    for a, b in zip(p_listed, q_listed, strict=True):
        log_q = dict(zip(b.all, b.scores - b.log_partition, strict=True))
        log_p = a.scores - a.log_partition
        other = np.array([log_q[y] for y in a.all])
        crossed.append(-a.probabilities @ other)
        divergence.append(a.probabilities @ (log_p - other))
    assert_close(p.cross_entropy(q), crossed, FLOAT64_RELATIVE, scale=10.0)
    assert_close(p.kl_divergence(q), divergence, FLOAT64_RELATIVE, scale=10.0)
    assert_close(torch.distributions.kl_divergence(p, q), divergence, FLOAT64_RELATIVE, scale=10.0)
    assert torch.equal(p.kl_divergence(p), torch.zeros(4, dtype=torch.float64))
    # q allows segments of 4, which p has no duration for
    assert (q.cross_entropy(p)[[0, 3]] == torch.inf).all()


@each_backend
@each_way
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_samples_are_those_that_the_definition_selects(which, temperature, backend):
    potentials = random_potentials(3, 3, 4, 2, seed=303, lengths=[3, 0, 2])
    d = distribution(potentials, *flags(which, 3), backend)
    drawn = d.sample(40, temperature=temperature, generator=torch.Generator().manual_seed(5))
    uniforms = torch.rand((40, 3, 3, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    cooled = as_numpy(d._unfolded).map(lambda term: term / temperature if term.dtype.kind == "f" else term)
    count = d.censoring.copies.count
    for b, e in enumerate(enumerate_batch(cooled)):
        for sample, numbers in zip(drawn.to_list(), uniforms.numpy(), strict=True):
            expected = [(s, t, c // count) for s, t, c in e.draw(numbers[b])]
            assert sample[b] == expected
    assert_close(drawn.scores, d.score(drawn), FLOAT64_RELATIVE)


@each_backend
@each_way
def test_the_uniform_distribution_is_over_what_may_be_seen(which, backend):
    """However many durations a segment may have had; which shows the order of ties as well."""
    potentials = random_potentials(4, 4, 3, 2, seed=304, lengths=[4, 0, 1, 3])
    duration = np.array(potentials.duration)
    duration[0, 0] = duration[2, 1] = -np.inf
    forbidding = type(potentials)(**{**dict(potentials.items()), "duration": duration})
    left, right = flags(which, 4)
    u = distribution(forbidding, left, right, backend).uniform()
    listed = enumerate_censored(forbidding, left, right)
    assert_close(u.log_partition, np.log([e.count for e in listed]), FLOAT64_RELATIVE)
    most = max(e.count for e in listed)
    ranked = u.top_k(most)
    for b, e in enumerate(listed):
        allowed = [y for y, score in zip(e.all, e.scores, strict=True) if score > -np.inf]
        expected = sorted(allowed, key=preference) + [()] * (most - len(allowed))
        assert [tuple(y[b]) for y in ranked.to_list()] == expected
        assert tuple(u.mode.to_list()[b]) == expected[0]


@each_backend
@pytest.mark.parametrize("which", ["left", "right"])
def test_equal_scores_are_ranked_in_the_documented_order(which, backend):
    """Whole numbers, and one duration of each label: sums without rounding, and many ties."""
    potentials = case("integer_ties", 3)
    duration = np.array([[-np.inf, 1.0], [-np.inf, -np.inf], [2.0, -np.inf]])
    tied = type(potentials)(**{**dict(potentials.items()), "duration": duration})
    left, right = flags(which, 3)
    listed = enumerate_censored(tied, left, right)
    k = 40
    ranked = distribution(tied, left, right, backend).top_k(k).to_list()
    for b, e in enumerate(listed):
        expected = [y for _, y in e.top_k(k)]
        assert len({score for score, _ in e.top_k(k)}) < len(expected)
        assert [tuple(y[b]) for y in ranked] == expected + [()] * (k - len(expected))


@each_backend
@each_way
def test_decoding_by_position_has_the_fewest_expected_mistakes(which, backend):
    """Of a label that may have lasted long and one that is likelier at both ends, but lasts one position."""
    potentials = random_potentials(4, 5, 6, 2, seed=309, scale=0.3, lengths=[5, 0, 1, 4])
    emissions, duration = np.array(potentials.emissions), np.array(potentials.duration)
    emissions[:, [0, 3, 4], 1] += 2.5
    duration[1:, 1] = -np.inf
    ends = type(potentials)(**{**dict(potentials.items()), "emissions": emissions, "duration": duration})
    left, right = flags(which, 4)
    found = distribution(ends, left, right, backend).decode("position").to_list()
    for b, e in enumerate(enumerate_censored(ends, left, right)):

        def gain(y, position=e.posteriors["position"]):
            return sum(position[t, c] for t, c in enumerate(segments_to_labels(y)))

        pairs = [(score, y) for y, score in zip(e.all, e.scores, strict=True) if score > -np.inf]
        assert_close(gain(found[b]), max(gain(y) for _, y in pairs), FLOAT64_RELATIVE)
        alike = [pair for pair in pairs if segments_to_labels(pair[1]) == segments_to_labels(found[b])]
        assert tuple(found[b]) == max(alike)[1]


@each_way
def test_constraints_are_on_what_is_seen_and_on_how_long_it_lasted(which):
    d, _ = small(which)
    left, right = flags(which, 4)
    bounded = np.array(SMALL.duration)
    bounded[0, 0] = bounded[2, 1] = -np.inf
    potentials = type(SMALL)(**{**dict(SMALL.items()), "duration": bounded})
    labels = [[-100, 1, -100, -100, -100], [9] * 5, [-100] * 5, [-100] * 5]
    found = d.constrained(labels=labels, min_duration=[2, 1], max_duration=[3, 2])
    for b, e in enumerate(enumerate_censored(potentials, left, right)):
        expected = e.label_log_prob(labels[b][: e.length]) + e.log_partition
        assert_close(found.log_partition[b], expected, FLOAT64_RELATIVE)


def test_a_segment_that_was_cut_off_may_be_shorter_than_the_shortest():
    potentials = random_potentials(1, 4, 3, 1, seed=305)
    whole = distribution(potentials, False, False).constrained(max_duration=3)
    with pytest.raises(ValueError, match="no segmentation satisfies the constraints"):
        whole.constrained(min_duration=3)
    cut = distribution(potentials, False, True).constrained(min_duration=3)
    assert cut.mode.to_list() == [[(0, 3, 0), (3, 4, 0)]]


@each_backend
@each_way
def test_gradients_are_those_of_differences(which, backend):
    potentials = random_potentials(2, 4, 3, 2, seed=306, lengths=[4, 3])
    left, right = flags(which, 2)
    terms = dict(potentials.map(torch.from_numpy).items())
    names = [name for name, term in terms.items() if term.is_floating_point()]

    def answers(*given):
        d = SemiCRF(
            **{**terms, **dict(zip(names, given, strict=True))},
            left_censored=left,
            right_censored=right,
            backend=backend,
        )
        gold = [[(0, 1, 0), (1, 3, 1), (3, 4, 0)], [(0, 3, 1)]]
        return d.log_prob(gold), d.entropy(), d.posteriors.durations

    assert gradcheck(answers, [terms[name].clone().requires_grad_() for name in names])


@each_way
def test_gradients_of_what_is_forbidden_are_0_and_never_nan(which):
    potentials = case("nothing_allowed", 3)
    grads = []
    for backend in BACKENDS:
        terms = {n: torch.tensor(t, requires_grad=t.dtype.kind == "f") for n, t in potentials.items()}
        with torch.no_grad():
            terms["duration"][1:, 1] = -torch.inf
            terms["duration"][:, 0] = -torch.inf
        left, right = flags(which, 3)
        d = SemiCRF(**terms, left_censored=left, right_censored=right, backend=backend)
        loss = torch.where(d.log_partition > -torch.inf, d.log_partition, 0.0).sum() + d.entropy().sum()
        loss.backward()
        grads.append({n: t.grad for n, t in terms.items() if t.requires_grad})
    for name, eager in grads[0].items():
        assert eager.isfinite().all()
        assert_close(grads[1][name], eager, FLOAT64_POSTERIOR, name)


@each_way
def test_one_position_a_segment_is_never_cut_off(which):
    potentials = random_potentials(4, 6, 1, 3, seed=307, lengths=[6, 0, 1, 5])
    plain, cut = distribution(potentials, False, False), distribution(potentials, *flags(which, 4))
    assert_close(cut.log_partition, plain.log_partition, FLOAT64_RELATIVE)
    assert_close(cut.posteriors.transitions, plain.posteriors.transitions, FLOAT64_POSTERIOR)
    assert torch.equal(cut.mode.labels, plain.mode.labels)


def test_false_everywhere_is_the_plain_distribution():
    plain = distribution(SMALL, False, False)
    nowhere = distribution(SMALL, [False] * 4, torch.zeros(4, dtype=torch.bool))
    assert_close(nowhere.log_partition, plain.log_partition, FLOAT64_RELATIVE)
    assert_close(nowhere.kl_divergence(plain), torch.zeros(4), FLOAT64_RELATIVE)
    assert nowhere.mode.to_list() == plain.mode.to_list()


def test_what_holds_at_any_length_holds_at_two_thousand_positions():
    potentials = random_potentials(2, 2000, 12, 3, seed=308, lengths=[2000, 1501])
    plain = distribution(potentials, False, False)
    d = distribution(potentials, [True, False], True)
    assert (d.log_partition > plain.log_partition).all()  # sums of more than one duration
    position = d.posteriors.position.sum(-1)
    assert_close(position[0], torch.ones(2000), FLOAT64_POSTERIOR)
    assert_close(position[1], (torch.arange(2000) < 1501).double(), FLOAT64_POSTERIOR)
    assert_close(d.posteriors.boundary[:, 0], torch.ones(2), FLOAT64_POSTERIOR)
    known = d.constrained(labels=torch.where(torch.arange(2000) % 7 == 0, d.mode.labels, -100))
    assert (known.log_partition <= d.log_partition).all()
    assert (d.mode.scores <= known.log_partition).all()
    assert_close(d.score(d.mode), d.mode.scores, FLOAT64_RELATIVE)
    assert_close(d.log_partition - d.expected_score(), d.entropy(), FLOAT64_RELATIVE, scale=d.log_partition)
    samples = d.sample(3, generator=torch.Generator().manual_seed(0))
    assert_close(d.score(samples), samples.scores, FLOAT64_RELATIVE)


def test_first_and_last_segments_are_longer_than_they_are_seen():
    """A recording of ones, cut out of segments of three: plain durations forbid what is seen."""
    duration = torch.tensor([-torch.inf, -torch.inf, 0.0])[:, None]
    terms = (torch.zeros(1, 5, 1), torch.zeros(1, 1), duration)
    assert SemiCRF(*terms).log_partition.item() == -torch.inf
    d = SemiCRF(*terms, left_censored=True, right_censored=True)
    assert {tuple(y) for (y,) in d.top_k(3).to_list()} == {
        ((0, 2, 0), (2, 5, 0)),
        ((0, 1, 0), (1, 4, 0), (4, 5, 0)),
        ((0, 3, 0), (3, 5, 0)),
    }
    assert_close(d.log_partition.exp(), [3.0], FLOAT64_RELATIVE)
    assert_close(d.entropy().exp(), [3.0], FLOAT64_RELATIVE)
    assert_close(d.posteriors.durations.sum(), 7.0 / 3.0, PROBABILITY_SUM)


@each_backend
@each_way
def test_whole_segments_and_positions_are_those_that_are_seen(which, backend):
    d, listed = small(which, backend)
    labels = torch.tensor([[0, 1, 1, 0, 1]]).repeat(4, 1)
    d_log_probs, segments = d.position_log_prob(labels), d.segment_posteriors
    costs = torch.randn(segments.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    risk, found = d.expected_cost(segments=costs), d.decode("segment_f1")
    for b, e in enumerate(listed):
        right = np.zeros(segments.shape[1:])
        for p, y in zip(e.probabilities, e.all, strict=True):
            for start, end, label in y:
                right[start, end - start - 1, label] += p
        assert_close(segments[b], right, FLOAT64_POSTERIOR)
        assert_close(risk[b], np.vdot(right, costs[b].numpy()), FLOAT64_POSTERIOR)

        def gain(y, right=right):
            return sum(right[start, end - start - 1, label] for start, end, label in y)

        assert_close(gain(found.to_list()[b]), max(map(gain, e.all)), FLOAT64_POSTERIOR)
        for t in range(e.length):
            alone = [-100] * e.length
            alone[t] = int(labels[b, t])
            assert_close(d_log_probs[b, t], e.label_log_prob(alone), FLOAT64_RELATIVE)


@each_way
def test_improbable_labels_of_sequences_that_were_cut_off_have_exact_logarithms(which):
    emissions = np.array(SMALL.emissions)
    emissions[:, 0, 1] -= 40.0
    potentials = type(SMALL)(**{**dict(SMALL.items()), "emissions": emissions})
    left, right = flags(which, 4)
    found = distribution(potentials, left, right).position_log_prob(torch.ones(4, 5, dtype=torch.int64))
    for b, e in enumerate(enumerate_censored(potentials, left, right)):
        if e.length:
            assert_close(found[b, 0], e.label_log_prob([1] + [-100] * (e.length - 1)), FLOAT64_RELATIVE)
