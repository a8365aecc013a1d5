import copy
import io
from itertools import pairwise

import numpy as np
import pytest
import torch

from semicrf_nn import Segmentation, SemiMarkovCRFHead
from semicrf_nn.losses import reduced
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close


@pytest.fixture
def head():
    torch.manual_seed(0)
    return randomised(SemiMarkovCRFHead(3, 5, hidden_dim=4))


def randomised(head: SemiMarkovCRFHead) -> SemiMarkovCRFHead:
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head


@pytest.fixture
def hidden():
    return torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(1))


LENGTHS = torch.tensor([9, 6])
LABELS = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 0, 0], [1, 1, 2, 0, 0, 0, -100, -100, -100]])


def test_a_head_trained_on_segments_of_three_decodes_segments_of_three():
    torch.manual_seed(0)
    labels = torch.randint(0, 2, (40, 8)).repeat_interleave(3, dim=1)
    segments = [[(3 * i, 3 * i + 3, int(row[3 * i])) for i in range(8)] for row in labels]
    # emissions say little: which label, with much noise
    hidden = torch.nn.functional.one_hot(labels, 2) + 1.5 * torch.randn(40, 24, 2)
    head = SemiMarkovCRFHead(2, 6, hidden_dim=2)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.2)
    for _ in range(40):
        optimiser.zero_grad()
        head.compute_loss(hidden[:30], None, segments[:30]).backward()
        optimiser.step()
    decoded = head.decode(hidden[30:])
    durations = decoded.durations[decoded.durations > 0]
    assert (durations == 3).all()


def test_the_loss_is_the_negative_log_prob_of_the_runs(head, hidden):
    runs = [[(0, 2, 0), (2, 5, 1), (5, 7, 2), (7, 9, 0)], [(0, 2, 1), (2, 3, 2), (3, 6, 0)]]
    expected = -head.distribution(hidden, LENGTHS).log_prob(runs)
    for gold in (LABELS, runs, Segmentation.from_list(runs, num_positions=9)):
        losses = head.compute_loss(hidden, LENGTHS, gold, reduction="none")
        assert_close(losses.detach(), expected.detach(), FLOAT64_RELATIVE)


def test_labels_are_at_least_as_likely_as_one_way_to_cut_them(head, hidden):
    by_segments = head.compute_loss(hidden, LENGTHS, LABELS, reduction="none")
    by_labels = head.compute_loss(hidden, LENGTHS, LABELS, supervision="labels", reduction="none")
    assert (by_labels < by_segments).all()


def test_reductions_are_of_the_same_losses(head, hidden):
    losses = head.compute_loss(hidden, LENGTHS, LABELS, reduction="none")
    assert losses.shape == (2,)
    assert_close(head.compute_loss(hidden, LENGTHS, LABELS).detach(), losses.mean().item(), FLOAT64_RELATIVE)
    total = head.compute_loss(hidden, LENGTHS, LABELS, reduction="sum")
    assert_close(total.detach(), losses.sum().item(), FLOAT64_RELATIVE)


def test_a_loss_by_token_weighs_positions_alike(head, hidden):
    losses = head.compute_loss(hidden, LENGTHS, LABELS, reduction="none")
    by_token = head.compute_loss(hidden, LENGTHS, LABELS, reduction="token")
    assert_close(by_token.detach(), losses.detach().sum() / 15.0, FLOAT64_RELATIVE)


def test_weights_are_of_sequences_and_a_mean_is_divided_by_them(head, hidden):
    losses = head.compute_loss(hidden, LENGTHS, LABELS, reduction="none").detach()
    weighted = {
        reduction: head.compute_loss(
            hidden, LENGTHS, LABELS, reduction=reduction, sequence_weight=[3.0, 0.5]
        ).detach()
        for reduction in ("none", "sum", "mean", "token")
    }
    total = 3.0 * losses[0] + 0.5 * losses[1]
    assert_close(weighted["none"], losses * torch.tensor([3.0, 0.5]), FLOAT64_RELATIVE)
    assert_close(weighted["sum"], total, FLOAT64_RELATIVE)
    assert_close(weighted["mean"], total / 3.5, FLOAT64_RELATIVE)
    assert_close(weighted["token"], total / (3.0 * 9 + 0.5 * 6), FLOAT64_RELATIVE)


