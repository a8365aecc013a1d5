"""What must hold between losses at lengths that nothing can enumerate."""

import pytest
import torch

from semicrf_nn import SemiMarkovCRFHead
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close

T, K, C = 3_000, 12, 4
LENGTHS = torch.tensor([T, 1_700, 0])


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(1)
    head = SemiMarkovCRFHead(C, K).double().requires_grad_(False)
    for parameter in head.parameters():
        parameter.normal_()
    return head


@pytest.fixture(scope="module")
def hidden():
    return torch.randn(3, T, C, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture(scope="module")
def p(head, hidden):
    return head.distribution(hidden, LENGTHS)


@pytest.fixture(scope="module")
def gold(p):
    return p.sample(generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def loss(head, hidden, gold):
    """The loss of the gold, or of other labels, with options."""

    def asked(of=gold, **options):
        return head.compute_loss(hidden, LENGTHS, of, **options)

    return asked


def test_a_loss_is_the_log_partition_less_the_score_of_the_gold(p, gold, loss):
    expected = p.log_partition - p.score(gold)
    assert (expected[:2] > 0.0).all()
    assert_close(loss(reduction="none"), expected, FLOAT64_RELATIVE, scale=p.log_partition)


def test_a_loss_of_labels_is_what_knowing_them_takes_from_the_log_partition(p, gold, loss):
    labels = gold.to_labels(fill=-100)
    labels[:, ::5] = -100
    found = loss(labels, supervision="labels", reduction="none")
    expected = p.log_partition - p.constrained(labels=labels).log_partition
    assert_close(found, expected, FLOAT64_RELATIVE, scale=p.log_partition)
    assert (found[:2] < loss(reduction="none")[:2]).all()


OF = {
    "segments": {},
    "smoothed": {"label_smoothing": 0.2},
    "positions": {"position_weight": torch.linspace(0.5, 2.0, 3 * T).reshape(3, T)},
    "smoothed positions": {
        "label_smoothing": 0.2,
        "position_weight": torch.linspace(0.5, 2.0, 3 * T).reshape(3, T),
    },
}


@pytest.mark.parametrize("weight", [None, torch.tensor([0.3, 2.0, 1.0], dtype=torch.float64)])
@pytest.mark.parametrize("options", OF.values(), ids=OF)
def test_reductions_are_of_the_losses_of_sequences_and_of_what_they_weigh(loss, options, weight):
    each = loss(reduction="none", **options)
    shares = torch.ones(3, dtype=torch.float64) if weight is None else weight
    sizes = LENGTHS.double()
    if "position_weight" in options:
        sizes = (options["position_weight"] * (torch.arange(T) < LENGTHS[:, None])).double().sum(1)
    reduced = {
        how: loss(reduction=how, sequence_weight=weight, **options)
        for how in ("none", "sum", "mean", "token")
    }
    total = shares @ each
    assert_close(reduced["none"], shares * each, FLOAT64_RELATIVE)
    assert_close(reduced["sum"], total, FLOAT64_RELATIVE)
    assert_close(reduced["mean"], total / shares.sum(), FLOAT64_RELATIVE)
    assert_close(reduced["token"], total / (shares @ sizes), FLOAT64_RELATIVE)


def test_a_smoothed_loss_lies_between_that_of_the_gold_and_that_of_all_alike(head, hidden, p, loss):
    plain, half = (loss(reduction="none", label_smoothing=e) for e in (0.0, 0.5))
    assert torch.equal(plain, loss(reduction="none"))
    firsts, lasts = torch.zeros(2, 3, T, C, dtype=torch.float64)
    firsts[:, 0] = head.start
    lasts[[0, 1], LENGTHS[:2] - 1] = head.end
    score_of_all = p.uniform().expected_cost(
        position=hidden,
        transitions=head.transition,
        durations=head.duration,
        begins=firsts,
        ends=lasts,
    )
    all_alike = p.log_partition - score_of_all
    assert_close(2.0 * half - plain, all_alike, FLOAT64_RELATIVE, scale=p.log_partition)
    assert (all_alike[:2] > plain[:2]).all()


@pytest.mark.parametrize(
    "options", [{"class_weight": torch.linspace(0.5, 2.0, C)}, {"supervision": "labels"}], ids=str
)
def test_whatever_the_loss_smoothing_takes_as_much_of_it_for_all_alike(p, gold, loss, options):
    labels = gold.to_labels(fill=-100)
    plain, half = (loss(labels, reduction="none", label_smoothing=e, **options) for e in (0.0, 0.5))
    all_alike = p.uniform().cross_entropy(p)
    assert (all_alike[:2] > 0.0).all()
    assert_close(half, 0.5 * plain + 0.5 * all_alike, FLOAT64_RELATIVE)


def test_weights_of_1_are_the_likelihood_of_each_position_by_itself(p, gold, loss):
    labels = gold.to_labels(fill=-100)
    expected = -p.position_log_prob(labels).sum(1)
    ones = {"class_weight": torch.ones(C), "position_weight": torch.ones(3, T)}
    for given in ({"class_weight": ones["class_weight"]}, {"position_weight": ones["position_weight"]}, ones):
        for of in (gold, labels):
            assert_close(loss(of, reduction="none", **given), expected, FLOAT64_RELATIVE)
        assert_close(loss(reduction="token", **given), expected.sum() / LENGTHS.sum(), FLOAT64_RELATIVE)
