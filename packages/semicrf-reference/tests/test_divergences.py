"""Cross-entropy and Kullback-Leibler divergence, against sums over all segmentations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from semicrf_reference import compiled, eager
from semicrf_spec import Potentials, enumerate_batch
from semicrf_spec.operators import Posteriors
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, case, case_names, random_potentials
from semicrf_spec.testing.strategies import small_potentials

MODEL = random_potentials(3, 5, 3, 2, seed=210, lengths=[5, 3, 0])
OTHERS = {
    "required terms": random_potentials(3, 5, 3, 2, seed=211, optional=False, lengths=[5, 3, 0]),
    "every term": random_potentials(3, 5, 3, 2, seed=212, lengths=[5, 3, 0]),
    "longer": random_potentials(3, 5, 6, 2, seed=213, lengths=[5, 3, 0]),
    "shorter": random_potentials(3, 5, 1, 2, seed=214, lengths=[5, 3, 0]),
    "by position": Potentials(
        **dict(MODEL.items()) | {"transition": np.random.default_rng(215).standard_normal((3, 5, 2, 2))}
    ),
    "by sequence": Potentials(
        **dict(MODEL.items()) | {"duration": np.random.default_rng(216).standard_normal((3, 3, 2))}
    ),
    "forbidding": Potentials(**dict(MODEL.items()) | {"transition": np.array([[0.0, -np.inf], [0.0, 0.0]])}),
    "cut": Potentials(**dict(MODEL.items()) | {"cuts": np.array([[0, 0, 1, 0, 0]] * 3, dtype=bool)}),
}
PAIRS = [(MODEL, other) for other in OTHERS.values()] + [(other, MODEL) for other in OTHERS.values()]
IDS = [*(f"to {name}" for name in OTHERS), *(f"from {name}" for name in OTHERS)]


def tensors(potentials):
    return potentials.map(torch.from_numpy)


def asked(backend, what, ours, theirs):
    return getattr(backend, what)(**dict(tensors(ours).items()), other=tensors(theirs))


def listed(ours, theirs):
    """Cross-entropies and divergences by the list of all segmentations."""
    found = []
    for p, q in zip(enumerate_batch(ours), enumerate_batch(theirs), strict=True):
        log_q = dict(zip(q.all, q.scores - q.log_partition if q.count else q.scores, strict=True))
        likely = [(y, weight) for y, weight in zip(p.all, p.probabilities, strict=True) if weight > 0.0]
        total = sum(-weight * log_q.get(y, -np.inf) for y, weight in likely)
        found.append((total, total - p.entropy))
    return np.array(found).reshape(-1, 2).T


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=IDS)
def test_they_are_the_sums_over_all_segmentations(backend, ours, theirs):
    cross, divergence = listed(ours, theirs)
    assert_close(asked(backend, "cross_entropy", ours, theirs), cross, FLOAT64_RELATIVE, scale=10.0)
    assert_close(asked(backend, "kl_divergence", ours, theirs), divergence, FLOAT64_RELATIVE, scale=10.0)


@pytest.mark.parametrize("name", case_names())
def test_the_divergence_of_every_case_from_itself_is_0(backend, name):
    model = case(name)
    assert asked(backend, "kl_divergence", model, model).tolist() == [0.0] * model.shape[0]
    entropy = backend.entropy(**dict(tensors(model).items()))
    scale = backend.log_partition(**dict(tensors(model).items()))
    assert_close(asked(backend, "cross_entropy", model, model), entropy, FLOAT64_RELATIVE, scale=scale)


@given(small_potentials(largest=5.0), small_potentials(largest=5.0))
def test_divergences_are_never_negative(ours, theirs):
    if ours.shape != theirs.shape:
        return
    theirs = replace(theirs, lengths=ours.lengths)
    for backend in (eager, compiled):
        found = asked(backend, "kl_divergence", ours, theirs)
        assert (found >= -1e-9).all()
        cross, divergence = listed(ours, theirs)
        assert_close(found, divergence, 1e-9, scale=100.0)
        assert_close(asked(backend, "cross_entropy", ours, theirs), cross, 1e-9, scale=100.0)


ALLOWING_NOTHING = {
    "durations": {"duration": np.full((3, 2), -np.inf)},
    "start": {"start": np.full(2, -np.inf)},
    "emissions": {"emissions": np.full((3, 5, 2), -np.inf)},
    "cuts": {"cuts": np.ones((3, 5), bool), "duration": np.array([[-np.inf] * 2, [0.0] * 2, [0.0] * 2])},
}


@pytest.mark.parametrize("change", ALLOWING_NOTHING.values(), ids=ALLOWING_NOTHING.keys())
def test_a_model_that_allows_nothing_is_infinitely_far_and_nothing_is_not_far_from_anything(backend, change):
    nothing = replace(MODEL, **change)
    for what in ("cross_entropy", "kl_divergence"):
        assert asked(backend, what, MODEL, nothing).tolist() == [np.inf, np.inf, 0.0]
        assert asked(backend, what, nothing, MODEL).tolist() == [0.0, 0.0, 0.0]


FORBIDDEN = {
    "emissions": (slice(None), 2, 1),
    "transition": (0, 1),
    "duration": (1, 0),
    "start": (1,),
    "end": (0,),
    "begin": (slice(None), 2, 0),
    "finish": (slice(None), 1, 1),
}


def improbable_and_forbidden(name):
    """A model in which something is so improbable that no float holds it, and one that forbids it."""
    if name == "cuts":
        improbable = MODEL.begin.copy()
        improbable[:, 2] += 2000.0
        return replace(MODEL, begin=improbable), replace(MODEL, cuts=np.array([[0, 0, 1, 0, 0]] * 3, bool))
    scores = getattr(MODEL, name).copy()
    scores[FORBIDDEN[name]] = -np.inf
    return replace(MODEL, **{name: np.maximum(scores, -2000.0)}), replace(MODEL, **{name: scores})


@pytest.mark.parametrize("name", [*FORBIDDEN, "cuts"])
def test_what_the_other_forbids_makes_them_infinite_however_improbable_it_is(backend, name):
    ours, theirs = improbable_and_forbidden(name)
    for what in ("cross_entropy", "kl_divergence"):
        assert asked(backend, what, ours, theirs).tolist() == [np.inf, np.inf, 0.0]
        assert asked(backend, what, theirs, ours).isfinite().all()
        assert asked(backend, what, theirs, theirs).isfinite().all()


def test_an_infinite_divergence_leaves_the_gradients_of_the_others_alone():
    ours, theirs = (tensors(random_potentials(2, 5, 3, 2, seed=s, optional=False)) for s in (225, 226))
    forbidding = theirs.emissions.clone()
    forbidding[0, 1, 0] = -torch.inf
    shared = ours.transition.clone().requires_grad_()
    found = eager.kl_divergence(
        ours.emissions, shared, ours.duration, other=replace(theirs, emissions=forbidding)
    )
    assert found.isinf().tolist() == [True, False]
    (grad,) = torch.autograd.grad(torch.where(found.isfinite(), found, 0.0).sum(), shared)
    alone = eager.kl_divergence(ours.emissions, shared, ours.duration, other=theirs)[1]
    (expected,) = torch.autograd.grad(alone, shared)
    assert_close(grad, expected, FLOAT64_RELATIVE)


def test_both_backends_agree_at_larger_sizes():
    ours = random_potentials(2, 80, 30, 6, seed=217, lengths=[80, 55])
    theirs = random_potentials(2, 80, 20, 6, seed=218, lengths=[80, 55], optional=False)
    for what, pair in (("cross_entropy", (theirs, ours)), ("kl_divergence", (theirs, ours))):
        assert_close(asked(compiled, what, *pair), asked(eager, what, *pair), FLOAT64_RELATIVE, what)


def test_models_that_are_nearly_the_same_lose_no_digits():
    """Of a change by h, the divergence is `h**2 / 2` times the variance of what has changed."""
    model = random_potentials(1, 400, 8, 4, seed=219, optional=False)
    h = 1e-4
    direction = np.random.default_rng(220).standard_normal(model.emissions.shape)
    near = replace(model, emissions=model.emissions + h * direction)
    found = asked(compiled, "kl_divergence", model, near)
    once, twice = (
        compiled.log_partition(
            **dict(tensors(replace(model, emissions=model.emissions + k * 1e-3 * direction)).items())
        )
        for k in (1.0, -1.0)
    )
    middle = compiled.log_partition(**dict(tensors(model).items()))
    variance = (once + twice - 2.0 * middle) / 1e-6
    assert_close(found / (0.5 * h * h), variance, 1e-3, scale=variance)


@pytest.mark.parametrize("what", ["cross_entropy", "kl_divergence"])
def test_gradients_by_every_score_of_both_models_are_those_of_finite_differences(backend, what):
    models = [
        dict(tensors(random_potentials(2, 3, 2, 2, seed=s, lengths=[3, 2])).items()) for s in (221, 222)
    ]
    scores = [name for name, term in models[0].items() if term.is_floating_point()]

    def asked_of(*leaves):
        halves = leaves[: len(scores)], leaves[len(scores) :]
        ours, theirs = (
            m | dict(zip(scores, half, strict=True)) for m, half in zip(models, halves, strict=True)
        )
        return getattr(backend, what)(**ours, other=Potentials(**theirs))

    assert torch.autograd.gradcheck(asked_of, [m[name].requires_grad_() for m in models for name in scores])


def test_the_gradient_by_the_other_model_flows_on_the_compiled_backend():
    """`d cross_entropy / d theirs` is a difference of posteriors: no second-order scan is needed."""
    ours = tensors(random_potentials(2, 9, 4, 3, seed=223))
    theirs = tensors(random_potentials(2, 9, 4, 3, seed=224))
    leaf = theirs.emissions.clone().requires_grad_()
    for what in ("cross_entropy", "kl_divergence"):
        found = getattr(compiled, what)(**dict(ours.items()), other=replace(theirs, emissions=leaf))
        (grad,) = torch.autograd.grad(found.sum(), leaf)
        expected: list[Posteriors] = [compiled.posteriors(**dict(p.items())) for p in (theirs, ours)]
        assert_close(grad, expected[0].position - expected[1].position, FLOAT64_RELATIVE)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lengths": np.array([5, 4, 0])}, ValueError, r"^sequence 1 of other has 4 positions; expected 3"),
        (None, TypeError, r"^other is a NoneType; expected Potentials"),
        ("shape", ValueError, r"^other has \(B, T, C\) = \(3, 5, 4\); expected \(3, 5, 2\)"),
    ],
)
def test_models_of_other_sequences_are_named(backend, change, error, message):
    if isinstance(change, dict):
        change = tensors(replace(MODEL, **change))
    elif change == "shape":
        change = tensors(random_potentials(3, 5, 3, 4, lengths=[5, 3, 0]))
    for what in ("cross_entropy", "kl_divergence"):
        with pytest.raises(error, match=message):
            getattr(backend, what)(**dict(tensors(MODEL).items()), other=change)
