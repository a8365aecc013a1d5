"""Enumeration: the list of all segmentations, and what must hold of any such list."""

import math
from collections import Counter
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings

from semicrf_spec import (
    COUNT,
    LOG,
    MAX,
    REAL,
    UNKNOWN,
    Potentials,
    Segment,
    check_segments,
    enumerate_batch,
    segmentations,
    segments_to_labels,
)
from semicrf_spec.cost import num_segmentations
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
from semicrf_spec.testing.strategies import small_potentials

every_case = pytest.mark.parametrize("name", case_names())
small_sizes = pytest.mark.parametrize(
    ("length", "classes", "max_duration"), list(product(range(6), range(1, 4), range(1, 7)))
)


@cache
def enumerated(name, max_duration):
    return enumerate_batch(case(name, max_duration))


def sequences(name):
    """Every sequence of a named case, for every K."""
    return [sequence for max_duration in MAX_DURATIONS for sequence in enumerated(name, max_duration)]


def allowed(name):
    """Those that have a distribution at all."""
    return [sequence for sequence in sequences(name) if sequence.count > 0]


def comes_first(left, right):
    """The documented order of equal scores: at the last difference, lower label, then shorter duration."""
    for a, b in zip(reversed(left), reversed(right), strict=False):
        if a.label != b.label:
            return a.label < b.label
        if a.duration != b.duration:
            return a.duration < b.duration
    return False


@small_sizes
def test_every_segmentation_is_a_tiling_and_none_comes_twice(length, classes, max_duration):
    found = list(segmentations(length, classes, max_duration))
    assert len(found) == len(set(found)) == num_segmentations(length, classes, max_duration)
    for segments in found:
        check_segments(segments, length, num_classes=classes, max_duration=max_duration)


@small_sizes
def test_every_labelling_cut_in_every_way_is_found(length, classes, max_duration):
    ways = set()
    for labels in product(range(classes), repeat=length):
        optional = [t for t in range(1, length) if labels[t - 1] == labels[t]]
        forced = [t for t in range(1, length) if labels[t - 1] != labels[t]]
        for chosen in product([False, True], repeat=len(optional)):
            cuts = sorted({0, length, *forced, *(t for t, cut in zip(optional, chosen, strict=True) if cut)})
            if all(end - start <= max_duration for start, end in pairwise(cuts)):
                ways.add(tuple((start, end, labels[start]) for start, end in pairwise(cuts)))
    assert set(segmentations(length, classes, max_duration)) == (ways if length else {()})


@every_case
def test_probabilities_sum_to_one(name):
    for sequence in sequences(name):
        if sequence.count:
            assert_close(sequence.probabilities.sum(), 1.0, PROBABILITY_SUM)
        else:
            assert not sequence.probabilities.any()
            assert sequence.log_partition == -math.inf


@every_case
def test_exponentials_of_log_probabilities_are_the_probabilities_and_sum_to_one(name):
    for sequence in allowed(name):
        log_probs = sequence.scores - sequence.log_partition
        bound = probability_bound(sequence.log_partition)
        assert np.all(log_probs <= 0.0)
        assert_close(math.fsum(np.exp(log_probs)), 1.0, bound)
        assert_close(np.exp(log_probs), sequence.probabilities, bound)


@every_case
def test_the_log_partition_is_the_logarithm_of_the_exactly_summed_weights(name):
    for sequence in allowed(name):
        peak = float(sequence.scores.max())
        weight = math.fsum(math.exp(score - peak) for score in sequence.scores.tolist())
        assert_close(sequence.log_partition, peak + math.log(weight), FLOAT64_RELATIVE)


@every_case
def test_every_semiring_reads_its_answer_off_the_list_of_scores(name):
    for sequence in sequences(name):
        scores = sequence.scores
        assert_close(LOG.sum(LOG.lift(scores), 0), sequence.log_partition, FLOAT64_RELATIVE)
        assert COUNT.sum(COUNT.lift(scores), 0) == sequence.count
        assert MAX.sum(MAX.lift(scores), 0) == scores.max()
        if abs(sequence.log_partition) < 100:
            weight = REAL.sum(REAL.lift(scores - sequence.log_partition), 0)
            assert_close(weight, 1.0, PROBABILITY_SUM + probability_bound(sequence.log_partition))


def test_an_empty_sequence_has_one_empty_segmentation_of_score_0():
    (sequence,) = enumerate_batch(case("length_0"))
    assert sequence.all == [()]
    assert sequence.log_partition == 0.0
    assert sequence.probabilities.tolist() == [1.0]
    assert sequence.entropy == 0.0
    assert sequence.count == 1
    assert sequence.top_k(3) == [(0.0, ())]
    assert sequence.label_log_prob([]) == 0.0
    assert all(not counts.any() for counts in sequence.posteriors.values())


def test_where_nothing_is_allowed_everything_is_0_and_nothing_is_nan():
    before, sequence, after = enumerate_batch(case("nothing_allowed"))
    assert sequence.count == 0
    assert sequence.log_partition == -math.inf
    assert sequence.entropy == 0.0
    assert sequence.top_k(5) == []
    assert sequence.label_log_prob([0, 1, 0, 1]) == -math.inf
    assert sequence.label_log_prob([UNKNOWN] * 4) == -math.inf
    assert all(not counts.any() for counts in sequence.posteriors.values())
    assert before.count > 0
    assert after.count == 1


