"""The torch score of given segments and labels, against its definition."""

import inspect
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import semicrf_spec
from semicrf_spec import SHAPES, UNKNOWN, Potentials, enumerate_batch, segments_to_labels
from semicrf_spec.operators import Segmentation, agreeing, lengths_of, score, score_of
from semicrf_spec.potentials import DTYPES
from semicrf_spec.testing import (
    FLOAT64_RELATIVE,
    MAX_DURATIONS,
    assert_close,
    case,
    case_names,
    probability_bound,
    random_potentials,
)
from semicrf_spec.testing.strategies import small_potentials

every_case = pytest.mark.parametrize("name", case_names())


@cache
def enumerated(name, max_duration):
    return enumerate_batch(case(name, max_duration))


def some_of(sequence, rng, number):
    """Segmentations of a sequence, forbidden ones among them, and their scores."""
    chosen = rng.choice(len(sequence.all), number)
    return [(sequence.all[i], float(sequence.scores[i])) for i in chosen]


def batch_of(gold, potentials):
    lengths = [sum(segment.duration for segment in segments) for segments in gold]
    return Segmentation.from_list(gold, num_positions=potentials.shape[1], lengths=lengths)


@every_case
def test_scores_are_those_of_the_definition(name):
    rng = np.random.default_rng(0)
    for max_duration in MAX_DURATIONS:
        potentials = case(name, max_duration)
        tensors = potentials.map(torch.as_tensor)
        drawn = [some_of(sequence, rng, 8) for sequence in enumerated(name, max_duration)]
        for of_batch in zip(*drawn, strict=True):
            gold = [segments for segments, _ in of_batch]
            found = score_of(batch_of(gold, potentials), tensors)
            assert found.dtype == torch.float64
            expected = [expected for _, expected in of_batch]
            assert_close(found, expected, FLOAT64_RELATIVE, f"scores, K = {max_duration}")


@pytest.mark.parametrize(
    "name", ["every_term", "ragged", "position_transition", "sequence_duration", "length_0"]
)
def test_scores_of_samples_and_their_gradients_are_those_of_each_by_itself(name):
    rng = np.random.default_rng(1)
    potentials = case(name)
    tensors = potentials.map(lambda x: torch.tensor(x, requires_grad=x.dtype.kind == "f"))
    drawn = [some_of(sequence, rng, 6) for sequence in enumerated(name, 3)]
    each = [batch_of([y for y, _ in of_batch], potentials) for of_batch in zip(*drawn, strict=True)]
    labels, durations = (torch.stack([getattr(s, x) for s in each]) for x in ("labels", "durations"))
    shape = (2, 3, *labels.shape[1:])
    samples = Segmentation(labels.reshape(shape), durations.reshape(shape), each[0].lengths)
    found, expected = score_of(samples, tensors), torch.stack([score_of(s, tensors) for s in each])
    assert torch.equal(found, expected.reshape(shape[:-1]))
    leaves = [term for term_name, term in tensors.items() if term_name not in DTYPES]
    for a, b in zip(
        *(torch.autograd.grad(x.sum(), leaves, materialize_grads=True) for x in (found, expected)),
        strict=True,
    ):
        assert_close(a, b, FLOAT64_RELATIVE)


def test_a_fault_in_a_sample_is_named_with_the_sample():
    tensors = random_potentials(2, 3, 3, 2).map(torch.as_tensor)
    labels, durations = torch.zeros(4, 2, 3).long(), torch.tensor([3, 0, 0]).repeat(4, 2, 1)
    durations[2, 1] = torch.tensor([1, 0, 1])
    with pytest.raises(ValueError, match=r"^sequence 1 of sample 2, segment 1 \(2, 3, 0\) leaves a gap"):
        score_of(Segmentation(labels, durations, torch.tensor([3, 3])), tensors)


@given(small_potentials(), st.integers(0, 2**31))
def test_scores_of_whatever_terms_are_those_of_the_definition(potentials, seed):
    rng = np.random.default_rng(seed)
    drawn = [some_of(sequence, rng, 1)[0] for sequence in enumerate_batch(potentials)]
    gold = [segments for segments, _ in drawn]
    terms = {name: torch.as_tensor(x) for name, x in potentials.items()}
    found = score(batch_of(gold, potentials), **terms)
    assert_close(found, [expected for _, expected in drawn], FLOAT64_RELATIVE)
    assert_close(found, semicrf_spec.score(potentials, gold), FLOAT64_RELATIVE)