def test_what_weighs_nothing_may_cost_anything():
    losses = torch.tensor([2.0, torch.inf], dtype=torch.float64)
    assert reduced(losses, LENGTHS, "mean", torch.tensor([1.0, 0.0])) == 2.0
    assert reduced(losses[:0], LENGTHS[:0], "mean") == 0.0


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0], r"sequence_weight has shape \(1,\); expected \(B,\) = \(2,\)"),
        ([1.0, -2.0], r"sequence_weight\[1\] is -2\.0; expected at least 0"),
        ([float("nan"), 1.0], r"sequence_weight\[0\] is nan; expected at least 0, and finite"),
        ([1.0, float("inf")], r"sequence_weight\[1\] is inf; expected at least 0, and finite"),
    ],
)
def test_weights_that_are_none_are_named(head, hidden, weight, message):
    with pytest.raises(ValueError, match=message):
        head.compute_loss(hidden, LENGTHS, LABELS, sequence_weight=weight)


def test_smoothed_labels_spread_some_of_the_gold_over_all_that_is_allowed(hidden):
    head = randomised(SemiMarkovCRFHead(2, 3, hidden_dim=4, forbidden_transitions=[(0, 1)]))
    hidden, lengths, labels = hidden[:, :4], [4, 3], torch.zeros(2, 4, dtype=torch.int64)
    segments = [[(0, 2, 0), (2, 4, 0)], [(0, 3, 0)]]
    smoothed = head.compute_loss(hidden, lengths, segments, label_smoothing=0.2, reduction="none").detach()
    d = head.distribution(hidden, lengths)
    every = d.top_k(100)
    allowed = every.scores > -torch.inf
    mean = torch.where(allowed, -d.log_prob(every).detach(), 0.0).sum(0) / allowed.sum(0)
    expected = -0.8 * d.log_prob(segments).detach() + 0.2 * mean
    assert allowed.sum(0).min() > 1
    assert_close(smoothed, expected, FLOAT64_RELATIVE)
    with pytest.raises(ValueError, match=r"label_smoothing is 1\.0; expected at least 0 and less than 1"):
        head.compute_loss(hidden, lengths, labels, label_smoothing=1.0)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_the_norm_of_parameters_sums_powers_of_their_sizes_and_trains_them(head, p):
    counted = [getattr(head.double(), name) for name in ("transition", "duration", "start", "end")]
    norm = head.parameter_norm(p)
    values = torch.cat([parameter.detach().flatten() for parameter in counted])
    assert_close(norm.detach(), sum(abs(x) ** p for x in values.tolist()), FLOAT64_RELATIVE)
    slopes = torch.cat([slope.flatten() for slope in torch.autograd.grad(norm, counted)])
    assert_close(slopes, p * values.abs() ** (p - 1.0) * values.sign(), FLOAT64_RELATIVE)


def test_the_norm_of_parameters_leaves_the_projection_out(head):
    head.parameter_norm().backward()
    for wrong in (0.5, 0.0, -1.0, torch.inf, torch.nan):
        with pytest.raises(ValueError, match=r"^p is .*; expected a finite number of at least 1"):
            head.parameter_norm(wrong)
    assert head.projection.weight.grad is None
    assert_close(head.transition.grad, 2.0 * head.transition.detach(), FLOAT64_RELATIVE)


