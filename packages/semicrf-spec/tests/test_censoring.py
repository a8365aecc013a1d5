"""Sequences that were cut off: what the definition says, and that copies of labels say the same."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from semicrf_spec import Potentials, Segment, enumerate_batch, enumerate_censored
from semicrf_spec.enumeration import preference
from semicrf_spec.operators import Censoring, Copies, Posteriors, Segmentation, survivors
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    PROBABILITY_SUM,
    assert_close,
    case,
    random_potentials,
)
from semicrf_spec.testing.enumerated import as_numpy
from semicrf_spec.testing.strategies import small_potentials

SIDES = [(True, False), (False, True), (True, True)]
each_side = pytest.mark.parametrize(("left", "right"), SIDES, ids=["left", "right", "both"])


def log_sum(*scores):
    return np.logaddexp.reduce(scores)


def one_label(length, durations):
    """Nothing but durations."""
    zeros = np.zeros((1, length, 1))
    return Potentials(zeros, np.zeros((1, 1)), np.array(durations)[:, None])


def scores(potentials, left, right):
    (sequence,) = enumerate_censored(potentials, left, right)
    return dict(zip(sequence.all, sequence.scores.tolist(), strict=True))


def test_a_segment_that_was_cut_off_may_have_lasted_whatever_fits():
    a, b, c = 0.3, -1.2, 0.7
    seen, whole = one_label(2, [a, b, c]), (Segment(0, 2, 0),)
    parts = (Segment(0, 1, 0), Segment(1, 2, 0))
    one_or_more, two_or_more = log_sum(a, b, c), log_sum(b, c)
    for (left, right), (expected_whole, expected_parts) in {
        (False, False): (b, a + a),
        (True, False): (two_or_more, one_or_more + a),
        (False, True): (two_or_more, a + one_or_more),
        (True, True): (log_sum(b, c, c), one_or_more + one_or_more),
    }.items():
        found = scores(seen, left, right)
        assert_close(found[whole], expected_whole, FLOAT64_RELATIVE)
        assert_close(found[parts], expected_parts, FLOAT64_RELATIVE)


def test_what_is_within_lasts_what_is_seen_of_it():
    seen = one_label(3, [0.0, -1.0, -2.0])
    ones = tuple(Segment(t, t + 1, 0) for t in range(3))
    assert_close(scores(seen, True, True)[ones], 2.0 * log_sum(0.0, -1.0, -2.0), FLOAT64_RELATIVE)


def test_a_forbidden_duration_is_forbidden_within_the_sums():
    seen = one_label(2, [-math.inf, -math.inf, 0.5])
    assert scores(seen, False, False) == dict.fromkeys(scores(seen, False, False), -math.inf)
    assert scores(seen, False, True)[(Segment(0, 2, 0),)] == 0.5
    assert scores(seen, False, True)[(Segment(0, 1, 0), Segment(1, 2, 0))] == -math.inf
    assert scores(seen, True, True)[(Segment(0, 1, 0), Segment(1, 2, 0))] == 1.0


@each_side
def test_a_longer_recording_says_the_same_where_nothing_else_does(left, right):
    """Where unseen positions score 0, what is seen has the summed weight of all that it is a part of."""
    rng = np.random.default_rng(0)
    longest, length = 3, 3
    duration = rng.standard_normal((longest, 1))
    potentials = Potentials(np.zeros((1, length, 1)), np.zeros((1, 1)), duration)
    found = scores(potentials, left, right)
    expected = dict.fromkeys(found, -math.inf)
    for before, after in product(range(longest if left else 1), range(longest if right else 1)):
        total = before + length + after
        longer = Potentials(np.zeros((1, total, 1)), np.zeros((1, 1)), duration)
        (sequence,) = enumerate_batch(longer)
        for segments, score in zip(sequence.all, sequence.scores, strict=True):
            cut = [Segment(max(s - before, 0), min(e - before, length), c) for s, e, c in segments]
            # what is hidden is hidden in one segment
            if cut[0].end > 0 and cut[-1].start < length:
                expected[tuple(cut)] = log_sum(expected[tuple(cut)], score)
    for segments, score in expected.items():
        assert_close(found[segments], score, FLOAT64_RELATIVE)


def test_flags_are_of_each_sequence_or_of_all():
    potentials = case("ragged")
    each = enumerate_censored(potentials, [True, False, True, False], True)
    assert [(e.left, e.right) for e in each] == [(True, True), (False, True), (True, True), (False, True)]
    plain = enumerate_censored(potentials, False, False)
    for sequence, expected in zip(plain, enumerate_batch(potentials), strict=True):
        assert_close(sequence.scores, expected.scores, FLOAT64_RELATIVE)


@pytest.mark.parametrize("longest", [1, 2, 3, 7, 8, 33])
def test_survivors_are_the_sums_of_all_that_is_longer(longest):
    duration = torch.randn(2, longest, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    duration[:, longest // 2, 1] = -math.inf
    duration[1, :, 2] = -math.inf
    once = torch.stack([duration[:, m:].logsumexp(1) for m in range(longest)], 1)
    assert_close(survivors(duration), once, FLOAT64_RELATIVE)
    ways = torch.stack(
        [
            (duration[:, m:] + torch.arange(1.0, longest - m + 1.0).double().log()[:, None]).logsumexp(1)
            for m in range(longest)
        ],
        1,
    )
    assert_close(survivors(survivors(duration)), ways, FLOAT64_RELATIVE)
    best = torch.stack([duration[:, m:].amax(1) for m in range(longest)], 1)
    assert torch.equal(survivors(duration, best=True), best)


def test_survivors_have_two_derivatives_and_none_is_nan():
    duration = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert gradcheck(survivors, duration.requires_grad_())
    assert gradgradcheck(survivors, duration)
    forbidden = torch.full((4, 2), -math.inf, dtype=torch.float64)
    forbidden[1, 0] = 0.0
    forbidden.requires_grad_()
    found = survivors(survivors(forbidden))
    (grad,) = torch.autograd.grad(torch.where(found > -math.inf, found, 0.0).sum(), forbidden)
    assert grad.tolist() == [[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def censored(potentials, left, right):
    flags = (side if isinstance(side, bool) else torch.tensor(side) for side in (left, right))
    censoring = Censoring(*flags)
    return censoring, censoring.unfolded(potentials.map(torch.from_numpy))


def by_seen(potentials, left, right):
    """Of every sequence, what is allowed of the copies: its scores, by the segmentation of labels it is."""
    censoring, unfolded = censored(potentials, left, right)
    count = censoring.copies.count
    for sequence in enumerate_batch(as_numpy(unfolded)):
        allowed = [(y, x) for y, x in zip(sequence.all, sequence.scores, strict=True) if x > -math.inf]
        found = {tuple(Segment(s, e, c // count) for s, e, c in y): (y, x) for y, x in allowed}
        assert len(found) == len(allowed)
        yield found


def check_one_to_one(potentials, left, right):
    listed = enumerate_censored(potentials, left, right)
    for found, expected in zip(by_seen(potentials, left, right), listed, strict=True):
        seen = {y: x for y, x in zip(expected.all, expected.scores, strict=True) if x > -math.inf}
        assert found.keys() == seen.keys()
        for segments, score in seen.items():
            assert_close(found[segments][1], score, FLOAT64_RELATIVE)


each_flag = pytest.mark.parametrize(
    ("left", "right"), [*SIDES, ([True, False, True, False], [False, True, True, False])]
)


@each_flag
def test_segmentations_of_copies_are_those_seen_one_to_one(left, right):
    check_one_to_one(random_potentials(4, 3, 5, 2, seed=6, lengths=[1, 0, 3, 2]), left, right)


flags = st.one_of(st.booleans(), st.lists(st.booleans(), min_size=2, max_size=2))


@given(small_potentials(max_time=3, max_classes=2), flags, flags)
def test_they_are_whatever_is_forbidden(potentials, left, right):
    check_one_to_one(
        potentials, *(x if isinstance(x, bool) else x[: potentials.shape[0]] for x in (left, right))
    )


of_longer_shapes = pytest.mark.parametrize(
    ("duration", "transition"),
    [
        ("BTKC", "CC"),
        ("BTKC", "BTCC"),
        ("KC", "KCC"),
        ("BKC", "KCC"),
        ("BTKC", "KCC"),
        ("KC", "BTKCC"),
        ("BKC", "BTKCC"),
        ("BTKC", "BTKCC"),
    ],
    ids="-".join,
)


def with_shapes(duration, transition, lengths=(2, 0, 3, 1), longest=4):
    """Scores of whole segments and transitions by duration, of these axes; some are forbidden."""
    batch, classes = len(lengths), 2
    potentials = random_potentials(batch, 3, longest, classes, seed=7, lengths=list(lengths))
    sizes = {"B": batch, "T": 3, "K": longest, "C": classes}
    rng = np.random.default_rng(8)
    terms = {}
    for name, axes in (("duration", duration), ("transition", transition)):
        term = rng.standard_normal([sizes[letter] for letter in axes])
        terms[name] = np.where(rng.random(term.shape) < 0.2, -np.inf, term)
    return replace(potentials, **terms)


@each_flag
@of_longer_shapes
def test_they_are_whatever_scores_depend_on(duration, transition, left, right):
    check_one_to_one(with_shapes(duration, transition), left, right)


def test_what_is_not_seen_is_scored_where_the_segment_is_first_seen():
    """A last segment of one position, after one of one position, of either label."""
    duration, transition = np.zeros((1, 2, 3, 2)), np.zeros((3, 2, 2))
    duration[0, 0, 1:], duration[0, 1, :, 1] = -np.inf, [0.3, -0.5, 0.9]
    transition[:, 0, 1] = [-1.0, 2.0, 0.25]
    potentials = Potentials(np.zeros((1, 2, 2)), transition, duration)
    seen = (Segment(0, 1, 0), Segment(1, 2, 1))
    expected = log_sum(0.3 - 1.0, -0.5 + 2.0, 0.9 + 0.25)
    assert_close(scores(potentials, False, True)[seen], expected, FLOAT64_RELATIVE)
    assert_close(scores(potentials, True, False)[seen], 0.3 - 1.0, FLOAT64_RELATIVE)
    whole = (Segment(0, 2, 1),)
    duration[0, 0, :, 1] = [5.0, 0.7, -0.2]
    one_end, both_ends = log_sum(0.7, -0.2), log_sum(0.7, -0.2, -0.2)
    for left, right, wanted in ((False, True, one_end), (True, False, one_end), (True, True, both_ends)):
        assert_close(scores(potentials, left, right)[whole], wanted, FLOAT64_RELATIVE)


@each_flag
def test_copies_keep_the_order_of_ties(left, right):
    """The documented order of labels is the order of the copies, of any two that may be seen."""
    potentials = random_potentials(4, 4, 5, 2, seed=3, lengths=[0, 1, 3, 4])
    for found in by_seen(potentials, left, right):
        seen = sorted(found, key=preference)
        assert seen == sorted(found, key=lambda y: preference(found[y][0]))


@pytest.mark.parametrize("copies", [Copies(a, b) for a, b in product([False, True], repeat=2)], ids=str)
def test_labels_in_copies_say_where_their_segments_are(copies):
    segments = [[(0, 2, 1), (2, 3, 0), (3, 4, 1)], [(0, 3, 1)], []]
    found = Segmentation.from_list(segments, num_positions=4)
    sound = found.labels.clamp(min=0)
    labels = copies.labels_of(sound, found.durations)
    in_copies = Segmentation(
        torch.where(found.labels < 0, -1, labels), found.durations, found.lengths, found.lengths.double()
    )
    places = {
        (segments[0][0], 0): (True, False),
        (segments[0][1], 0): (False, False),
        (segments[0][2], 0): (False, True),
        (segments[1][0], 1): (True, True),
    }
    for b, sequence in enumerate(in_copies.to_list()):
        for given_, (_, _, copy) in zip(segments[b], sequence, strict=True):
            first, last = places[given_, b]
            wanted = (first and copies.first, last and copies.last)
            assert (copies.places[copy % copies.count], copy // copies.count) == (wanted, given_[2])
    folded = copies.folded(in_copies)
    assert torch.equal(folded.labels, found.labels)
    assert torch.equal(folded.scores, in_copies.scores)


@each_side
def test_counts_of_copies_add_up_to_those_of_labels(left, right):
    potentials = random_potentials(2, 3, 2, 2, seed=5, lengths=[3, 2])
    censoring, unfolded = censored(potentials, left, right)
    names = Posteriors._fields
    counts = [e.posteriors for e in enumerate_batch(as_numpy(unfolded))]
    stacked = Posteriors(*(torch.tensor(np.array([c[name] for c in counts])) for name in names))
    folded = censoring.copies.summed(stacked)
    expected = [e.posteriors for e in enumerate_censored(potentials, left, right)]
    for name, found in zip(names, folded, strict=True):
        assert_close(found, np.array([e[name] for e in expected]), FLOAT64_POSTERIOR, name)
    assert_close(folded.boundary[:, 0], np.ones(2), PROBABILITY_SUM)


def test_nothing_is_copied_where_nothing_is_cut_off():
    potentials = random_potentials(2, 3, 2, 2).map(torch.from_numpy)
    assert Censoring().unfolded(potentials) is potentials
    assert Censoring(best=True).copies == Copies(False, False)


def test_durations_differ_by_sequence_only_where_censoring_does():
    potentials = case("ragged")
    assert censored(potentials, True, False)[1].duration.shape == (3, 4)
    assert censored(potentials, True, [True, False, True, False])[1].duration.shape == (4, 3, 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_durations_are_summed_in_float64_whatever_they_are(dtype):
    durations = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    potentials = Potentials(torch.zeros(1, 4, 2, dtype=dtype), torch.zeros(2, 2, dtype=dtype), durations)
    unfolded = Censoring(right=True).unfolded(potentials)
    assert_close(unfolded.duration[:, 1::2], survivors(durations.double()), FLOAT64_RELATIVE)
    assert unfolded.emissions.dtype == dtype
