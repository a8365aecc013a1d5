"""Answers of distributions have the gradients of finite differences, and on both backends the same."""

import pytest
import torch
from torch.autograd import gradcheck

from semicrf_nn import SemiCRF
from semicrf_spec.testing import FLOAT64_POSTERIOR, assert_close, random_potentials

HELD = {
    "labels": {"labels": [[0, -100, -100, 1, -100], [-100, 1, -100, 9, 9]]},
    "allowed": {"allowed": torch.tensor([[1, 0]] + [[1, 1]] * 4).bool()},
    "boundaries": {"boundaries": [[-100, 1, 0, -100, -100], [-100, 0, 1, 9, 9]]},
    "segments": {"segments": [[(1, 3, 0)], [(0, 2, -100)]]},
    "transitions": {"forbidden_transitions": [(1, 1)]},
    "durations": {"min_duration": [1, 2], "max_duration": [3, 2]},
    "several": {"labels": [[0, -100, -100, 1, -100], [-100] * 5], "max_duration": 2},
}
ANSWERS = {
    "expected score": lambda p, q: p.expected_score(),
    "entropies of positions": lambda p, q: p.position_entropy(),
    "cross-entropy": lambda p, q: p.cross_entropy(q),
    "divergence": lambda p, q: p.kl_divergence(q),
}


def given(options):
    """Entropy, and divergence from another model, once constraints hold."""

    def answer(p, q):
        held = p.constrained(**options)
        return held.entropy(), held.kl_divergence(q)

    return answer


ANSWERS |= {f"given {kind}": given(options) for kind, options in HELD.items()}
each_answer = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


def models(backend):
    """The scores of two models as leaves, and what makes the models of them."""
    potentials = [random_potentials(2, 5, 3, 2, seed=seed, lengths=[5, 3]) for seed in (11, 12)]
    terms = [dict(p.map(torch.from_numpy).items()) for p in potentials]
    scores = [name for name, term in terms[0].items() if term.is_floating_point()]
    leaves = [own[name].requires_grad_() for own in terms for name in scores]

    def made(*leaves):
        halves = leaves[: len(scores)], leaves[len(scores) :]
        return [
            SemiCRF(**own | dict(zip(scores, half, strict=True)), backend=backend)
            for own, half in zip(terms, halves, strict=True)
        ]

    return leaves, made


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@each_answer
def test_gradients_by_both_models_are_those_of_finite_differences(answer, backend):
    leaves, made = models(backend)
    assert gradcheck(
        lambda *scores: answer(*made(*scores)), leaves, fast_mode=True
    )  # along random directions


@each_answer
def test_gradients_of_the_compiled_backend_are_the_oracles(answer):
    found = {}
    for backend in ("eager", "compiled"):
        leaves, made = models(backend)
        answers = answer(*made(*leaves))
        parts = answers if isinstance(answers, tuple) else (answers,)
        total = sum((x * torch.arange(1.0, 1.0 + x.numel()).reshape(x.shape).sin()).sum() for x in parts)
        found[backend] = torch.autograd.grad(total, leaves, materialize_grads=True)
    for ours, theirs in zip(found["compiled"], found["eager"], strict=True):
        assert_close(ours, theirs, FLOAT64_POSTERIOR)