@every_case
def test_position_posteriors_sum_to_one_at_each_position_and_to_0_beyond(name):
    for sequence in sequences(name):
        expected = np.zeros(sequence.terms.shape[1])
        expected[: sequence.length] = 1.0 if sequence.count else 0.0
        assert_close(sequence.posteriors["position"].sum(1), expected, FLOAT64_POSTERIOR)
        for name_of_term in ("position", "begins", "ends", "transitions"):
            assert not sequence.posteriors[name_of_term][sequence.length :].any(), name_of_term


@every_case
def test_position_posteriors_are_the_probabilities_of_the_labels_there(name):
    for sequence in sequences(name):
        expected = np.zeros_like(sequence.posteriors["position"])
        for p, segments in zip(sequence.probabilities, sequence.all, strict=True):
            for u, label in enumerate(segments_to_labels(segments)):
                expected[u, label] += p
        assert_close(sequence.posteriors["position"], expected, FLOAT64_POSTERIOR)


@every_case
def test_begins_less_ends_are_the_steps_of_the_position_posteriors(name):
    for sequence in sequences(name):
        position, begins, ends = (sequence.posteriors[term] for term in ("position", "begins", "ends"))
        ended_before = np.concatenate([np.zeros_like(ends[:1]), ends[:-1]])[: len(ends)]
        before = np.concatenate([np.zeros_like(position[:1]), position[:-1]])[: len(position)]
        assert_close(begins - ended_before, position - before, FLOAT64_POSTERIOR)


@every_case
def test_expected_counts_agree_on_segments_positions_and_boundaries(name):
    for sequence in allowed(name):
        counts = sequence.posteriors
        number = float(np.sum(sequence.probabilities * [len(segments) for segments in sequence.all]))
        d = np.arange(1, sequence.terms.max_duration + 1)[:, None]
        within = 1.0 if sequence.length else 0.0
        for term in ("durations", "begins", "ends"):
            assert_close(counts[term].sum(), number, FLOAT64_POSTERIOR, term)
        assert_close((d * counts["durations"]).sum(), float(sequence.length), FLOAT64_POSTERIOR)
        assert_close(counts["transitions"].sum(), number - within, FLOAT64_POSTERIOR)
        if sequence.length:
            last = sequence.length - 1
            assert_close(counts["begins"][0].sum(), 1.0, FLOAT64_POSTERIOR)
            assert_close(counts["ends"][last].sum(), 1.0, FLOAT64_POSTERIOR)
            assert not counts["transitions"][0].any()
            # a boundary inside is left by the label that ended there and entered by the one that begins
            left = np.where(np.arange(len(counts["ends"]))[:, None] < last, counts["ends"], 0.0)
            assert_close(counts["transitions"].sum(2)[1:], left[:-1], FLOAT64_POSTERIOR)
            assert_close(counts["transitions"].sum(1)[1:], counts["begins"][1:], FLOAT64_POSTERIOR)


@every_case
def test_the_entropy_lies_between_0_and_the_logarithm_of_the_count(name):
    for sequence in allowed(name):
        most = math.log(sequence.count)
        assert sequence.entropy >= 0.0
        assert_close(max(sequence.entropy, most), most, FLOAT64_RELATIVE)


@every_case
def test_the_entropy_is_the_log_partition_less_the_expected_score(name):
    for sequence in allowed(name):
        possible = sequence.probabilities > 0
        expected = sequence.log_partition - float(
            np.sum(sequence.probabilities[possible] * sequence.scores[possible])
        )
        assert_close(sequence.entropy, expected, FLOAT64_RELATIVE, scale=sequence.log_partition)


def test_equal_scores_have_the_entropy_of_the_uniform_distribution():
    for sequence in enumerate_batch(case("ties")):
        assert_close(sequence.entropy, math.log(len(sequence.all)), FLOAT64_RELATIVE)


def test_one_allowed_segmentation_has_no_entropy():
    for sequence in enumerate_batch(random_potentials(1, 1, 1, 1)):
        assert sequence.entropy == 0.0
        assert sequence.probabilities.tolist() == [1.0]


@every_case
def test_the_k_best_are_sorted_distinct_allowed_and_in_the_documented_order_where_equal(name):
    for sequence in sequences(name):
        scores = dict(zip(sequence.all, sequence.scores.tolist(), strict=True))
        ranked = sequence.top_k(len(sequence.all) + 1)
        assert len(ranked) == len({segments for _, segments in ranked}) == sequence.count
        for score, segments in ranked:
            assert score == scores[segments] > -math.inf
        for (better, left), (worse, right) in pairwise(ranked):
            assert better > worse or (better == worse and comes_first(left, right))
        assert sequence.top_k(3) == ranked[:3]
        assert sequence.top_k(0) == []


