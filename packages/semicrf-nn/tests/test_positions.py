"""Positions by themselves: log-probabilities, entropies, and losses that weigh them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from semicrf_nn import SemiCRF, SemiMarkovCRFHead
from semicrf_spec import enumerate_batch, segments_to_labels
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    assert_close,
    case,
    case_names,
    random_potentials,
)

BACKENDS = ["eager", "compiled"]


def distribution(potentials, backend=None):
    return SemiCRF(**dict(potentials.map(torch.from_numpy).items()), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", case_names())
def test_the_log_prob_of_a_position_is_that_of_all_segmentations_with_the_label(name, backend):
    potentials = case(name)
    batch, time, classes = potentials.shape
    labels = np.random.default_rng(0).integers(0, classes, (batch, time))
    if time:
        labels[0, 0] = -100
    found = distribution(potentials, backend).position_log_prob(torch.from_numpy(labels))
    for b, listed in enumerate(enumerate_batch(potentials)):
        expected = np.zeros(time)
        for t in range(listed.length):
            alone = [-100] * listed.length
            alone[t] = labels[b, t]
            expected[t] = listed.label_log_prob(alone) if listed.count else -np.inf
            if labels[b, t] == -100:
                expected[t] = 0.0
        assert_close(found[b], expected, FLOAT64_RELATIVE)


def test_improbable_labels_have_exact_logarithms_and_gradients():
    # 60 nats against label 1 at position 2: its posterior is 1e-26, less than what a difference can hold
    potentials = random_potentials(1, 6, 3, 2, seed=70).map(torch.from_numpy)
    terms = dict(potentials.items())
    terms["emissions"][0, 2, 1] -= 60.0
    labels = torch.tensor([[0, 0, 1, 0, 0, 0]])
    found = {}
    for backend in BACKENDS:
        emissions = terms["emissions"].clone().requires_grad_()
        log_probs = SemiCRF(**{**terms, "emissions": emissions}, backend=backend).position_log_prob(labels)
        assert log_probs[0, 2] < -50.0
        found[backend] = torch.autograd.grad(log_probs.sum(), emissions)[0]
    assert_close(found["compiled"], found["eager"], FLOAT64_POSTERIOR)
    listed = enumerate_batch(potentials.map(torch.Tensor.numpy))[0]
    assert_close(
        log_probs.detach()[0, 2], listed.label_log_prob([-100, -100, 1, -100, -100, -100]), FLOAT64_RELATIVE
    )


def test_the_entropy_of_a_position_is_that_of_its_label():
    potentials = random_potentials(2, 5, 3, 3, seed=71, lengths=[5, 2])
    found = distribution(potentials).position_entropy()
    for b, listed in enumerate(enumerate_batch(potentials)):
        marginals = np.zeros((5, 3))
        for p, y in zip(listed.probabilities, listed.all, strict=True):
            for t, label in enumerate(segments_to_labels(y)):
                marginals[t, label] += p
        expected = -np.sum(
            np.where(marginals > 0, marginals * np.log(np.maximum(marginals, 1e-300)), 0.0), -1
        )
        assert_close(found[b], expected, FLOAT64_POSTERIOR)
    assert not found[1, 2:].any()


def test_the_entropy_of_a_position_has_finite_gradients_where_a_label_is_forbidden():
    terms = dict(random_potentials(1, 4, 2, 2, seed=72).map(torch.from_numpy).items())
    terms["emissions"][0, 1, 0] = -torch.inf
    terms["emissions"].requires_grad_()
    SemiCRF(**terms).position_entropy().sum().backward()
    assert torch.isfinite(terms["emissions"].grad).all()


def unconnected(batch=3, time=7, classes=4):
    """A head whose positions have nothing to do with one another, and its input."""
    head = SemiMarkovCRFHead(classes, 1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(batch, time, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(classes, (batch, time), generator=generator)
    labels[0, 2] = -100
    return head, hidden, labels


def test_where_nothing_connects_positions_it_is_the_weighted_cross_entropy():
    head, hidden, labels = unconnected()
    weight = torch.tensor([1.0, 0.5, 3.0, 0.0], dtype=torch.float64)
    ours = head.compute_loss(hidden, None, labels, class_weight=weight, reduction="token")
    theirs = F.cross_entropy(hidden.flatten(0, 1), labels.flatten(), weight=weight, ignore_index=-100)
    assert_close(ours.detach(), theirs.detach(), FLOAT64_RELATIVE)
    for found, expected in zip(*(torch.autograd.grad(x, hidden) for x in (ours, theirs)), strict=True):
        assert_close(found, expected, FLOAT64_POSTERIOR)


def test_weights_of_positions_multiply_those_of_classes_and_what_is_padded_counts_for_nothing():
    head, hidden, labels = unconnected()
    places = torch.rand(3, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lengths = torch.tensor([7, 4, 0])
    weight = torch.tensor([1.0, 0.5, 3.0, 2.0], dtype=torch.float64)
    each = F.cross_entropy(hidden.mT, labels, weight=weight, ignore_index=-100, reduction="none") * places
    expected = (each * (torch.arange(7) < lengths[:, None])).sum(1)
    places[1, 4:] = torch.nan
    found = head.compute_loss(
        hidden, lengths, labels, class_weight=weight, position_weight=places, reduction="none"
    )
    assert_close(found.detach(), expected.detach(), FLOAT64_RELATIVE)


def test_segments_weigh_as_their_labels_do():
    head, hidden, _ = unconnected(2, 4)
    segments = [[(0, 1, 0), (1, 2, 3), (2, 3, 3), (3, 4, 1)], [(t, t + 1, 2) for t in range(4)]]
    labels = torch.tensor([[0, 3, 3, 1], [2, 2, 2, 2]])
    weight = [1.0, 2.0, 3.0, 4.0]
    found = head.compute_loss(hidden, None, segments, class_weight=weight)
    assert torch.equal(found, head.compute_loss(hidden, None, labels, class_weight=weight))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"class_weight": [1.0, 2.0]}, r"class_weight has shape \(2,\); expected \(4,\)"),
        ({"class_weight": [1.0, 2.0, -1.0, 0.0]}, r"class_weight\[2\] is -1.0; expected at least 0"),
        ({"class_weight": [1.0, 2.0, float("inf"), 0.0]}, r"class_weight\[2\] is inf; .* and finite"),
        ({"class_weight": [1.0] * 4, "supervision": "none"}, r"supervision is 'none'; expected one of"),
        ({"position_weight": torch.ones(3)}, r"position_weight has shape \(3,\); expected \(3, 7\)"),
        ({"position_weight": torch.full((3, 7), torch.nan)}, r"position_weight\[0, 0\] is nan"),
    ],
)
def test_weights_that_cannot_be_are_named(weights, message):
    head, hidden, labels = unconnected()
    with pytest.raises(ValueError, match=message):
        head.compute_loss(hidden, None, labels, **weights)


def test_a_label_out_of_range_is_named_before_it_is_weighed():
    head, hidden, labels = unconnected()
    labels[2, 5] = 7
    with pytest.raises(ValueError, match=r"^sequence 2: position 5 has label 7; expected 0 <= label < 4"):
        head.compute_loss(hidden, None, labels, class_weight=[1.0] * 4)


def test_a_label_that_cannot_be_is_named_unless_it_weighs_nothing():
    head, hidden, labels = unconnected()
    blocked = hidden.detach().clone()
    blocked[1, 3, labels[1, 3]] = -torch.inf
    with pytest.raises(ValueError, match=r"^sequence 1: no segmentation .* has label \d at position 3"):
        head.compute_loss(blocked, None, labels, class_weight=[1.0] * 4)
    places = torch.ones(3, 7)
    places[1, 3] = 0.0
    assert torch.isfinite(head.compute_loss(blocked, None, labels, position_weight=places))
