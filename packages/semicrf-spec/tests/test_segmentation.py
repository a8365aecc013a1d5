"""`Segmentation`: the same segments as tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semicrf_spec import UNKNOWN, Segment, labels_to_segments, segments_to_labels
from semicrf_spec.operators import NO_LABEL, Segmentation
from semicrf_spec.testing.strategies import tilings

batches = st.lists(tilings(), max_size=4)
RAGGED = [[(0, 2, 1), (2, 3, 0)], [], [(0, 1, 2)]]


def lengths_of(batch):
    return [tiling[-1][1] if tiling else 0 for tiling in batch]


@st.composite
def padded_labels(draw):
    """Labels, lengths, and anything at all past the lengths."""
    batch, time = draw(st.integers(0, 4)), draw(st.integers(0, 6))
    labels = draw(
        st.lists(st.lists(st.integers(0, 2), min_size=time, max_size=time), min_size=batch, max_size=batch)
    )
    lengths = draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    return torch.tensor(labels, dtype=torch.int64).reshape(batch, time), torch.tensor(
        lengths, dtype=torch.int64
    )


def test_labels_and_durations_hold_what_the_documentation_says():
    found = Segmentation.from_list(RAGGED, num_positions=4)
    assert found.labels.tolist() == [[1, 1, 0, -1], [-1, -1, -1, -1], [2, -1, -1, -1]]
    assert found.durations.tolist() == [[2, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert found.lengths.tolist() == [3, 0, 1]
    assert found.scores is None
    assert found.starts.tolist() == [[True, False, True, False], [False] * 4, [True, False, False, False]]
    assert found.num_segments.tolist() == [2, 0, 1]
    assert found.to_labels(fill=UNKNOWN).tolist() == [[1, 1, 0, -100], [-100] * 4, [2, -100, -100, -100]]
    assert found.to_labels().tolist() == found.labels.tolist()
    assert NO_LABEL == -1


@given(batches, st.integers(0, 3))
def test_lists_survive_the_way_to_tensors_and_back(batch, padding):
    time = max(lengths_of(batch), default=0) + padding
    found = Segmentation.from_list(batch, num_positions=time)
    assert found.labels.shape == found.durations.shape == (len(batch), time)
    assert {found.labels.dtype, found.durations.dtype, found.lengths.dtype} == {torch.int64}
    assert found.lengths.tolist() == lengths_of(batch)
    assert found.num_segments.tolist() == [len(tiling) for tiling in batch]
    assert found.to_list() == batch
    assert all(isinstance(segment, Segment) for tiling in found.to_list() for segment in tiling)


@given(batches)
def test_without_num_positions_the_longest_sequence_decides(batch):
    assert Segmentation.from_list(batch).labels.shape == (len(batch), max(lengths_of(batch), default=0))


@given(batches)
def test_labels_of_lists_are_those_of_their_segments(batch):
    found = Segmentation.from_list(batch)
    for row, tiling in zip(found.to_labels().tolist(), batch, strict=True):
        labels = segments_to_labels(tiling)
        assert row == labels + [NO_LABEL] * (len(row) - len(labels))


@given(padded_labels())
def test_labels_become_maximal_runs_and_nothing_past_the_lengths(drawn):
    labels, lengths = drawn
    found = Segmentation.from_labels(labels, lengths)
    rows = [row[:length] for row, length in zip(labels.tolist(), lengths.tolist(), strict=True)]
    assert found.to_list() == [labels_to_segments(row) for row in rows]
    assert found.lengths.tolist() == lengths.tolist()
    for b, length in enumerate(lengths.tolist()):
        assert found.to_labels()[b].tolist() == rows[b] + [NO_LABEL] * (labels.shape[1] - length)
        assert not found.durations[b, length:].any()


@given(padded_labels())
def test_tensors_survive_the_way_to_lists_and_back(drawn):
    labels, lengths = drawn
    found = Segmentation.from_labels(labels, lengths)
    again = Segmentation.from_list(found.to_list(), num_positions=labels.shape[1], lengths=lengths)
    assert torch.equal(found.labels, again.labels)
    assert torch.equal(found.durations, again.durations)
    assert torch.equal(found.lengths, again.lengths)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_whatever_pads_durations_begins_no_segment(dtype):
    labels, durations = torch.tensor([[0, 0, 1, -1]]), torch.tensor([[2, 0, 1, -1]])
    found = Segmentation(labels.to(dtype), durations.to(dtype), torch.tensor([3]))
    assert found.to_list() == [[(0, 2, 0), (2, 3, 1)]]
    assert found.num_segments.tolist() == [2]


def test_without_lengths_all_positions_count():
    found = Segmentation.from_labels(torch.tensor([[0, 0, 1], [2, 2, 2]]))
    assert found.to_list() == [[(0, 2, 0), (2, 3, 1)], [(0, 3, 2)]]
    assert found.lengths.tolist() == [3, 3]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("lengths_dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_every_integer_dtype_become_int64(dtype, lengths_dtype):
    found = Segmentation.from_labels(
        torch.tensor([[3, 3, 0]], dtype=dtype), torch.tensor([2], dtype=lengths_dtype)
    )
    assert {found.labels.dtype, found.durations.dtype, found.lengths.dtype} == {torch.int64}
    assert found.labels.tolist() == [[3, 3, -1]]
    assert found.durations.tolist() == [[2, 0, 0]]


def test_unknown_labels_make_runs_that_keep_their_mark():
    found = Segmentation.from_labels(torch.tensor([[UNKNOWN, UNKNOWN, 1]]))
    assert found.to_list() == [[(0, 2, UNKNOWN), (2, 3, 1)]]


@pytest.mark.parametrize(("batch", "time"), [(0, 0), (0, 3), (2, 0)])
def test_empty_batches_and_empty_sequences_have_no_segments(batch, time):
    from_list = Segmentation.from_list([[]] * batch, num_positions=time)
    from_labels = Segmentation.from_labels(
        torch.zeros(batch, time, dtype=torch.int64), torch.zeros(batch).long()
    )
    for found in (from_list, from_labels):
        assert found.labels.shape == found.durations.shape == (batch, time)
        assert found.to_list() == [[]] * batch
        assert found.num_segments.tolist() == [0] * batch


def test_lengths_may_be_a_list_or_a_tensor_of_any_integers():
    for lengths in ([3, 0, 1], torch.tensor([3, 0, 1], dtype=torch.int32), np.array([3, 0, 1])):
        assert Segmentation.from_list(RAGGED, lengths=lengths).to_list() == RAGGED


def test_moving_takes_everything_along():
    scores = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    built = Segmentation.from_list(RAGGED)
    moved = Segmentation(built.labels, built.durations, built.lengths, scores).to("meta")
    assert {x.device.type for x in (moved.labels, moved.durations, moved.lengths, moved.scores)} == {"meta"}
    assert built.to("cpu").scores is None
    assert Segmentation.from_list(RAGGED, device="meta").labels.device.type == "meta"
    assert Segmentation.from_list(RAGGED).labels.device.type == "cpu"


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([[(0, 1, 0)], [(0, 1, 0), (2, 3, 0)]], r"^sequence 1, segment 1 \(2, 3, 0\) leaves a gap"),
        ([[(0, 1, 0)], [(0, 2, 0), (1, 3, 0)]], r"^sequence 1, segment 1 \(1, 3, 0\) overlaps"),
        ([[(0, 0, 0)]], r"^sequence 0, segment 0 \(0, 0, 0\) is empty"),
        ([[(0, 1.5, 0)]], r"^sequence 0, segment 0 is \(0, 1.5, 0\); expected three integers"),
        ([[(0, 1)]], r"^sequence 0, segment 0 is \(0, 1\); expected three integers"),
        (
            [(0, 2, 1), (2, 3, 0)],
            r"^sequence 0, segment 2 is 1; expected three integers \(start, end, label\)",
        ),
    ],
)
def test_lists_that_do_not_tile_are_named_with_sequence_and_segment(segments, message):
    with pytest.raises(ValueError, match=message):
        Segmentation.from_list(segments)


def test_lists_that_do_not_reach_their_length_are_named():
    with pytest.raises(
        ValueError, match=r"^sequence 1: its 1 segments end at 2; expected them to tile all 3"
    ):
        Segmentation.from_list([[(0, 3, 0)], [(0, 2, 0)]], lengths=[3, 3])
    with pytest.raises(ValueError, match=r"^2 lists of segments but 1 lengths; expected one each"):
        Segmentation.from_list([[(0, 3, 0)], [(0, 2, 0)]], lengths=[3])
    with pytest.raises(ValueError, match=r"^segments end at 3; expected them within T = 2 positions"):
        Segmentation.from_list([[(0, 3, 0)]], num_positions=2)


@pytest.mark.parametrize(
    "lengths", [[2.0], torch.tensor([2.5]), np.array([2.0])], ids=["list", "tensor", "array"]
)
def test_lengths_that_are_no_integers_are_not_rounded(lengths):
    with pytest.raises(TypeError, match=r"^lengths are .*; expected integers"):
        Segmentation.from_list([[(0, 2, 0)]], lengths=lengths)


@pytest.mark.parametrize("labels", [torch.zeros(3).long(), torch.zeros(1, 2, 3).long(), torch.zeros(2, 3)])
def test_labels_of_another_shape_or_dtype_are_named_with_both(labels):
    expected = (
        rf"^labels have shape \({', '.join(map(str, labels.shape))},?\) and dtype {labels.dtype}; expected"
    )
    with pytest.raises(ValueError, match=expected):
        Segmentation.from_labels(labels)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"labels": torch.zeros(2, 3)}, r"^labels have shape \(2, 3\) and dtype torch.float32"),
        ({"labels": torch.zeros(3).long()}, r"^labels have shape \(3,\)"),
        ({"durations": torch.zeros(2, 1).long()}, r"^durations have shape \(2, 1\)"),
        ({"durations": torch.zeros(2, 3)}, r"^durations have shape \(2, 3\) and dtype torch.float32"),
        ({"lengths": torch.zeros(1).long()}, r"^lengths have shape \(1,\)"),
        ({"lengths": torch.ones(2)}, r"^lengths have shape \(2,\) and dtype torch.float32"),
    ],
)
def test_tensors_that_do_not_go_together_are_named_with_shape_and_dtype(changed, named):
    zeros = {"labels": torch.zeros(2, 3), "durations": torch.zeros(2, 3), "lengths": torch.zeros(2)}
    given_tensors = {name: x.long() for name, x in zeros.items()} | changed
    with pytest.raises(ValueError, match=rf"{named}.*; expected integers: labels \(..., B, T\)"):
        Segmentation(**given_tensors)


SAMPLES = Segmentation(
    torch.tensor([[[1, 1, 0], [0, -1, -1]], [[0, 0, 0], [2, -1, -1]]]),
    torch.tensor([[[2, 0, 1], [1, 0, 0]], [[1, 2, 0], [1, 0, 0]]]),
    torch.tensor([3, 1]),
    torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
)
"""Two samples of two sequences."""


def test_samples_have_an_axis_before_the_batch():
    assert SAMPLES.to_list() == [[[(0, 2, 1), (2, 3, 0)], [(0, 1, 0)]], [[(0, 1, 0), (1, 3, 0)], [(0, 1, 2)]]]
    assert SAMPLES.num_segments.tolist() == [[2, 1], [2, 1]]
    for i, sample in enumerate(SAMPLES.unbind()):
        assert sample.to_list() == SAMPLES.to_list()[i]
        assert sample.scores.tolist() == SAMPLES.scores[i].tolist()
        assert sample.lengths.tolist() == [3, 1]
        assert SAMPLES[i].to_list() == sample.to_list()
    assert SAMPLES[-1].to_list() == SAMPLES.to_list()[-1]
    assert [sample.to_list() for sample in SAMPLES] == SAMPLES.to_list()


def test_samples_have_any_number_of_axes_and_any_may_be_empty():
    tensors = (SAMPLES.labels[None], SAMPLES.durations[None], SAMPLES.lengths, SAMPLES.scores[None])
    assert Segmentation(*tensors).to_list() == [SAMPLES.to_list()]
    nothing = Segmentation(torch.zeros(2, 0, 3).long(), torch.zeros(2, 0, 3).long(), torch.zeros(0).long())
    assert nothing.to_list() == [[], []]
    assert Segmentation(SAMPLES.labels[:0], SAMPLES.durations[:0], SAMPLES.lengths).to_list() == []


def test_one_segmentation_cannot_be_taken_apart_into_samples():
    with pytest.raises(ValueError, match=r"^labels have shape \(B, T\) = \(1, 2\).*to_list\(\)"):
        Segmentation.from_list([[(0, 2, 0)]]).unbind()


def test_a_segmentation_can_be_saved_and_loaded_where_only_data_may_be(tmp_path):
    torch.save(Segmentation.from_list(RAGGED), tmp_path / "best.pt")
    assert torch.load(tmp_path / "best.pt", weights_only=True).to_list() == RAGGED


@pytest.mark.parametrize("lengths", [torch.tensor([3]), torch.ones(2, 3).bool(), torch.tensor([3.0, 1.0])])
def test_lengths_that_are_none_are_named(lengths):
    with pytest.raises(ValueError, match=r"lengths have shape .* expected integers of shape \(B,\) = "):
        Segmentation.from_labels(torch.zeros(2, 3, dtype=torch.int64), lengths)
