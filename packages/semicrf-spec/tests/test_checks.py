"""The operators that look at gold labels and segments, against every input there is."""

import threading
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semicrf_spec import UNKNOWN, check_segments, segmentations
from semicrf_spec.operators import (
    Segmentation,
    check_labels,
    check_segmentation,
    validating,
    validation,
)
from semicrf_spec.testing.strategies import tilings


def tensors(labels, durations, lengths):
    return torch.tensor([labels]), torch.tensor([durations]), torch.tensor([lengths])


def is_sound(labels, durations, length, classes, longest):
    try:
        checked = torch.ops.semicrf.check_segmentation(*tensors(labels, durations, length), classes, longest)
    except ValueError as error:
        assert str(error).startswith("sequence 0"), error  # noqa: PT017  # raising is one of two answers
        return False
    assert checked[0].tolist() == [labels[:length] + [0] * (len(labels) - length)]
    assert checked[1].tolist() == [durations[:length] + [0] * (len(labels) - length)]
    return True


def encoded(segments, time):
    """Labels and durations as `Segmentation` holds them, up to the length."""
    labels, durations = [], []
    for start, end, label in segments:
        labels += [label] * (end - start)
        durations += [end - start] + [0] * (end - start - 1)
    return tuple(labels), tuple(durations + [0] * (time - len(durations)))


@pytest.mark.parametrize(("length", "longest"), [(0, 2), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)])
def test_of_all_labels_and_durations_exactly_the_tilings_are_sound(length, longest):
    time, classes = 3, 2
    tilings_there_are = {encoded(y, time) for y in segmentations(length, classes, longest)}
    for durations in product((-1, 0, 1, 2, 3, 4), repeat=time):
        for labels in product((0, 1, 2), repeat=length):
            padded = [*labels, *([UNKNOWN] * (time - length))]
            expected = (labels, durations) in tilings_there_are
            assert is_sound(padded, list(durations), length, classes, longest) == expected, (
                labels,
                durations,
            )


@settings(max_examples=150)
@given(tilings(max_segments=4), st.integers(0, 2), st.data())
def test_a_corrupted_tiling_is_found_out_exactly_when_its_list_is(tiling, padding, data):
    length = tiling[-1].end if tiling else 0
    time = length + padding
    if time == 0:
        return
    found = Segmentation.from_list([tiling], num_positions=time)
    labels, durations = found.labels[0].tolist(), found.durations[0].tolist()
    for _ in range(data.draw(st.integers(0, 2))):
        row = data.draw(st.sampled_from([labels, durations]))
        row[data.draw(st.integers(0, time - 1))] = data.draw(st.integers(-2, 5))
    segments = [(t, t + d, labels[t]) for t, d in enumerate(durations) if d != 0]
    try:
        check_segments(segments, length, num_classes=3, max_duration=3)
        sound = all(labels[u] == label for start, end, label in segments for u in range(start, end))
    except ValueError:
        sound = False
    assert is_sound(labels, durations, length, 3, 3) == sound


@given(st.lists(tilings(), min_size=1, max_size=4), st.data())
def test_in_a_batch_the_sequence_at_fault_is_named(batch, data):
    found = Segmentation.from_list(batch)
    if found.labels.shape[1] == 0:
        return
    checked = torch.ops.semicrf.check_segmentation(found.labels, found.durations, found.lengths, 3, 4)
    assert torch.equal(checked[1], found.durations)
    b = data.draw(st.integers(0, len(batch) - 1))
    durations = found.durations.clone()
    durations[b, data.draw(st.integers(0, durations.shape[1] - 1))] += data.draw(st.sampled_from([-5, 5]))
    with pytest.raises(ValueError, match=rf"^sequence {b}[,:]"):
        torch.ops.semicrf.check_segmentation(found.labels, durations, found.lengths, 3, 4)


