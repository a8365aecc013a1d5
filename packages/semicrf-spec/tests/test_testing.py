"""The helpers that every other test trusts."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from semicrf_spec import SHAPES, Potentials, check_segments, enumerate_batch
from semicrf_spec.cost import num_segmentations
from semicrf_spec.potentials import DTYPES
from semicrf_spec.testing import (
    FLOAT32_LOG_PARTITION,
    FLOAT32_POSTERIOR,
    FLOAT64_RELATIVE,
    MAX_DURATIONS,
    PROBABILITY_SUM,
    assert_close,
    case,
    case_names,
    error,
    probability_bound,
    random_potentials,
)
from semicrf_spec.testing.strategies import scores, small_potentials, tilings

every_case = pytest.mark.parametrize("name", case_names())
INF, NAN = math.inf, math.nan


def draws(strategy, wanted):
    """Whether the strategy can draw an example of this kind."""
    try:
        find(strategy, wanted, settings=settings(max_examples=1000, database=None, phases=[Phase.generate]))
    except NoSuchExample:
        return False
    return True


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(1.0, 1.0), (INF, INF), (-INF, -INF), ([1.0, -INF], [1.0, -INF]), (np.zeros((0, 2)), np.zeros((0, 2)))],
)
def test_equal_values_have_no_error_infinities_and_empty_arrays_among_them(actual, expected):
    assert error(actual, expected) == 0.0
    assert_close(actual, expected, 0.0)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (NAN, NAN),
        (NAN, 0.0),
        (0.0, NAN),
        (NAN, INF),
        (INF, -INF),
        (INF, 1.0),
        (1.0, INF),
        (-INF, -1e300),
        (-1e300, -INF),
    ],
)
def test_nan_and_unequal_infinities_are_never_close(actual, expected):
    assert error(actual, expected) == INF
    with pytest.raises(AssertionError, match="off by inf"):
        assert_close(actual, expected, 1e300)
    with pytest.raises(AssertionError, match="off by inf"):
        assert_close([0.0, actual], [0.0, expected], FLOAT64_RELATIVE)


@given(st.floats(-1e6, 1e6), st.floats(1e-12, 1.0))
def test_a_value_is_close_within_its_bound_and_not_beyond_it(value, bound):
    size = max(1.0, abs(value))
    assert_close(value + 0.5 * bound * size, value, bound)
    with pytest.raises(AssertionError, match=r"^log Z is off by .*, bound .*\n got .*\n expected"):
        assert_close(value + 2.0 * bound * size, value, bound, "log Z")


def test_errors_are_absolute_below_one_and_relative_above():
    assert error(0.25, 0.0) == 0.25
    assert error(1200.0, 1000.0) == 0.2
    assert error(1000.0, 1200.0) == 200.0 / 1200.0


def test_one_bad_entry_among_many_is_found():
    expected = np.zeros((20, 30))
    actual = expected.copy()
    actual[11, 7] = 2 * FLOAT64_RELATIVE
    with pytest.raises(AssertionError, match="off by"):
        assert_close(actual, expected, FLOAT64_RELATIVE)


@pytest.mark.parametrize(
    ("actual", "expected"), [([1.0], 1.0), ([[1.0, 1.0]], [1.0, 1.0]), ([0.0, 0.0], [0.0]), ([], [0.0])]
)
def test_other_shapes_are_never_close_though_they_broadcast(actual, expected):
    with pytest.raises(AssertionError, match=r"shapes differ: got .*, expected"):
        assert_close(actual, expected, 1.0)


def test_the_scale_of_a_difference_widens_its_bound_and_never_hides_nan():
    assert error(0.5, 0.0, scale=-1000.0) == 0.5 / 1000.0
    assert error(0.5, 0.0, scale=0.1) == 0.5
    assert error(0.5, 0.0, scale=-INF) == 0.5
    assert error(0.5, 0.0, scale=NAN) == 0.5
    assert error(NAN, 0.0, scale=INF) == INF
    assert error([0.5, 0.5], [0.0, 0.0], scale=[1.0, 10.0]) == 0.5


def test_a_bound_of_nan_lets_nothing_through():
    with pytest.raises(AssertionError, match="off by"):
        assert_close(0.0, 0.0, NAN)


def test_torch_tensors_are_compared_as_float64():
    assert error(torch.tensor([0.1]), np.array([0.1])) == abs(float(np.float32(0.1)) - 0.1)


def test_bounds_are_ordered_by_what_they_bound():
    assert PROBABILITY_SUM < FLOAT64_RELATIVE < FLOAT32_LOG_PARTITION < FLOAT32_POSTERIOR < 1e-4


@pytest.mark.parametrize("log_partition", [-INF, 0.0, 1.0, -3e4, 5e4, 1e8])
def test_the_bound_of_a_probability_grows_with_the_rounding_of_the_log_partition_only(log_partition):
    size = abs(log_partition) if log_partition > -INF else 0.0
    allowed = probability_bound(log_partition) - PROBABILITY_SUM
    assert 0.0 <= allowed <= 4.001 * size * np.finfo(np.float64).eps
    assert size < 1e4 or allowed > size * np.finfo(np.float64).eps


def test_the_cases_that_every_backend_is_promised_to_be_tested_on_are_there():
    assert {"length_0", "length_1", "shorter_than_max_duration", "ragged", "ties", "every_term"} <= set(
        case_names()
    )
    assert {"nothing_allowed", "extremes", "float16", "position_transition", "sequence_duration"} <= set(
        case_names()
    )
    assert {f"forbidden_{term}" for term in SHAPES if term not in DTYPES} <= set(case_names())
    assert MAX_DURATIONS == (1, 2, 3, 4, 5)
    assert len(set(case_names())) == len(case_names())


@every_case
@pytest.mark.parametrize("max_duration", MAX_DURATIONS)
def test_every_case_is_legal_deterministic_and_small_enough_to_enumerate(name, max_duration):
    potentials, again = case(name, max_duration), case(name, max_duration)
    potentials.check_values()
    batch, time, classes = potentials.shape
    longest = max_duration + 2 if name == "shorter_than_max_duration" else max_duration
    assert potentials.max_duration == longest
    assert batch * num_segmentations(time, classes, longest) < 2000
    for (term, x), (_, y) in zip(potentials.items(), again.items(), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes(), term
        assert not np.shares_memory(x, y), term


def test_the_cases_are_the_same_in_every_process():
    code = (
        "import hashlib; from semicrf_spec.testing import case, case_names\n"
        "held = b''.join(x.tobytes() for name in case_names() for _, x in case(name).items())\n"
        "print(hashlib.sha256(held).hexdigest())"
    )
    run = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in "ab"
    ]
    assert run[0].stdout == run[1].stdout
    assert len(run[0].stdout.strip()) == 64


@pytest.mark.parametrize("max_duration", MAX_DURATIONS)
def test_the_cases_are_what_their_names_say(max_duration):
    def get(name):
        return case(name, max_duration)

    assert get("length_0").shape[1] == 0
    assert get("length_1").shape[1] == 1
    assert {name for name, _ in get("required_terms_only").items()} == {"emissions", "transition", "duration"}
    assert {name for name, _ in get("every_term").items()} == set(SHAPES) - set(DTYPES)
    assert get("shorter_than_max_duration").max_duration > get("shorter_than_max_duration").shape[1]
    assert {0, 1, get("ragged").shape[1]} <= set(get("ragged").lengths.tolist())
    assert get("one_label").shape[2] == 1
    assert get("position_transition").transition.ndim == 4
    assert get("sequence_duration").duration.ndim == 3
    assert set(np.abs(get("extremes").emissions).ravel()) == {1e4}
    assert all(x.dtype == np.float16 for name, x in get("float16").items() if name not in DTYPES)
    for sequence in enumerate_batch(get("ties")):
        assert set(sequence.scores.tolist()) == {0.0}
    for sequence in enumerate_batch(get("integer_ties")):
        assert np.array_equal(sequence.scores, np.round(sequence.scores))
        assert len(set(sequence.scores.tolist())) < len(sequence.scores)
    assert [sequence.count > 0 for sequence in enumerate_batch(get("nothing_allowed"))] == [True, False, True]
    assert all(
        {segment.duration for segment in segments} <= {max_duration}
        for sequence in enumerate_batch(get("one_duration_allowed"))
        for _, segments in sequence.top_k(100)
    )


@pytest.mark.parametrize("term", [term for term in SHAPES if term not in DTYPES])
@pytest.mark.parametrize("max_duration", MAX_DURATIONS)
def test_the_forbidding_cases_forbid_something_and_not_everything(term, max_duration):
    potentials = case(f"forbidden_{term}", max_duration)
    assert [name for name, x in potentials.items() if np.isneginf(x).any()] == [term]
    counts = [(sequence.count, len(sequence.all)) for sequence in enumerate_batch(potentials)]
    assert all(count > 0 for count, _ in counts)
    assert any(count < total for count, total in counts)


def test_padding_is_poisoned_past_the_lengths_and_nowhere_else():
    potentials = case("poisoned_padding")
    for name in ("emissions", "begin", "finish"):
        bad = ~np.isfinite(getattr(potentials, name))
        for b, length in enumerate(potentials.lengths.tolist()):
            assert not bad[b, :length].any()
            assert bad[b, length:].all()


def test_random_potentials_follow_their_arguments():
    potentials = random_potentials(2, 3, 4, 5, seed=1, lengths=[3, 1])
    assert potentials.shape == (2, 3, 5)
    assert potentials.max_duration == 4
    assert potentials.lengths.tolist() == [3, 1]
    assert {name for name, _ in potentials.items()} == set(SHAPES) - {"cuts"}
    other, larger = random_potentials(2, 3, 4, 5, seed=2), random_potentials(2, 3, 4, 5, seed=1, scale=8.0)
    assert not np.array_equal(potentials.emissions, other.emissions)
    assert np.array_equal(larger.emissions, 8.0 * potentials.emissions)
    assert len(list(random_potentials(2, 3, 4, 5, optional=False).items())) == 3


@given(scores(7.0))
def test_scores_are_finite_within_their_bound_or_forbidden(score):
    assert score == -INF or abs(score) <= 7.0


def test_scores_of_every_kind_are_drawn():
    assert draws(scores(), lambda x: x == -INF)
    assert draws(scores(), lambda x: x > 1.0)
    assert draws(scores(), lambda x: -INF < x < -1.0)
    assert draws(scores(), lambda x: x % 1.0 > 0.0)


@given(scores(2, whole=True))
def test_whole_scores_are_whole_or_forbidden(score):
    assert score in {-INF, -2.0, -1.0, 0.0, 1.0, 2.0}


@given(small_potentials(max_batch=2, max_time=3, max_classes=2, largest=9.0))
def test_small_potentials_are_legal_and_within_their_bounds(potentials):
    assert isinstance(potentials, Potentials)
    potentials.check_values()
    batch, time, classes = potentials.shape
    assert 1 <= batch <= 2
    assert 0 <= time <= 3
    assert 1 <= classes <= 2
    assert 1 <= potentials.max_duration <= 4
    for name, x in potentials.items():
        assert name in DTYPES or np.all((np.abs(x) <= 9.0) | np.isneginf(x))


def test_small_potentials_of_every_kind_are_drawn():
    for term in ("start", "end", "begin", "finish", "lengths", "cuts"):
        assert draws(small_potentials(), lambda p, term=term: getattr(p, term) is None)
        assert draws(small_potentials(), lambda p, term=term: getattr(p, term) is not None)
    assert draws(small_potentials(), lambda p: p.transition.ndim == 4 and p.shape[1] > 1)
    assert draws(small_potentials(), lambda p: p.duration.ndim == 3)
    assert draws(small_potentials(), lambda p: p.max_duration > p.shape[1] > 0)
    assert draws(small_potentials(), lambda p: p.lengths is not None and len(set(p.lengths.tolist())) == 2)
    assert draws(small_potentials(), lambda p: np.isneginf(p.emissions).any())


@given(tilings(max_segments=3, max_duration=2, num_classes=2))
def test_tilings_tile(tiling):
    assert len(tiling) <= 3
    check_segments(tiling, tiling[-1].end if tiling else 0, num_classes=2, max_duration=2)


def test_tilings_of_every_kind_are_drawn():
    assert draws(tilings(), lambda tiling: not tiling)
    assert draws(tilings(), lambda tiling: len(tiling) == 6)
    assert draws(tilings(), lambda tiling: {segment.duration for segment in tiling} == {1, 4})
    assert draws(tilings(), lambda tiling: len({segment.label for segment in tiling}) == 3)
    assert draws(tilings(), lambda tiling: any(a.label == b.label for a, b in pairwise(tiling)))
