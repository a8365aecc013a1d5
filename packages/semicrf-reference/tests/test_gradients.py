"""Derivatives: of what, by what, how often, and none that is NaN."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.autograd import grad, gradcheck, gradgradcheck
from torch.autograd.forward_ad import dual_level, make_dual
from torch.fx.experimental.proxy_tensor import make_fx

from semicrf_reference import compiled, eager
from semicrf_spec import Potentials
from semicrf_spec.potentials import DTYPES
from semicrf_spec.testing import FLOAT64_POSTERIOR, assert_close, case, random_potentials
from semicrf_spec.testing.strategies import small_potentials

THIRD = "differentiates twice, and a third derivative was asked for: use backend='eager'"
FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


def leaves(potentials, dtype=None):
    """The terms as tensors that gradients are taken by."""
    terms = tensors(potentials)
    return {
        n: t.to(dtype or t.dtype).requires_grad_() if t.is_floating_point() else t for n, t in terms.items()
    }


def differentiable(terms):
    return [name for name in terms if name not in DTYPES]


def gradients(function, terms):
    """Of the weighted sum of the answers, by every term; no two sequences weigh the same."""
    value = function(**terms)
    weighted = (value * torch.arange(1.0, 1.0 + len(value)).to(value.dtype)).sum()
    wanted = [terms[name] for name in differentiable(terms)]
    found = grad(weighted, wanted, materialize_grads=True)  # the oracle of no positions uses no transition
    return dict(zip(differentiable(terms), found, strict=True))


FULL = random_potentials(2, 4, 3, 2, seed=40, lengths=[4, 3])
BY_PLACE = Potentials(
    **{
        **dict(FULL.items()),
        "transition": np.random.default_rng(41).standard_normal((2, 4, 2, 2)),
        "duration": np.random.default_rng(42).standard_normal((2, 3, 2)),
    }
)
BY_SEGMENT = Potentials(
    **{**dict(FULL.items()), "duration": np.random.default_rng(43).standard_normal((2, 4, 3, 2))}
)
CHECKED = [(FULL, name) for name in differentiable(dict(FULL.items()))]
CHECKED += [(BY_PLACE, "transition"), (BY_PLACE, "duration"), (BY_PLACE, "emissions")]
CHECKED += [(BY_SEGMENT, "duration"), (BY_SEGMENT, "emissions")]
SUFFIXES = {FULL: "", BY_PLACE: "-by-place", BY_SEGMENT: "-by-segment"}
IDS = [name + SUFFIXES[potentials] for potentials, name in CHECKED]


@pytest.mark.parametrize(("potentials", "name"), CHECKED, ids=IDS)
def test_gradient_of_log_partition_by_each_term_is_its_slope(backend, potentials, name):
    terms = tensors(potentials)

    def log_partition(term):
        return backend.log_partition(**{**terms, name: term})

    assert gradcheck(log_partition, terms[name].clone().requires_grad_())


@pytest.mark.parametrize(("potentials", "name"), CHECKED, ids=IDS)
def test_second_derivative_of_log_partition_by_each_term_is_the_slope_of_the_first(backend, potentials, name):
    terms = tensors(potentials)

    def log_partition(term):
        return backend.log_partition(**{**terms, name: term})

    assert gradgradcheck(log_partition, terms[name].clone().requires_grad_())


@pytest.mark.parametrize(
    "potentials", [FULL, BY_PLACE, BY_SEGMENT, case("ties")], ids=["full", "by-place", "by-segment", "ties"]
)
def test_second_derivatives_mix_all_terms(backend, potentials):
    terms = leaves(potentials)

    def log_partition(*given):
        return backend.log_partition(**{**terms, **dict(zip(differentiable(terms), given, strict=True))})

    assert gradgradcheck(log_partition, [terms[name] for name in differentiable(terms)])


@pytest.mark.parametrize("name", ["entropy", "posteriors"])
@pytest.mark.parametrize("potentials", [FULL, BY_PLACE, BY_SEGMENT], ids=["full", "by-place", "by-segment"])
def test_gradients_of_expectations_are_their_slopes(backend, name, potentials):
    terms = leaves(potentials)

    def function(*given):
        return getattr(backend, name)(**{**terms, **dict(zip(differentiable(terms), given, strict=True))})

    assert gradcheck(function, [terms[name] for name in differentiable(terms)])


def test_the_oracle_differentiates_entropy_twice():
    terms = tensors(random_potentials(1, 3, 2, 2, seed=43))

    def entropy(emissions, transition):
        return eager.entropy(**{**terms, "emissions": emissions, "transition": transition})

    assert gradgradcheck(entropy, [terms[n].requires_grad_() for n in ("emissions", "transition")])


def test_gradients_of_log_partition_are_the_posteriors(named, backend):
    terms = leaves(named)
    found = gradients(backend.log_partition, terms)
    p = backend.posteriors(**{name: term.detach() for name, term in terms.items()})
    weight = torch.arange(1.0, 1.0 + len(p.position), dtype=torch.float64)

    def weighted(counts):
        return counts * weight.reshape(-1, *(1,) * (counts.ndim - 1))

    expected = {
        "emissions": weighted(p.position),
        "begin": weighted(p.begins),
        "finish": weighted(p.ends),
        "transition": weighted(p.transitions),
        "duration": weighted(p.durations),
    }
    for name, gradient in found.items():
        if name in expected:
            wanted = expected[name]
            wanted = wanted.sum(0) if gradient.ndim < wanted.ndim else wanted
            assert_close(gradient, wanted.to(gradient.dtype), FLOAT64_POSTERIOR, name)


def test_compiled_gradients_equal_the_oracles(named):
    found, expected = (gradients(b.log_partition, leaves(named)) for b in (compiled, eager))
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        assert_close(found[name], expected[name], FLOAT64_POSTERIOR, name)


@settings(max_examples=60)
@given(small_potentials())
def test_compiled_gradients_of_any_small_problem_equal_the_oracles(potentials):
    found, expected = (gradients(b.log_partition, leaves(potentials)) for b in (compiled, eager))
    for name in expected:
        assert_close(found[name], expected[name], FLOAT64_POSTERIOR, name)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_gradients_have_the_dtype_of_their_terms_and_are_rounded_once(backend, dtype):
    narrow = leaves(FULL, dtype)
    wide = {
        n: t.detach().double().requires_grad_() if t.is_floating_point() else t for n, t in narrow.items()
    }
    found, expected = gradients(backend.log_partition, narrow), gradients(backend.log_partition, wide)
    for name in expected:
        assert found[name].dtype == dtype
        assert torch.equal(found[name], expected[name].to(dtype)), name


def test_terms_of_different_dtypes_each_get_their_own(backend):
    dtypes = dict(zip(differentiable(dict(FULL.items())), [*FLOATING, *FLOATING[:3]], strict=True))
    terms = {n: t.to(dtypes.get(n, t.dtype)) for n, t in tensors(FULL).items()}
    terms = {n: t.requires_grad_() if t.is_floating_point() else t for n, t in terms.items()}
    found = gradients(backend.log_partition, terms)
    assert {name: gradient.dtype for name, gradient in found.items()} == dtypes


def test_only_terms_that_ask_get_gradients(backend):
    for name in differentiable(dict(FULL.items())):
        terms = tensors(FULL)
        terms[name].requires_grad_()
        backend.log_partition(**terms).sum().backward()
        assert [n for n, term in terms.items() if term.grad is not None] == [name]
        assert terms[name].grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
def test_what_is_forbidden_has_gradient_zero(backend, name):
    potentials = case(f"forbidden_{name}")
    terms = leaves(potentials)
    gradient = gradients(backend.log_partition, terms)[name]
    assert torch.isfinite(gradient).all()
    assert (gradient[torch.isneginf(terms[name])] == 0).all()
    assert (gradient != 0).any()


def test_impossible_labels_have_posterior_exactly_zero_along_a_chain(backend):
    potentials = random_potentials(1, 60, 7, 3, seed=44)
    forbidden = np.random.default_rng(45).random((1, 60, 3)) < 0.3
    forbidden[..., 0] = False
    potentials.emissions[forbidden] = -np.inf
    terms = tensors(potentials)
    assert (backend.posteriors(**terms).position[torch.from_numpy(forbidden)] == 0).all()
    assert_close(backend.posteriors(**terms).position.sum(-1), torch.ones(1, 60), FLOAT64_POSTERIOR)


def test_where_nothing_is_allowed_every_gradient_is_zero(backend):
    for forbid in ("emissions", "transition", "duration", "start", "end", "begin", "finish"):
        potentials = random_potentials(1, 4, 3, 2, seed=46)
        getattr(potentials, forbid)[:] = -np.inf
        if forbid == "transition":  # one segment would need none
            potentials.duration[:] = np.where(np.arange(3)[:, None] < 2, potentials.duration, -np.inf)
        terms = leaves(potentials)
        assert backend.log_partition(**terms).tolist() == [-math.inf], forbid
        for name, gradient in gradients(backend.log_partition, terms).items():
            assert (gradient == 0).all(), f"{name} where all of {forbid} is -inf"
        assert backend.entropy(**terms).tolist() == [0.0]


def test_a_sequence_with_nothing_allowed_leaves_its_neighbours_alone(backend):
    potentials = case("nothing_allowed")
    alone = gradients(backend.log_partition, leaves(_sequence(potentials, 0)))
    together = gradients(backend.log_partition, leaves(potentials))
    assert_close(together["emissions"][0], alone["emissions"][0], FLOAT64_POSTERIOR)
    assert_close(together["duration"], alone["duration"], FLOAT64_POSTERIOR)
    assert (together["emissions"][1:] == 0).all()


def _sequence(potentials, b):
    per_sequence = ("emissions", "begin", "finish", "lengths")
    return Potentials(**{n: t[b : b + 1] if n in per_sequence else t for n, t in potentials.items()})


@pytest.mark.parametrize(
    "name", ["nothing_allowed", "one_duration_allowed", "forbidden_emissions", "forbidden_start", "ties"]
)
def test_second_derivatives_are_finite_whatever_is_forbidden(backend, name):
    terms = leaves(case(name))
    wanted = [terms[n] for n in differentiable(terms)]
    first = grad(backend.log_partition(**terms).sum(), wanted, create_graph=True)
    # weights that differ, for the sum of each term's counts is constant or nearly so
    total = sum((g * torch.arange(g.numel()).reshape(g.shape).sin()).sum() for g in first)
    for n, second in zip(differentiable(terms), grad(total, wanted), strict=True):
        assert torch.isfinite(second).all(), n
        assert (second[torch.isneginf(terms[n])] == 0).all(), n
    (entropy_slope,) = grad(backend.entropy(**terms).sum(), wanted[:1])
    assert torch.isfinite(entropy_slope).all()


@pytest.mark.parametrize(("batch", "time"), [(2, 0), (0, 3), (0, 0)])
def test_gradients_of_empty_problems_are_zero_and_of_the_right_shape(backend, batch, time):
    terms = leaves(random_potentials(batch, time, 3, 2))
    for name, gradient in gradients(backend.log_partition, terms).items():
        assert gradient.shape == terms[name].shape
        assert (gradient == 0).all()


def test_gradients_past_the_lengths_are_zero_whatever_stands_there(backend):
    terms = leaves(case("poisoned_padding"))
    past = torch.arange(5) >= terms["lengths"][:, None]
    found = gradients(backend.log_partition, terms)
    for name in ("emissions", "begin", "finish"):
        assert (found[name][past] == 0).all()
        assert torch.isfinite(found[name]).all()


def test_a_tensor_that_serves_as_several_terms_gets_the_sum_of_their_gradients(backend):
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    square = torch.randn(3, 3, generator=generator, dtype=torch.float64)

    def log_partition(x, y):
        return backend.log_partition(x, y, y, begin=x, finish=x, start=y[0], end=y[1])

    assert gradcheck(log_partition, (shared.requires_grad_(), square.requires_grad_()))


def test_the_operator_itself_is_differentiable_twice():
    terms = leaves(FULL)
    total = torch.ops.semicrf.log_partition(
        *(terms.get(name) for name in Potentials.__dataclass_fields__)
    ).sum()
    expected = eager.log_partition(**terms).sum()
    found, wanted = (
        grad(grad(value, terms["emissions"], create_graph=True)[0].sin().sum(), terms["transition"])[0]
        for value in (total, expected)
    )
    assert_close(found, wanted, FLOAT64_POSTERIOR)


def test_a_third_derivative_names_the_backend_that_has_it():
    terms = leaves(FULL)
    (first,) = grad(compiled.entropy(**terms).sum(), terms["emissions"], create_graph=True)
    with pytest.raises(RuntimeError, match=THIRD):
        first.sin().sum().backward()


def test_gradients_twice_by_what_is_no_term_are_exact(backend):
    terms, weights = leaves(FULL), torch.ones(2, dtype=torch.float64, requires_grad=True)
    (first,) = grad(backend.log_partition(**terms), terms["emissions"], weights, create_graph=True)
    (found,) = grad(first.sum(), weights)
    assert_close(found, terms["lengths"].double(), FLOAT64_POSTERIOR)


REVERSE_MODE = "use torch.autograd.grad or backward"
TERMS = tensors(FULL)


def total_by_emissions(emissions, backend=compiled):
    return backend.log_partition(**{**TERMS, "emissions": emissions}).sum()


# PyTorch's own rules for forward mode still use what PyTorch deprecates
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@forward_mode
@pytest.mark.parametrize("name", ["log_partition", "posteriors", "entropy"])
def test_forward_mode_is_refused_and_not_answered_with_zeros(name):
    with dual_level():
        emissions = make_dual(TERMS["emissions"], torch.ones_like(TERMS["emissions"]))
        with pytest.raises(NotImplementedError, match=f"emissions carries.*{REVERSE_MODE}"):
            getattr(compiled, name)(**{**TERMS, "emissions": emissions})


@forward_mode
@pytest.mark.parametrize("transform", [torch.func.jacfwd, torch.func.grad])
def test_transforms_of_torch_func_are_refused_with_the_remedy(transform):
    with pytest.raises((NotImplementedError, RuntimeError), match=REVERSE_MODE):
        transform(total_by_emissions)(TERMS["emissions"])


@forward_mode
def test_transforms_of_torch_func_reach_into_the_oracle():
    expected = compiled.posteriors(**TERMS).position
    for transform in (torch.func.jacfwd, torch.func.grad):
        assert_close(transform(total_by_emissions)(TERMS["emissions"], eager), expected, FLOAT64_POSTERIOR)


@forward_mode
def test_transforms_of_torch_func_that_ask_for_no_derivative_of_a_model_are_answered():
    """Though one of its terms learns."""
    emissions, others = TERMS["emissions"], {n: t for n, t in TERMS.items() if n != "emissions"}
    learning = {**others, "transition": TERMS["transition"].clone().requires_grad_()}
    shifts = torch.tensor([0.0, 0.25, -2.0], dtype=torch.float64)
    found = torch.vmap(lambda shift: compiled.log_partition(emissions + shift, **learning))(shifts)
    expected = torch.stack([compiled.log_partition(emissions + shift, **others) for shift in shifts])
    assert torch.equal(found.detach(), expected)
    total = compiled.log_partition(emissions, **learning).detach()
    scaled = torch.func.grad(lambda w: (w * compiled.log_partition(emissions, **learning).detach()).sum())
    assert torch.equal(scaled(torch.ones_like(total)), total)


@forward_mode
def test_a_traced_gradient_is_that_of_whatever_it_is_given():
    def gradient(emissions):
        leaf = emissions.detach().requires_grad_()
        return grad(total_by_emissions(leaf), leaf)[0]

    traced = make_fx(gradient)(TERMS["emissions"])
    other = TERMS["emissions"].flip(2)
    assert torch.equal(traced(other), gradient(other))


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "lengths"])
def test_a_term_that_is_changed_before_the_way_back_is_an_error(name):
    terms = {n: t.clone() for n, t in TERMS.items()}
    leaf = terms["emissions"].requires_grad_()
    terms["emissions"] = leaf * 1.0
    total = compiled.log_partition(**terms).sum()
    with torch.no_grad():
        terms[name].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


@pytest.mark.parametrize("time", [10, 5000])
def test_gradients_of_every_sequence_come_in_one_batch(time):
    emissions = torch.randn(4, time, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    totals = compiled.log_partition(emissions, torch.zeros(8, 8), torch.zeros(2, 8))
    each = torch.eye(4, dtype=torch.float64)
    (batched,) = grad(totals, emissions, each, is_grads_batched=True, retain_graph=True)
    for b in range(4):
        (alone,) = grad(totals[b], emissions, retain_graph=True)
        assert torch.equal(batched[b], alone)


@pytest.mark.parametrize("time", [10, 5000])
def test_a_gradient_may_be_a_negated_view(time):
    emissions = torch.randn(4, time, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    totals = compiled.log_partition(emissions, torch.zeros(8, 8), torch.zeros(2, 8))
    ones = torch.ones(4, dtype=torch.float64)
    (negative,) = grad(totals, emissions, torch.complex(ones, ones).conj().imag, retain_graph=True)
    (positive,) = grad(totals, emissions, ones)
    assert torch.equal(negative, -positive)