@pytest.mark.parametrize(
    ("labels", "durations", "length", "message"),
    [
        ([0, 0, 1], [1, 0, 1], 3, r"segment 1 \(2, 3, 1\) leaves a gap: expected it to start at 1"),
        ([0, 0, 0], [2, 2, 0], 3, r"segment 1 \(1, 3, 0\) overlaps the one before it"),
        ([0, 0, 0], [0, 2, 0], 3, r"segment 0 \(1, 3, 0\) leaves a gap: expected it to start at 0"),
        ([0, 0, 0], [0, 0, 0], 3, r"its 0 segments end at 0; expected them to tile all 3 positions"),
        ([0, 0, 0], [2, 0, 2], 3, r"its 2 segments end at 4; expected them to tile all 3 positions"),
        ([0, 0, 0], [2, 0, 1], 2, r"its 2 segments end at 3; expected them to tile all 2 positions"),
        ([0, 0, 0], [-1, 0, 3], 3, r"segment 0 \(0, -1, 0\) is empty: expected end > start"),
        ([0, 2, 0], [1, 1, 1], 3, r"segment 1 \(1, 2, 2\) has a label out of range: expected 0 <= label < 2"),
        ([0, -1, 0], [1, 1, 1], 3, r"segment 1 \(1, 2, -1\) has a label out of range"),
        ([0, 1, 0], [3, 0, 0], 3, r"the label changes inside a segment; expected one label each"),
        ([0, UNKNOWN, 0], [1, 1, 1], 3, r"position 1 has the unknown label -100.*use supervision='labels'"),
    ],
)
def test_every_fault_is_explained(labels, durations, length, message):
    with pytest.raises(ValueError, match=rf"^sequence 0[,:] {message}"):
        torch.ops.semicrf.check_segmentation(*tensors(labels, durations, length), 2, 3)


def test_a_segment_longer_than_max_duration_raises_with_both_remedies():
    with pytest.raises(
        ValueError, match=r"^sequence 0, segment 0 \(0, 3, 0\) lasts 3 .* max_duration = 2"
    ) as raised:
        torch.ops.semicrf.check_segmentation(*tensors([0, 0, 0], [3, 0, 0], 3), 2, 2)
    assert "raise max_duration" in str(raised.value)
    assert "supervision='labels'" in str(raised.value)


@pytest.mark.parametrize("length", [-1, 4])
def test_a_length_outside_of_the_padded_sequence_is_named(length):
    with pytest.raises(ValueError, match=rf"^lengths\[0\] is {length}; expected 0 <= length <= T = 3"):
        torch.ops.semicrf.check_segmentation(*tensors([0, 0, 0], [3, 0, 0], length), 2, 3)
    with pytest.raises(ValueError, match=rf"^lengths\[0\] is {length}; expected 0 <= length <= T = 3"):
        torch.ops.semicrf.check_labels(torch.zeros(1, 3).long(), torch.tensor([length]), 2)


@pytest.mark.parametrize("huge", [2**62, 2**63 - 1, -(2**63)])
def test_durations_that_overflow_are_found_out(huge):
    with pytest.raises(ValueError, match=r"^sequence 0"):
        torch.ops.semicrf.check_segmentation(*tensors([0, 0, 0], [1, huge, 1], 3), 2, 2**62)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_every_integer_dtype_is_checked_and_comes_back_as_int64(dtype):
    labels, durations, lengths = (x.to(dtype) for x in tensors([1, 1, 0], [2, 0, 1], 3))
    checked = torch.ops.semicrf.check_segmentation(labels, durations, lengths, 2, 2)
    assert [x.tolist() for x in checked] == [[[1, 1, 0]], [[2, 0, 1]]]
    assert {x.dtype for x in checked} == {torch.int64}
    known = torch.ops.semicrf.check_labels(labels, lengths, 2)
    assert known.dtype == torch.int64
    assert known.tolist() == [[1, 1, 0]]


@given(st.data())
def test_labels_are_in_range_or_unknown_or_past_the_length(data):
    time = data.draw(st.integers(1, 5))
    rows = data.draw(
        st.lists(
            st.lists(st.sampled_from([0, 1, 2, UNKNOWN] * 4 + [-1, 3, -99]), min_size=time, max_size=time),
            min_size=1,
            max_size=3,
        )
    )
    lengths = data.draw(st.lists(st.integers(0, time), min_size=len(rows), max_size=len(rows)))
    bad = [
        (b, t)
        for b, row in enumerate(rows)
        for t, label in enumerate(row[: lengths[b]])
        if label != UNKNOWN and not 0 <= label < 3
    ]
    labels = torch.tensor(rows)
    if bad:
        b, t = bad[0]
        message = (
            rf"^sequence {b}: position {t} has label {rows[b][t]}; expected 0 <= label < 3, or -100 where"
        )
        with pytest.raises(ValueError, match=message):
            torch.ops.semicrf.check_labels(labels, torch.tensor(lengths), 3)
    else:
        found = torch.ops.semicrf.check_labels(labels, torch.tensor(lengths), 3).tolist()
        for row, given_row, length in zip(found, rows, lengths, strict=True):
            assert row == given_row[:length] + [UNKNOWN] * (time - length)


