"""`SemiCRF` over these kernels, on a GPU or interpreted, against the same on the float64 oracle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semicrf_spec.testing import FLOAT32_POSTERIOR, assert_close, random_potentials, with_segment_scores
from semicrf_triton import operators

semicrf_nn = pytest.importorskip("semicrf_nn")

pytestmark = pytest.mark.filterwarnings("ignore:Warning only once for all operators:UserWarning")  # as meant

KERNELS = (
    operators.log_partition,
    operators.posteriors,
    operators.covariances,
    operators.viterbi,
    operators.top_k,
    operators.sample,
)


@pytest.fixture(autouse=True)
def answering(device):
    """On a CPU the interpreted kernels take the place of its own."""
    with torch.library._scoped_library("semicrf", "IMPL") as library:
        if device.type == "cpu":
            for kernel in KERNELS:
                library.impl(kernel.__name__, kernel, "CPU", allow_override=True)
        yield


@pytest.fixture
def time(device):
    """Positions, as many as the interpreter has patience for."""
    return 300 if device.type == "cuda" else 19


def assert_as_by_the_oracle(answers, *given):
    """`answers` of distributions over the same potentials, on the kernels and on the oracle."""

    def distributions(backend, potentials):
        return [semicrf_nn.SemiCRF(**dict(terms.items()), backend=backend) for terms in potentials]

    found = answers(*distributions(None, given))
    oracle = distributions("eager", [terms.map(torch.Tensor.cpu) for terms in given])
    averaged = oracle[0].mode.scores.abs().max().item()  # in float32: numbers as large as scores
    for one, other in zip(found, answers(*oracle), strict=True):
        scale = max(other.detach().abs().max().item(), averaged)
        assert_close(one.detach().cpu(), other.detach(), FLOAT32_POSTERIOR, scale=scale)


def learning(terms):
    """Potentials whose emissions and durations get gradients."""
    leaves = {name: getattr(terms, name).clone().requires_grad_() for name in ("emissions", "duration")}
    return replace(terms, **leaves)


def slopes(loss, p):
    """The gradients that are learnt by."""
    return torch.autograd.grad(loss.sum(), (p.potentials.emissions, p.potentials.duration))


def test_an_entropy_a_divergence_and_posteriors_train_as_by_the_oracle(on_device, time):
    lengths = [time, time // 3]
    p = learning(on_device(random_potentials(2, time, 5, 3, seed=1, lengths=lengths)))
    q = on_device(random_potentials(2, time, 5, 3, seed=2, lengths=lengths))

    def answers(p, q):
        return slopes(p.entropy() + p.kl_divergence(q) + p.posteriors.position.square().sum((1, 2)), p)

    assert_as_by_the_oracle(answers, p, q)


@pytest.mark.parametrize("shared", [False, True])
def test_whole_segments_are_answered_and_train_as_by_the_oracle(shared, on_device, time):
    potentials = random_potentials(2, time, 6, 3, seed=3, lengths=[time, time // 3])
    potentials = potentials if shared else with_segment_scores(potentials, 4, forbidden=0.1)
    costs = torch.rand((2, time, 6, 3), generator=torch.Generator().manual_seed(5))

    def answers(p):
        risk = p.expected_cost(segments=costs.to(p.potentials.emissions.device))
        found = p.decode("segment_f1")
        right = torch.cat(p.segment_probabilities(found)).sum()
        answered = (p.segment_posteriors, risk, right, p.mode.scores, p.entropy())
        return *answered, *slopes(risk, p), *slopes(p.entropy(), p)

    assert_as_by_the_oracle(answers, learning(on_device(potentials)))


def test_whole_segments_that_were_cut_off_are_answered_and_train_as_by_the_oracle(on_device):
    given = with_segment_scores(random_potentials(2, 9, 4, 2, seed=8, lengths=[9, 5]), 9, forbidden=0.1)
    beyond = np.isnan(given.duration)
    assert beyond.any()  # where the recordings ended
    potentials = learning(on_device(replace(given, duration=np.where(beyond, -0.5, given.duration))))
    sides = {"left_censored": [True, False], "right_censored": torch.tensor([True, True])}

    def answers(p):
        cut = semicrf_nn.SemiCRF(**dict(p.potentials.items()), **sides, backend=p.backend)
        found = cut.decode("segment_f1")
        right = torch.cat(cut.segment_probabilities(found)).sum()
        answered = (cut.log_partition, cut.posteriors.position, cut.mode.scores, cut.top_k(3).scores, right)
        return *answered, *slopes(cut.log_partition, cut), *slopes(cut.entropy(), cut)

    assert_as_by_the_oracle(answers, potentials)


def test_every_other_question_is_answered_as_by_the_oracle(on_device):
    p, q = (on_device(random_potentials(2, 7, 3, 2, seed=seed, lengths=[7, 4])) for seed in (6, 7))
    labels = torch.tensor([[0, 0, 1, 1, 0, 1, 1], [1, 0, 0, 1, -100, -100, -100]])

    def answers(p, q):
        known = p.constrained(segments=[[(2, 4, 1)], [(0, 1, -100)]], max_duration=2)
        terms, backend = dict(p.potentials.items()), p.backend
        cut = semicrf_nn.SemiCRF(**terms, left_censored=True, right_censored=[True, False], backend=backend)
        on_same = labels.to(p.potentials.emissions.device)
        return (
            p.cross_entropy(q), p.expected_score(), p.expected_counts, p.position_entropy(),
            p.position_log_prob(on_same), p.log_prob(on_same), p.top_k(3).scores, p.decode("position").scores,
            known.log_partition, known.posteriors.position, known.mode.scores,
            cut.log_partition, cut.posteriors.begins, cut.entropy(), cut.mode.scores,
        )  # fmt: skip

    assert_as_by_the_oracle(answers, p, q)
