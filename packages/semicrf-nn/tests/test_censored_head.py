"""The head over sequences that were cut off: every method takes the flags, errors speak of seen labels."""

import pytest
import torch

from semicrf_nn import SemiMarkovCRFHead
from semicrf_spec.testing import FLOAT32_SUM, FLOAT64_RELATIVE, assert_close


def head_and_input():
    torch.manual_seed(0)
    head = SemiMarkovCRFHead(3, 4, hidden_dim=4, min_duration=2)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    labels = torch.tensor([[0, 1, 1, 1, 2, 2, 0, 0, 1], [1, 1, 2, 2, 0, -100, -100, -100, -100]])
    return head, torch.randn(2, 9, 4), torch.tensor([9, 5]), labels


SIDES = {"left_censored": torch.tensor([True, False]), "right_censored": True}


def test_the_head_takes_the_flags_wherever_it_takes_hidden_states():
    head, hidden, lengths, labels = head_and_input()
    d = head.distribution(hidden, lengths, **SIDES)
    runs = [[(0, 1, 0), (1, 4, 1), (4, 6, 2), (6, 8, 0), (8, 9, 1)], [(0, 2, 1), (2, 4, 2), (4, 5, 0)]]
    losses = head.compute_loss(hidden, lengths, labels, reduction="none", **SIDES)
    assert_close(losses.detach(), -d.log_prob(runs).detach(), FLOAT64_RELATIVE)
    marginal = head.compute_loss(hidden, lengths, labels, supervision="labels", reduction="none", **SIDES)
    assert_close(marginal.detach(), -d.log_prob(labels).detach(), FLOAT64_RELATIVE)
    smoothed = head.compute_loss(
        hidden, lengths, labels, reduction="none", label_smoothing=0.25, **SIDES
    ).detach()
    spread = d.uniform().cross_entropy(d)
    assert_close(smoothed, (0.75 * losses + 0.25 * spread).detach(), FLOAT64_RELATIVE)
    assert head.decode_with_traceback(hidden, lengths, **SIDES) == d.mode.to_list()
    by_position = head.decode(hidden, lengths, method="position", **SIDES)
    assert by_position.to_list() == d.decode("position").to_list()
    assert torch.equal(head.compute_position_marginals(hidden, lengths, **SIDES), d.posteriors.position)
    assert torch.equal(head.compute_boundary_marginals(hidden, lengths, **SIDES), d.posteriors.boundary)
    streamed, exact = (
        method(hidden, lengths, **SIDES).detach()
        for method in (head.compute_entropy_streaming, head.compute_entropy_exact)
    )
    assert_close(streamed, exact, FLOAT64_RELATIVE, scale=10.0)
    assert torch.equal(head(hidden, lengths, **SIDES).log_partition, d.log_partition)


def test_what_is_impossible_is_said_of_labels_not_of_their_copies():
    head, hidden, lengths, labels = head_and_input()
    with pytest.raises(ValueError, match=r"sequence 0 .* segment 0 \(0, 1, 0\) .* duration of 1 positions"):
        head.compute_loss(hidden, lengths, labels, right_censored=True)
    labels[0, 3] = 2  # a run of 1 within
    labels[0, 2] = 0
    with pytest.raises(ValueError, match=r"sequence 0 .* segment 1 \(1, 2, 1\) .* duration of 1 positions"):
        head.compute_loss(hidden, lengths, labels, **SIDES)
    forbidding = SemiMarkovCRFHead(3, 4, hidden_dim=4, forbidden_transitions=[(1, 2)])
    with pytest.raises(ValueError, match=r"segment 1 \(2, 4, 2\) .* transition from label 1"):
        forbidding.compute_loss(hidden[1:], lengths[1:], labels[1:], left_censored=True)


@pytest.mark.slow
# PyTorch's own compiler still uses what PyTorch deprecates
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("supervision", ["segments", "labels"])
def test_head_and_loss_compile_into_one_graph(supervision):
    torch._dynamo.reset()
    head, hidden, lengths, labels = head_and_input()

    def loss(hidden, lengths, labels, left, right):
        return head.compute_loss(
            hidden, lengths, labels, supervision=supervision, left_censored=left, right_censored=right
        )

    answers = []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        head.zero_grad()
        value = function(hidden, lengths, labels, *SIDES.values())
        value.backward()
        answers.append((value.detach(), [p.grad.clone() for p in head.parameters()]))
    assert_close(answers[1][0], answers[0][0], FLOAT64_RELATIVE)
    for compiled_grad, grad in zip(answers[1][1], answers[0][1], strict=True):
        assert_close(compiled_grad, grad, FLOAT32_SUM)