def test_in_uint8_the_label_156_is_not_the_unknown_one():
    labels = torch.tensor([[156, 3, 3]], dtype=torch.uint8)
    assert torch.ops.semicrf.check_labels(labels, torch.tensor([2]), 200).tolist() == [[156, 3, UNKNOWN]]
    with pytest.raises(ValueError, match=r"^sequence 0: position 0 has label 156; expected 0 <= label < 4"):
        torch.ops.semicrf.check_labels(labels, torch.tensor([2]), 4)


def test_what_comes_back_shares_no_memory_with_what_was_given():
    labels, durations, lengths = tensors([1, 1, 0], [2, 0, 1], 3)
    given_pointers = {labels.data_ptr(), durations.data_ptr()}
    checked = torch.ops.semicrf.check_segmentation(labels, durations, lengths, 2, 2)
    known = torch.ops.semicrf.check_labels(labels, lengths, 2)
    assert not given_pointers & {x.data_ptr() for x in (*checked, known)}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_the_checks_are_sound_operators(dtype):
    labels, durations, lengths = (x.to(dtype) for x in tensors([1, 1, 0], [2, 0, 1], 3))
    for operator, arguments in (
        (torch.ops.semicrf.check_segmentation.default, (labels, durations, lengths, 2, 2)),
        (torch.ops.semicrf.check_labels.default, (labels, lengths, 2)),
    ):
        results = torch.library.opcheck(operator, arguments)
        assert set(results.values()) == {"SUCCESS"}


def test_the_checks_look_when_a_compiled_graph_runs():
    def checked(labels, durations, lengths):
        found = torch.ops.semicrf.check_segmentation(labels, durations, lengths, 2, 2)
        return found[0] + torch.ops.semicrf.check_labels(labels, lengths, 2)

    compiled = torch.compile(checked, backend="aot_eager", fullgraph=True)
    good = tensors([1, 1, 0], [2, 0, 1], 3)
    assert torch.equal(compiled(*good), checked(*good))
    with pytest.raises(ValueError, match=r"^sequence 0, segment 1 \(1, 3, 1\) overlaps"):
        compiled(*tensors([1, 1, 0], [2, 2, 0], 3))


def test_nothing_is_looked_at_in_a_context_without_validation_nor_where_an_argument_says_so():
    labels, durations, lengths = tensors([1, 9, 0], [1, 3, 0], 3)
    with validation(False):
        checked = torch.ops.semicrf.check_segmentation(labels, durations, lengths, 2, 2)
        known = torch.ops.semicrf.check_labels(labels, lengths, 2)
        with validation(True), pytest.raises(ValueError, match=r"^sequence 0"):
            torch.ops.semicrf.check_labels(labels, lengths, 2)
        with validation(None):
            assert not validating()
    assert validating()
    apart = torch.ops.semicrf.check_segmentation(labels, durations, lengths, 2, 2, False)
    assert torch.equal(torch.ops.semicrf.check_labels(labels, lengths, 2, False), known)
    assert [x.tolist() for x in checked] == [x.tolist() for x in apart] == [[[1, 9, 0]], [[1, 3, 0]]]


def test_each_thread_has_contexts_of_its_own():
    seen = []
    with validation(False):
        other = threading.Thread(target=lambda: seen.append(validating()))
        other.start()
        other.join()
    assert seen == [True]


def test_the_functions_are_what_the_operators_run():
    arguments = tensors([1, 1, 0], [2, 0, 1], 3)
    by_function = check_segmentation(*arguments, 2, 2)
    by_operator = torch.ops.semicrf.check_segmentation(*arguments, 2, 2)
    assert all(torch.equal(a, b) for a, b in zip(by_function, by_operator, strict=True))
    assert check_labels(arguments[0], arguments[2], 2).tolist() == [[1, 1, 0]]