def test_runs_longer_than_max_duration_train_with_supervision_labels(hidden):
    head = SemiMarkovCRFHead(3, 2, hidden_dim=4)
    with pytest.raises(
        ValueError, match=r"sequence 0, segment 1 \(2, 5, 1\) lasts 3.*raise max_duration.*'labels'"
    ):
        head.compute_loss(hidden, LENGTHS, LABELS)
    assert head.compute_loss(hidden, LENGTHS, LABELS, supervision="labels").isfinite()


def test_decoding_is_the_mode_of_the_distribution(head, hidden):
    mode = head.distribution(hidden, LENGTHS).mode
    decoded = head.decode(hidden, LENGTHS)
    assert torch.equal(decoded.labels, mode.labels)
    assert head.decode_with_traceback(hidden, LENGTHS) == mode.to_list()
    assert [segments[-1].end for segments in decoded.to_list()] == LENGTHS.tolist()


def test_boundary_marginals_are_certain_at_the_first_position_and_absent_past_the_end(head, hidden):
    boundary = head.compute_boundary_marginals(hidden, LENGTHS)
    assert_close(boundary[:, 0].detach(), [1.0, 1.0], FLOAT64_RELATIVE)
    assert (boundary[1, 6:] == 0).all()
    position = head.compute_position_marginals(hidden, LENGTHS)
    assert_close(position.sum(-1)[0].detach(), torch.ones(9), FLOAT64_RELATIVE)


def test_both_entropies_are_exact_and_equal(head, hidden):
    streaming = head.compute_entropy_streaming(hidden, LENGTHS)
    exact = head.compute_entropy_exact(hidden, LENGTHS)
    scale = head.distribution(hidden, LENGTHS).log_partition.detach()
    assert_close(streaming.detach(), exact.detach(), FLOAT64_RELATIVE, scale=scale)


def test_forbidden_transitions_never_occur(hidden):
    forbidden = [(0, 0), (1, 1), (2, 2), (0, 2)]
    head = randomised(SemiMarkovCRFHead(3, 2, hidden_dim=4, forbidden_transitions=forbidden))
    for segments in head.decode_with_traceback(hidden, LENGTHS):
        pairs = {(a.label, b.label) for a, b in pairwise(segments)}
        assert not pairs & set(forbidden)
    transitions = head.distribution(hidden, LENGTHS).posteriors.transitions
    assert all((transitions[:, i, j] == 0).all() for i, j in forbidden)


def test_a_boolean_mask_forbids_what_the_pairs_forbid():
    mask = torch.tensor([[True, False], [False, True]])
    by_mask = SemiMarkovCRFHead(2, 3, forbidden_transitions=mask)
    by_pairs = SemiMarkovCRFHead(2, 3, forbidden_transitions=[(0, 0), (1, 1)])
    assert torch.equal(by_mask.transition_mask, by_pairs.transition_mask)


def test_every_label_keeps_to_its_shortest_and_longest_duration(hidden):
    head = randomised(SemiMarkovCRFHead(3, [4, 2, 3], hidden_dim=4, min_duration=[1, 2, 3]))
    assert head.max_duration == 4
    durations = head.distribution(hidden, LENGTHS).posteriors.durations.sum(0)
    allowed = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]], dtype=torch.bool)
    assert torch.equal(durations > 0, allowed)


def test_gold_that_the_constraints_forbid_is_an_error_that_names_the_term(hidden):
    head = SemiMarkovCRFHead(3, 5, hidden_dim=4, forbidden_transitions=[(2, 0)])
    with pytest.raises(
        ValueError, match=r"sequence 0 has probability 0: segment 3 .* forbidden by transition"
    ):
        head.compute_loss(hidden, LENGTHS, LABELS)
    head = SemiMarkovCRFHead(3, 5, hidden_dim=4, min_duration=2)
    with pytest.raises(ValueError, match=r"sequence 1 .* segment 1 \(2, 3, 2\) is forbidden by duration"):
        head.compute_loss(hidden, LENGTHS, LABELS)
    with pytest.raises(ValueError, match="sequence 1: no segmentation that the constraints allow agrees"):
        head.compute_loss(hidden, LENGTHS, LABELS, supervision="labels")