def counts_of(gold, potentials):
    """How often each entry of each term is used by the gold segments: the derivative of their score."""
    counts = {name: np.zeros(np.shape(x)) for name, x in potentials.items() if name not in DTYPES}
    for b, segments in enumerate(gold):
        before = None
        for start, end, label in segments:
            for u in range(start, end):
                counts["emissions"][b, u, label] += 1
            counts["begin"][b, start, label] += 1
            counts["finish"][b, end - 1, label] += 1
            row = (end - start - 1, label)
            counts["duration"][row if counts["duration"].ndim == 2 else (b, *row)] += 1
            if before is None:
                counts["start"][label] += 1
            else:
                pair = (before, label)
                counts["transition"][pair if counts["transition"].ndim == 2 else (b, start, *pair)] += 1
            before = label
        if before is not None:
            counts["end"][before] += 1
    return counts


@pytest.mark.parametrize(
    "name", ["every_term", "ragged", "position_transition", "sequence_duration", "poisoned_padding"]
)
def test_the_gradient_of_a_score_counts_the_entries_it_uses(name):
    rng = np.random.default_rng(1)
    potentials = case(name)
    gold = [some_of(sequence, rng, 1)[0][0] for sequence in enumerated(name, 3)]
    tensors = potentials.map(lambda x: torch.tensor(x, requires_grad=x.dtype == np.float64))
    score_of(batch_of(gold, potentials), tensors).sum().backward()
    for term, expected in counts_of(gold, potentials).items():
        assert np.array_equal(getattr(tensors, term).grad.numpy(), expected), term


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_terms_are_summed_in_float64(dtype):
    potentials = random_potentials(1, 200, 7, 3, seed=3)
    rounded = potentials.map(lambda x: torch.as_tensor(x).to(dtype))
    gold = [[(t, t + 5, t // 5 % 3) for t in range(0, 200, 5)]]
    exact = semicrf_spec.score(rounded.map(lambda x: x.double().numpy()), gold)
    assert_close(score_of(Segmentation.from_list(gold), rounded), exact, FLOAT64_RELATIVE)


def test_a_forbidden_segmentation_scores_minus_infinity_with_gradients_that_are_not_nan():
    potentials = case("forbidden_transition").map(
        lambda x: torch.tensor(x, requires_grad=x.dtype == np.float64)
    )
    gold = Segmentation.from_list([[(0, 1, 0), (1, 4, 1)], [(0, 1, 1), (1, 3, 0)]], num_positions=4)
    found = score_of(gold, potentials)
    assert torch.isneginf(found).tolist() == [True, False]
    found[1].backward()
    assert not any(x.grad.isnan().any() for name, x in potentials.items() if name not in DTYPES)


@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_empty_batches_and_empty_sequences_score_0(batch, time):
    potentials = random_potentials(batch, time, 2, 2, lengths=[0] * batch).map(torch.as_tensor)
    found = score_of(Segmentation.from_list([[]] * batch, num_positions=time), potentials)
    assert found.tolist() == [0.0] * batch
    assert found.dtype == torch.float64


def test_the_score_of_nothing_is_part_of_the_graph():
    emissions = torch.zeros(2, 0, 3, requires_grad=True)
    score(Segmentation.from_list([[], []]), emissions, torch.zeros(3, 3), torch.zeros(2, 3)).sum().backward()
    assert emissions.grad.shape == (2, 0, 3)


def test_sequences_of_length_0_score_0_among_others():
    potentials = random_potentials(2, 3, 3, 2, lengths=[0, 3]).map(torch.as_tensor)
    gold = Segmentation.from_list([[], [(0, 3, 1)]], num_positions=3)
    assert score_of(gold, potentials)[0] == 0.0


def test_what_is_no_segmentation_is_named_with_the_remedy():
    potentials = random_potentials(1, 3, 3, 2).map(torch.as_tensor)
    with pytest.raises(
        TypeError, match=r"^segmentation is a list; expected a Segmentation, which .*from_list makes"
    ):
        score_of([[(0, 3, 0)]], potentials)


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ([[(0, 3, 2)], []], r"^sequence 0, segment 0 \(0, 3, 2\) has a label out of range: .* label < 2"),
        ([[(0, 1, 0), (1, 4, 0)], []], r"^sequence 0: its 2 segments end at 4; expected them to tile all 3"),
        (
            [[(0, 3, 0)], [(0, 4, 1)]],
            r"^sequence 1, segment 0 \(0, 4, 1\) lasts 4 positions, longer than max",
        ),
        ([[(0, 3, 0)], [(0, 2, 1)]], r"^sequence 1: its 1 segments end at 2; expected them to tile all 4"),
    ],
)
def test_gold_that_does_not_fit_the_terms_is_named_with_its_sequence_and_segment(gold, message):
    potentials = random_potentials(2, 4, 3, 2, lengths=[3, 4]).map(torch.as_tensor)
    with pytest.raises(ValueError, match=message):
        score_of(Segmentation.from_list(gold, num_positions=4), potentials)


def test_a_segmentation_of_another_padded_length_is_named_with_both_shapes():
    potentials = random_potentials(1, 3, 3, 2).map(torch.as_tensor)
    with pytest.raises(ValueError, match=r"shape \(1, 2\); expected \(..., B, T\) = \(..., 1, 3\)"):
        score_of(Segmentation.from_list([[(0, 2, 0)]]), potentials)


def test_a_compiled_score_has_no_graph_break_and_the_same_value_and_still_looks_at_the_gold():
    potentials = case("every_term").map(torch.as_tensor)
    terms = dict(potentials.items())

    def scored(labels, durations, lengths):
        return score(Segmentation(labels, durations, lengths), **terms)

    compiled = torch.compile(scored, backend="aot_eager", fullgraph=True)
    gold = Segmentation.from_list([[(0, 3, 2), (3, 5, 0)], [(0, 2, 0), (2, 5, 1)]])
    assert torch.equal(compiled(gold.labels, gold.durations, gold.lengths), score(gold, **terms))
    with pytest.raises(ValueError, match=r"^sequence 1, segment 1 \(2, 5, 9\) has a label out of range"):
        compiled(torch.where(gold.labels == 1, 9, gold.labels), gold.durations, gold.lengths)


def test_missing_lengths_are_the_padded_length_and_given_ones_become_int64():
    potentials = random_potentials(2, 5, 2, 2)
    assert lengths_of(potentials.map(torch.as_tensor)).tolist() == [5, 5]
    given_lengths = random_potentials(2, 5, 2, 2, lengths=[5, 1]).map(torch.as_tensor)
    assert (
        lengths_of(given_lengths.map(lambda x: x if x.is_floating_point() else x.to(torch.uint8))).dtype
        == torch.int64
    )


@every_case
def test_emissions_agreeing_with_labels_allow_exactly_the_segmentations_that_agree(name):
    potentials = case(name)
    rng = np.random.default_rng(2)
    labels = rng.integers(0, potentials.shape[2], potentials.shape[:2])
    labels[rng.random(labels.shape) < 0.5] = UNKNOWN
    lengths = [sequence.length for sequence in enumerated(name, 3)]
    for b, length in enumerate(lengths):
        labels[b, length:] = 77  # past the lengths anything may stand
    emissions = agreeing(potentials.map(torch.as_tensor), torch.as_tensor(labels)).numpy()
    agreed = enumerate_batch(Potentials(**dict(potentials.items()) | {"emissions": emissions}))
    for b, (free, bound_to) in enumerate(zip(enumerated(name, 3), agreed, strict=True)):
        asked = labels[b, : lengths[b]].tolist()
        for segments, before, after in zip(free.all, free.scores, bound_to.scores, strict=True):
            agrees = all(x in (UNKNOWN, y) for x, y in zip(asked, segments_to_labels(segments), strict=True))
            assert after == (before if agrees else -np.inf)
        if free.count:
            bound = probability_bound(free.log_partition) + FLOAT64_RELATIVE
            log_prob = bound_to.log_partition - free.log_partition
            assert_close(log_prob, free.label_log_prob(asked), bound, scale=free.log_partition)


def test_unknown_labels_leave_the_emissions_alone():
    potentials = case("ragged").map(torch.as_tensor)
    labels = torch.full(potentials.shape[:2], UNKNOWN)
    assert torch.equal(agreeing(potentials, labels), potentials.emissions)


@pytest.mark.parametrize(
    "labels",
    [torch.zeros(2, 4).long(), torch.zeros(5).long(), torch.zeros(2, 5)],
    ids=["shape", "axes", "dtype"],
)
def test_labels_that_are_no_integers_of_the_right_shape_are_named_with_both(labels):
    potentials = random_potentials(2, 5, 2, 2).map(torch.as_tensor)
    with pytest.raises(
        ValueError, match=r"^labels have shape \(.*\) and dtype .*; expected integers .* = \(2, 5\)"
    ):
        agreeing(potentials, labels)


def test_a_label_out_of_range_is_named_with_its_sequence_and_position():
    potentials = random_potentials(2, 3, 2, 2, lengths=[3, 2]).map(torch.as_tensor)
    labels = torch.tensor([[0, UNKNOWN, 1], [0, 2, 9]])
    with pytest.raises(
        ValueError, match=r"^sequence 1: position 1 has label 2; expected 0 <= label < 2, or -100"
    ):
        agreeing(potentials, labels)


def test_the_score_takes_the_terms_that_every_function_takes():
    assert list(inspect.signature(score).parameters) == ["segmentation", *SHAPES]
