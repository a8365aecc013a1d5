"""The score of a segmentation, against the same score summed position by position."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semicrf_spec import Potentials, Segment, enumerate_batch, score
from semicrf_spec.testing import (
    FLOAT64_RELATIVE,
    MAX_DURATIONS,
    assert_close,
    case,
    case_names,
    random_potentials,
)
from semicrf_spec.testing.strategies import small_potentials

every_case = pytest.mark.parametrize("name", case_names())


def by_position(potentials, b, segments):
    """The score, term by term as the table of terms defines them, over positions and not over segments."""
    length = sum(end - start for start, end, _ in segments)
    begun = {start: (end, label) for start, end, label in segments}
    total, label, start = 0.0, None, 0
    for u in range(length):
        if u in begun:
            before, (_, label) = label, begun[u]
            start = u
            if u == 0:
                total += entry(potentials.start, label)
            elif potentials.transition.ndim == 2:
                total += entry(potentials.transition, before, label)
            else:
                total += entry(potentials.transition, b, u, before, label)
            total += entry(potentials.begin, b, u, label)
        total += entry(potentials.emissions, b, u, label)
        if u + 1 == length or u + 1 in begun:
            row = (u - start, label)
            where = {2: (), 3: (b,), 4: (b, start)}[potentials.duration.ndim]
            total += entry(potentials.duration, *where, *row)
            total += entry(potentials.finish, b, u, label)
        if u + 1 == length:
            total += entry(potentials.end, label)
        if potentials.cuts is not None and potentials.cuts[b, u] and u not in begun:
            total = -np.inf
    return total


def entry(term, *index):
    return 0.0 if term is None else float(term[index])


def random_tiling(rng, length, max_duration, classes):
    segments, at = [], 0
    while at < length:
        end = at + int(rng.integers(1, min(max_duration, length - at) + 1))
        segments.append(Segment(at, end, int(rng.integers(classes))))
        at = end
    return segments


@cache
def enumerated(name, max_duration):
    return enumerate_batch(case(name, max_duration))


@every_case
def test_every_segmentation_of_every_case_scores_what_its_positions_add_up_to(name):
    for max_duration in MAX_DURATIONS:
        potentials = case(name, max_duration)
        for b, sequence in enumerate(enumerated(name, max_duration)):
            expected = [by_position(potentials, b, segments) for segments in sequence.all]
            what = f"scores of sequence {b}, K = {max_duration}"
            assert_close(sequence.scores, np.array(expected), FLOAT64_RELATIVE, what)


@given(small_potentials(), st.integers(0, 2**31))
def test_the_scores_of_a_batch_are_those_of_its_sequences(potentials, seed):
    batch, time, classes = potentials.shape
    lengths = [time] * batch if potentials.lengths is None else potentials.lengths.tolist()
    rng = np.random.default_rng(seed)
    gold = [random_tiling(rng, length, potentials.max_duration, classes) for length in lengths]
    expected = [by_position(potentials, b, segments) for b, segments in enumerate(gold)]
    found = score(potentials, gold)
    assert found.dtype == np.float64
    assert_close(found, np.array(expected), FLOAT64_RELATIVE)


def test_a_score_by_hand():
    potentials = Potentials(
        emissions=np.array([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]]),
        transition=np.array([[0.1, 0.2], [0.3, 0.4]]),
        duration=np.array([[100.0, 200.0], [300.0, 400.0]]),
        start=np.array([1000.0, 2000.0]),
        end=np.array([3000.0, 4000.0]),
        begin=np.array([[[1e4, 2e4], [3e4, 4e4], [5e4, 6e4]]]),
        finish=np.array([[[1e5, 2e5], [3e5, 4e5], [5e5, 6e5]]]),
    )
    # two positions of label 1, one of label 0
    expected = 2000 + (10 + 20) + 400 + 2e4 + 4e5 + 0.3 + 3 + 100 + 5e4 + 5e5 + 3000
    assert_close(score(potentials, [[(0, 2, 1), (2, 3, 0)]]), np.array([expected]), FLOAT64_RELATIVE)


def test_neighbours_of_one_label_pay_the_transition_from_it_to_itself():
    potentials = case("every_term")
    gold = [[(0, 2, 1), (2, 5, 1)], [(0, 2, 1), (2, 5, 1)]]
    without = Potentials(**dict(potentials.items()) | {"transition": np.zeros((3, 3))})
    paid = score(potentials, gold) - score(without, gold)
    assert_close(paid, np.full(2, potentials.transition[1, 1]), FLOAT64_RELATIVE)


def test_an_empty_sequence_scores_0_whatever_its_terms_hold():
    potentials = random_potentials(2, 3, 2, 2, lengths=[0, 0])
    assert score(potentials, [[], []]).tolist() == [0.0, 0.0]


def test_an_empty_batch_has_no_scores():
    assert score(random_potentials(0, 3, 2, 2), []).shape == (0,)


@pytest.mark.parametrize("name", [name for name in case_names() if name.startswith("forbidden_")])
def test_what_uses_a_forbidden_entry_scores_minus_infinity_and_nothing_else_does(name):
    forbidden = case(name).map(lambda x: np.where(np.isneginf(x), 1.0, 0.0) if x.dtype == np.float64 else x)
    seen = set()
    for b, sequence in enumerate(enumerated(name, 3)):
        for segments, found in zip(sequence.all, sequence.scores.tolist(), strict=True):
            uses = by_position(forbidden, b, segments) > 0
            seen.add(uses)
            assert (found == -math.inf) == uses
            assert not math.isnan(found)
    assert seen == {True, False}


def clipped(length, max_duration):
    cuts = [*range(0, length, max_duration), length]
    return [(start, end, 0) for start, end in pairwise(cuts)]


@pytest.mark.parametrize("name", ["float16", "poisoned_padding", "extremes"])
def test_scores_are_formed_in_float64_from_what_counts(name):
    potentials = case(name)
    lengths = [5, 5, 5] if potentials.lengths is None else potentials.lengths.tolist()
    gold = [clipped(length, 3) for length in lengths[: potentials.shape[0]]]
    found = score(potentials, gold)
    assert found.dtype == np.float64
    assert_close(found, [by_position(potentials, b, y) for b, y in enumerate(gold)], FLOAT64_RELATIVE)


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ([[(0, 3, 0)], [(0, 1, 0), (2, 4, 1)]], r"sequence 1, segment 1 \(2, 4, 1\) leaves a gap"),
        ([[(0, 3, 0)], [(0, 3, 0), (2, 4, 1)]], r"sequence 1, segment 1 \(2, 4, 1\) overlaps"),
        ([[(0, 3, 0)], [(0, 0, 0), (0, 4, 1)]], r"sequence 1, segment 0 \(0, 0, 0\) is empty"),
        ([[(0, 3, 2)], [(0, 3, 0)]], r"sequence 0, segment 0 \(0, 3, 2\) has a label out of range: .* < 2"),
        (
            [[(0, 4, 0)], []],
            r"sequence 0, segment 0 \(0, 4, 0\) lasts 4 positions, longer than max_duration = 3",
        ),
        ([[(0, 2, 0)], []], r"sequence 0: its 1 segments end at 2; expected them to tile all 3 positions"),
        ([[(0, 3.0, 0)], []], r"sequence 0, segment 0 is \(0, 3.0, 0\); expected three integers"),
        ([[(0, 3, 0)]], r"1 segmentations given; expected B = 2"),
    ],
)
def test_gold_that_does_not_fit_is_named_with_its_sequence_and_segment(gold, message):
    with pytest.raises(ValueError, match=rf"^{message}"):
        score(random_potentials(2, 4, 3, 2, lengths=[3, 4]), gold)


def test_bad_terms_are_named_before_they_spoil_a_score():
    bad = random_potentials(1, 3, 3, 2)
    bad.emissions[0, 2, 1] = np.nan
    with pytest.raises(ValueError, match=r"^emissions\[0, 2, 1\] is nan"):
        score(bad, [[(0, 3, 0)]])
    with pytest.raises(ValueError, match=r"^lengths\[0\] is 4; expected 0 <= length <= T = 3"):
        score(random_potentials(1, 3, 4, 2, lengths=[4]), [[(0, 4, 0)]])