def test_of_equal_scores_the_lowest_labels_and_shortest_last_segments_win():
    for sequence in sequences("ties"):
        singles = [Segment(t, t + 1, 0) for t in range(sequence.length)]
        best, second = (segments for _, segments in sequence.top_k(2))
        assert best == tuple(singles)
        assert second == (Segment(0, 1, 1), *singles[1:])
        if sequence.terms.max_duration > 1:
            assert sequence.top_k(3)[2] == (0.0, (Segment(0, 2, 0), *singles[2:]))


@every_case
def test_evenly_spread_numbers_draw_every_last_segment_in_proportion_to_its_probability(name):
    steps = 64
    middles = (np.arange(steps) + 0.5) / steps
    for sequence in sequences(name)[:2]:
        if not sequence.length or not sequence.count:
            assert sequence.draw(np.zeros((sequence.length, 2))) == ()
            continue
        drawn = Counter()
        for label_number in middles:
            for duration_number in middles:
                uniforms = np.full((sequence.length, 2), 0.5)
                uniforms[-1] = label_number, duration_number
                drawn[sequence.draw(uniforms)[-1]] += 1
        for last in {y[-1] for y in sequence.all}:
            p = sum(p for p, y in zip(sequence.probabilities, sequence.all, strict=True) if y[-1] == last)
            assert abs(drawn[last] / steps**2 - p) < 2 / steps  # each of the two cuts is off by half a step


def test_the_number_0_draws_what_comes_first_and_never_what_is_forbidden():
    for name in case_names():
        for sequence in sequences(name):
            if not sequence.count:
                continue
            drawn = sequence.draw(np.zeros((sequence.length, 2)))
            assert sequence.probabilities[sequence.all.index(drawn)] > 0.0
    (first, *_) = sequences("ties")
    assert first.draw(np.zeros((first.length, 2))) == tuple(Segment(t, t + 1, 0) for t in range(first.length))


@every_case
def test_the_probabilities_of_all_labellings_sum_to_one(name):
    for sequence in enumerated(name, 3):
        classes = sequence.terms.shape[2]
        if sequence.count and classes**sequence.length <= 50:
            every = product(range(classes), repeat=sequence.length)
            total = math.fsum(math.exp(sequence.label_log_prob(list(labels))) for labels in every)
            assert_close(total, 1.0, 2 * probability_bound(sequence.log_partition))


@every_case
def test_unknown_labels_are_agreed_with_by_everything(name):
    for sequence in allowed(name):
        assert sequence.label_log_prob([UNKNOWN] * sequence.length) == 0.0


@every_case
def test_labels_have_the_summed_probability_of_the_segmentations_that_agree(name):
    for sequence in enumerated(name, 3):
        for _, gold in sequence.top_k(3):
            labels = segments_to_labels(gold)
            for hidden in (None, *range(len(labels))):
                asked = [UNKNOWN if u == hidden else label for u, label in enumerate(labels)]
                agreeing = [
                    p
                    for p, segments in zip(sequence.probabilities, sequence.all, strict=True)
                    if [UNKNOWN if u == hidden else x for u, x in enumerate(segments_to_labels(segments))]
                    == asked
                ]
                found = math.exp(sequence.label_log_prob(asked))
                assert_close(found, math.fsum(agreeing), probability_bound(sequence.log_partition))


@every_case
def test_with_durations_of_one_labels_say_everything(name):
    for sequence in allowed(name):
        if sequence.terms.max_duration == 1:
            for score, segments in sequence.top_k(5):
                found = sequence.label_log_prob([segment.label for segment in segments])
                assert_close(found, score - sequence.log_partition, FLOAT64_RELATIVE)


@settings(max_examples=60)
@given(small_potentials())
def test_whatever_the_terms_the_distribution_is_normalised_and_its_marginals_are_its_own(potentials):
    for sequence in enumerate_batch(potentials):
        possible = 1.0 if sequence.count else 0.0
        assert_close(sequence.probabilities.sum(), possible, PROBABILITY_SUM)
        expected = np.zeros(potentials.shape[1])
        expected[: sequence.length] = possible
        assert_close(sequence.posteriors["position"].sum(1), expected, FLOAT64_POSTERIOR)
        assert not any(np.isnan(counts).any() for counts in sequence.posteriors.values())


def test_a_forbidden_entry_takes_away_exactly_the_segmentations_that_use_it():
    free = random_potentials(1, 3, 3, 2)
    start = np.array([0.0, -np.inf])
    (sequence,) = enumerate_batch(Potentials(**dict(free.items()) | {"start": start}))
    first = [segments[0].label for _, segments in sequence.top_k(100)]
    assert set(first) == {0}
    assert sequence.count == len(sequence.all) / 2


def test_bad_terms_are_named_before_anything_is_enumerated():
    bad = random_potentials(1, 3, 2, 2)
    bad.transition[1, 0] = np.inf
    with pytest.raises(ValueError, match=r"^transition\[1, 0\] is inf"):
        enumerate_batch(bad)
    with pytest.raises(ValueError, match=r"^lengths\[0\] is 9; expected 0 <= length <= T = 3"):
        enumerate_batch(random_potentials(1, 3, 2, 2, lengths=[9]))