def test_a_state_dict_round_trip_keeps_every_answer(head, hidden):
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    again = SemiMarkovCRFHead(3, 5, hidden_dim=4)
    again.load_state_dict(torch.load(file))
    assert set(head.state_dict()) == {
        "transition", "duration", "start", "end", "projection.weight", "projection.bias",
    }  # fmt: skip
    loss = head.compute_loss(hidden, LENGTHS, LABELS)
    assert torch.equal(loss, again.compute_loss(hidden, LENGTHS, LABELS))
    assert torch.equal(loss, copy.deepcopy(head).compute_loss(hidden, LENGTHS, LABELS))


def test_extra_repr_names_the_sizes_and_the_constraints():
    head = SemiMarkovCRFHead(3, 5, 4, forbidden_transitions=[(0, 1)], backend="eager")
    assert "num_classes=3, max_duration=5, hidden_dim=4, forbidden_transitions=1, backend='eager'" in repr(
        head
    )


def test_without_hidden_dim_the_encoder_gives_the_emissions():
    head = SemiMarkovCRFHead(3, 2)
    emissions = torch.randn(1, 4, 3)
    assert head.distribution(emissions).potentials.emissions is emissions
    assert sum(p.numel() for p in head.parameters()) == 3 * 3 + 2 * 3 + 3 + 3


def test_losses_and_gradients_repeat_bit_for_bit(head, hidden):
    def gradients():
        head.zero_grad()
        head.compute_loss(hidden, LENGTHS, LABELS).backward()
        return [p.grad.clone() for p in head.parameters()]

    first = gradients()
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(), strict=True))


def test_mixed_precision_trains(head, hidden):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.compute_loss(hidden, LENGTHS, LABELS)
    loss.backward()
    assert loss.dtype == torch.float64
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in head.parameters())


def test_empty_sequences_cost_nothing(head):
    loss = head.compute_loss(torch.randn(2, 3, 4), torch.tensor([0, 0]), torch.zeros(2, 3, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in head.parameters())
    assert head.decode(torch.randn(2, 0, 4)).to_list() == [[], []]


def test_use_triton_is_another_name_for_the_backend():
    assert SemiMarkovCRFHead(2, 2, use_triton=True).backend == "triton"
    assert SemiMarkovCRFHead(2, 2, use_triton=False).backend == "compiled"
    assert SemiMarkovCRFHead(2, 2, use_triton=False, backend="eager").backend == "eager"
    assert SemiMarkovCRFHead(2, 2).backend is None
    with pytest.raises(ValueError, match="contradict"):
        SemiMarkovCRFHead(2, 2, use_triton=True, backend="eager")


def test_what_stands_past_the_lengths_reaches_neither_loss_nor_gradients(head, hidden):
    def gradients(given):
        head.zero_grad()
        head.compute_loss(given, LENGTHS, LABELS).backward()
        return [p.grad.clone() for p in head.parameters()]

    poisoned = hidden.clone()
    poisoned[1, 6:] = torch.nan
    for clean, found in zip(gradients(hidden), gradients(poisoned), strict=True):
        assert torch.equal(clean, found)


def test_durations_may_be_numpy_integers_and_pairs_a_numpy_array():
    head = SemiMarkovCRFHead(
        2, np.array([3, 4]), min_duration=np.int64(2), forbidden_transitions=np.eye(2) > 0
    )
    assert head.max_duration == 4
    assert "forbidden_transitions=2, backend=None, durations=((2, 3), (2, 4))" in repr(head)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_lengths_of_any_integer_dtype_serve_long_sequences(dtype):
    head = SemiMarkovCRFHead(2, 3)
    emissions = torch.randn(1, 300, 2)
    expected = head.distribution(emissions[:, :200]).log_partition
    found = head.distribution(emissions, torch.tensor([200], dtype=dtype)).log_partition
    assert torch.equal(found, expected)
