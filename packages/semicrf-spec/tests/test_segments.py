"""Segments: what tiles a sequence, and what labels say about it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semicrf_spec import UNKNOWN, Segment, check_segments, labels_to_segments, segments_to_labels
from semicrf_spec.testing.strategies import tilings

labels_of_a_sequence = st.lists(st.integers(0, 3), max_size=8)
triples = st.tuples(st.integers(-1, 4), st.integers(-1, 5), st.integers(0, 2))


def length_of(segments):
    return segments[-1].end if segments else 0


def merged(segments):
    """Independent of the code under test: adjacent segments of one label, joined."""
    joined = []
    for start, end, label in segments:
        if joined and joined[-1][2] == label:
            start = joined.pop()[0]
        joined.append((start, end, label))
    return joined


def test_a_segment_is_half_open():
    assert Segment(2, 5, 0).duration == 3


@given(tilings())
def test_every_tiling_is_sound_and_comes_back_as_segments(tiling):
    assert check_segments(tiling, length_of(tiling), num_classes=3, max_duration=4) == tiling
    plain = check_segments((tuple(segment) for segment in tiling), length_of(tiling))
    assert plain == tiling
    assert all(isinstance(segment, Segment) for segment in plain)


@pytest.mark.parametrize("integer", [np.int64, np.uint8, torch.tensor], ids=["int64", "uint8", "tensor"])
def test_integers_of_every_library_make_segments_of_plain_integers(integer):
    (segment,) = check_segments([(integer(0), integer(2), integer(1))], 2, num_classes=2)
    assert segment == (0, 2, 1)
    assert all(type(number) is int for number in segment)


def test_no_segments_tile_an_empty_sequence():
    assert check_segments([], 0) == []


BAD = {
    "gap at the start": ([(1, 3, 0)], r"segment 0 \(1, 3, 0\) leaves a gap: expected it to start at 0"),
    "gap": ([(0, 1, 0), (2, 3, 1)], r"segment 1 \(2, 3, 1\) leaves a gap: expected it to start at 1"),
    "overlap": ([(0, 2, 0), (1, 3, 1)], r"segment 1 \(1, 3, 1\) overlaps .*: expected it to start at 2"),
    "order": ([(1, 3, 0), (0, 1, 0)], r"segment 0 \(1, 3, 0\) leaves a gap"),
    "repeated": ([(0, 3, 0), (0, 3, 0)], r"segment 1 \(0, 3, 0\) overlaps"),
    "empty": ([(0, 0, 1), (0, 3, 0)], r"segment 0 \(0, 0, 1\) is empty: expected end > start"),
    "backwards": ([(0, 2, 1), (2, 1, 0)], r"segment 1 \(2, 1, 0\) is empty: expected end > start"),
    "label too large": ([(0, 1, 0), (1, 3, 2)], r"segment 1 \(1, 3, 2\) has a label out .* 0 <= label < 2"),
    "label negative": ([(0, 1, -1), (1, 3, 1)], r"segment 0 \(0, 1, -1\) has a label out .* 0 <= label < 2"),
    "label unknown": ([(0, 3, UNKNOWN)], r"segment 0 \(0, 3, -100\) has a label out .* 0 <= label < 2"),
    "too short": ([(0, 2, 0)], r"its 1 segments end at 2; expected them to tile all 3 positions"),
    "none": ([], r"its 0 segments end at 0; expected them to tile all 3 positions"),
    "too far": ([(0, 2, 0), (2, 4, 0)], r"its 2 segments end at 4; expected them to tile all 3 positions"),
    "fraction": ([(0, 1.5, 0), (1.5, 3, 0)], r"segment 0 is \(0, 1.5, 0\); expected three integers"),
    "whole float": ([(0, 3.0, 0)], r"segment 0 is \(0, 3.0, 0\); expected three integers"),
    "float label": ([(0, 1, 1), (1, 3, 1.0)], r"segment 1 is \(1, 3, 1.0\); expected three integers"),
    "name": (
        [(0, 3, "verse")],
        r"segment 0 is \(0, 3, 'verse'\); expected three integers \(start, end, label\)",
    ),
    "pair": ([(0, 3)], r"segment 0 is \(0, 3\); expected three integers \(start, end, label\)"),
    "number": ([0, 3], r"segment 0 is 0; expected three integers \(start, end, label\)"),
    "none inside": ([None], r"segment 0 is None; expected three integers"),
}


@pytest.mark.parametrize(("segments", "message"), BAD.values(), ids=BAD)
def test_what_does_not_tile_is_named_with_its_sequence_and_segment(segments, message):
    with pytest.raises(ValueError, match=rf"^sequence 7[,:] {message}"):
        check_segments(segments, 3, num_classes=2, max_duration=3, sequence=7)


def test_a_segment_longer_than_max_duration_raises_with_both_remedies():
    with pytest.raises(ValueError, match=r"^sequence 2, segment 1 \(1, 4, 0\) lasts 3 positions") as raised:
        check_segments([(0, 1, 0), (1, 4, 0)], 4, max_duration=2, sequence=2)
    assert "longer than max_duration = 2" in str(raised.value)
    assert "raise max_duration" in str(raised.value)
    assert "supervision='labels'" in str(raised.value)


def test_labels_and_durations_are_checked_only_against_what_is_given():
    assert check_segments([(0, 9, 99)], 9) == [(0, 9, 99)]
    assert check_segments([(0, 9, 99)], 9, num_classes=100, max_duration=9) == [(0, 9, 99)]


@given(st.lists(triples, max_size=4), st.integers(0, 5), st.integers(1, 3), st.integers(1, 4))
def test_exactly_the_lists_that_cover_each_position_once_in_order_are_sound(
    given_triples, length, classes, longest
):
    covered = [u for start, end, _ in given_triples for u in range(start, end)]
    sound = (
        covered == list(range(length))
        and all(start < end for start, end, _ in given_triples)
        and all(label < classes and end - start <= longest for start, end, label in given_triples)
    )
    if sound:
        assert (
            check_segments(given_triples, length, num_classes=classes, max_duration=longest) == given_triples
        )
    else:
        with pytest.raises(ValueError, match=r"^sequence 0[,:]"):
            check_segments(given_triples, length, num_classes=classes, max_duration=longest)


@given(tilings(max_segments=4), st.data())
def test_any_one_number_of_a_tiling_changed_is_found_out(tiling, data):
    if not tiling:
        return
    number, field = data.draw(st.integers(0, len(tiling) - 1)), data.draw(st.integers(0, 1))
    changed = [list(segment) for segment in tiling]
    changed[number][field] += data.draw(st.integers(-4, 4).filter(bool))
    with pytest.raises(ValueError, match=r"^sequence 0[,:]"):
        check_segments(changed, length_of(tiling))


@given(labels_of_a_sequence)
def test_labels_survive_the_way_to_segments_and_back(labels):
    segments = labels_to_segments(labels)
    assert check_segments(segments, len(labels), num_classes=4) == segments
    assert segments_to_labels(segments) == labels


@given(labels_of_a_sequence)
def test_segments_of_labels_are_maximal_runs(labels):
    segments = labels_to_segments(labels)
    assert all(left.label != right.label for left, right in pairwise(segments))


@given(tilings())
def test_segments_survive_the_way_to_labels_and_back_but_for_cuts_between_equal_neighbours(tiling):
    labels = segments_to_labels(tiling)
    assert len(labels) == length_of(tiling)
    assert all(labels[u] == label for start, end, label in tiling for u in range(start, end))
    assert labels_to_segments(labels) == merged(tiling)


def test_plain_triples_are_segments_to_labels():
    assert segments_to_labels([(0, 2, 1), (2, 3, 0)]) == [1, 1, 0]


@pytest.mark.parametrize("library", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_labels_of_every_library_make_segments_of_plain_integers(library):
    segments = labels_to_segments(library([2, 2, 0]))
    assert segments == [(0, 2, 2), (2, 3, 0)]
    assert all(type(number) is int for segment in segments for number in segment)


def test_unknown_labels_make_a_run_like_any_other():
    assert labels_to_segments([UNKNOWN, UNKNOWN, 1]) == [(0, 2, UNKNOWN), (2, 3, 1)]


@pytest.mark.parametrize(
    "segments", [[(1, 2, 0)], [(0, 1, 0), (2, 3, 0)], [(0, 2, 0), (1, 3, 0)], [(0, 0, 0)]]
)
def test_segments_that_do_not_tile_have_no_labels(segments):
    with pytest.raises(ValueError, match=r"^sequence 0, segment \d"):
        segments_to_labels(segments)
