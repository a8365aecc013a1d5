"""The operators' contracts, with enumeration in the place of a backend.

A dispatch mode answers every call of `semicrf::*` from the list of all segmentations, whatever kernels
are registered. So schemas, shape functions and gradients are tested with no backend at all.
"""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from semicrf_spec import LOG, SHAPES, Potentials, enumerate_batch
from semicrf_spec.operators import (
    NO_LABEL,
    SCHEMAS,
    Posteriors,
    Segmentation,
    entropy,
    log_partition,
    posteriors,
    sample,
    score_of,
    statistics_dtype,
    top_k,
    viterbi,
)
from semicrf_spec.operators.contracts import statistics_shapes
from semicrf_spec.operators.derivatives import gradients
from semicrf_spec.potentials import DTYPES
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close, case, case_names
from semicrf_spec.testing.enumerated import STATISTICS, answer, as_numpy
from semicrf_spec.testing.strategies import small_potentials

FUNCTIONS = (log_partition, posteriors, viterbi, entropy, sample)
OPERATOR_OPTIONS = {"sample": ["uniforms"], "top_k": ["k"], "covariances": [*STATISTICS, "boundaries"]}
SCORES = tuple(name for name in SHAPES if name not in DTYPES)
every_case = pytest.mark.parametrize("name", case_names())


class Enumerated(TorchDispatchMode):
    """Answers the operators by enumeration, and notes which were called."""

    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.name().removeprefix("semicrf::")
        if name not in SCHEMAS:
            return operator(*args, **kwargs or {})
        self.called.append(name)
        found = answer(name, *args)
        return found[0] if name == "log_partition" else found


@cache
def enumerated(name):
    return enumerate_batch(case(name))


def tracked(potentials):
    """Tensors of the same values whose gradients are wanted."""
    return potentials.map(lambda x: torch.tensor(x, requires_grad=x.dtype.kind == "f"))


def terms_of(potentials):
    return dict(potentials.items())


def is_batched(name, x):
    """Whether the first axis of the term is B."""
    return any(shape.startswith("B") and len(shape.split()) == x.ndim for shape in SHAPES[name])


def summed_by_autograd(potentials):
    """The log partitions as one sum over all scores, for autograd to differentiate: no formula of ours."""
    found = []
    for b, sequence in enumerate(enumerate_batch(as_numpy(potentials))):
        one = Potentials(
            **{name: x[b : b + 1] if is_batched(name, x) else x for name, x in potentials.items()}
        )
        scores = []
        for segments in sequence.all:
            alone = Segmentation.from_list([segments], num_positions=potentials.shape[1])
            scores.append(score_of(alone, one)[0])
        found.append(LOG.sum(torch.stack(scores), 0))
    return torch.stack(found)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_registered_with_the_terms_in_the_order_of_the_signature(name):
    schema = getattr(torch.ops.semicrf, name).default._schema
    names = [argument.name for argument in schema.arguments]
    options = {"posteriors": ["boundaries"], **OPERATOR_OPTIONS}
    assert names == [*SHAPES, *options.get(name, [])]
    optional = [argument.name for argument in schema.arguments if str(argument.type).startswith("Optional")]
    values = list(STATISTICS) if name == "covariances" else []
    assert optional == ["start", "end", "begin", "finish", "lengths", "cuts", *values]
    assert not any(argument.alias_info for argument in (*schema.arguments, *schema.returns))
    returns = {"log_partition": 1, "posteriors": 8, "covariances": 7, "viterbi": 3, "top_k": 3, "sample": 2}
    assert len(schema.returns) == returns[name]


def answers_of(name, potentials):
    new_full = potentials.emissions.new_full
    uniforms = new_full((2, *potentials.shape[:2], 2), 0.3, dtype=torch.float64)
    shapes = statistics_shapes(potentials.terms(), True)
    values = [new_full(shape, 0.7, dtype=torch.float64) for shape in shapes]
    options = {"sample": [uniforms], "top_k": [3], "covariances": [values[0], None, *values[2:], True]}
    answer = getattr(torch.ops.semicrf, name)(*potentials.terms(), *options.get(name, []))
    return answer if isinstance(answer, (tuple, list)) else (answer,)


@every_case
@pytest.mark.parametrize("operator", SCHEMAS)
def test_fake_tensors_have_the_shapes_and_dtypes_that_enumeration_answers_with(name, operator):
    potentials = case(name).map(torch.as_tensor)
    with Enumerated():
        real = answers_of(operator, potentials)
    with FakeTensorMode() as fake:
        faked = answers_of(operator, potentials.map(fake.from_tensor))
    assert [(x.shape, x.dtype, x.device) for x in faked] == [(x.shape, x.dtype, x.device) for x in real]


@settings(max_examples=30)
@given(small_potentials())
def test_fake_tensors_of_whatever_terms_have_the_shapes_of_real_ones(potentials):
    tensors = potentials.map(torch.as_tensor)
    for operator in SCHEMAS:
        with Enumerated():
            real = answers_of(operator, tensors)
        with FakeTensorMode() as fake:
            faked = answers_of(operator, tensors.map(fake.from_tensor))
        assert [(x.shape, x.dtype) for x in faked] == [(x.shape, x.dtype) for x in real]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_away_from_the_cpu_posteriors_are_float32_unless_the_emissions_are_wider(dtype):
    potentials = case("every_term").map(lambda x: torch.as_tensor(x).to(dtype).to("meta"))
    log_z, *statistics = answers_of("posteriors", potentials)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert log_z.dtype == torch.float64
    assert {x.dtype for x in statistics} == {wide}
    assert statistics_dtype(potentials.emissions) == wide
    assert statistics_dtype(torch.zeros(1, dtype=dtype)) == torch.float64


@every_case
def test_the_functions_answer_what_the_operators_do(name):
    potentials = case(name).map(torch.as_tensor)
    batch = enumerated(name)
    with Enumerated():
        log_z, found, best, h, drawn = (function(**terms_of(potentials)) for function in FUNCTIONS)
        ranked = top_k(**terms_of(potentials), k=3)
    expected = np.array([e.log_partition for e in batch])
    assert_close(log_z, expected, FLOAT64_RELATIVE)
    assert isinstance(found, Posteriors)
    for b, sequence in enumerate(batch):
        for term, counts in found._asdict().items():
            want = sequence.posteriors[term]
            want = want.sum(0) if term == "transitions" and potentials.transition.ndim == 2 else want
            assert_close(counts[b], want, FLOAT64_POSTERIOR, term)
    assert isinstance(best, Segmentation)
    assert best.lengths.tolist() == [e.length for e in batch]
    assert best.to_list() == [list(e.top_k(1)[0][1]) if e.count else [] for e in batch]
    assert best.scores.tolist() == [e.top_k(1)[0][0] if e.count else -np.inf for e in batch]
    lists = [y.to_list() for y in ranked.unbind()]
    for b, e in enumerate(batch):
        given = zip(ranked.scores[:, b].tolist(), (tuple(y[b]) for y in lists), strict=True)
        assert [pair for pair in given if pair[0] > -np.inf] == e.top_k(3)
    assert all(tuple(y) in e.all if e.count else not y for y, e in zip(drawn.to_list(), batch, strict=True))
    scale = np.where(np.isfinite(expected), expected, 1.0)
    assert_close(h, np.array([e.entropy for e in batch]), FLOAT64_RELATIVE, "entropy", scale=scale)


@pytest.mark.parametrize("name", [name for name in case_names() if name != "float16"])  # it would round twice
def test_the_gradient_of_every_term_is_that_of_the_sum_over_all_segmentations(name):
    ours, summed = tracked(case(name, 2)), tracked(case(name, 2))
    weights = torch.linspace(0.5, 2.0, ours.shape[0], dtype=torch.float64)
    with Enumerated():
        (weights * log_partition(**terms_of(ours))).sum().backward()
    total = summed_by_autograd(summed)
    (weights * total)[total > -torch.inf].sum().backward()
    for term, x in ours.items():
        if term in SCORES:
            expected = getattr(summed, term).grad
            expected = torch.zeros_like(x) if expected is None else expected
            assert_close(x.grad, expected, FLOAT64_POSTERIOR, f"gradient of {term}")


def test_gradients_come_in_the_dtypes_of_their_terms():
    dtypes = dict(
        zip(SCORES, (torch.float16, torch.float32, torch.float64, torch.bfloat16) * 2, strict=False)
    )
    terms = {name: torch.as_tensor(x).to(dtypes[name]) for name, x in case("every_term").items()}
    for x in terms.values():
        x.requires_grad_()
    with Enumerated():
        log_partition(**terms).sum().backward()
        _, *found = torch.ops.semicrf.posteriors(*terms.values(), None, None)
    position, begins, *_ = found
    by_formula = gradients(
        torch.ones(2, dtype=torch.float64), found, (*terms.values(), None, None), [True] * len(SHAPES)
    )
    assert [x.dtype for x in by_formula[:-2]] == list(dtypes.values())
    assert {name: x.grad.dtype for name, x in terms.items()} == dtypes
    assert torch.equal(terms["emissions"].grad, position.to(torch.float16))
    assert torch.equal(terms["begin"].grad, begins.to(dtypes["begin"]))


@every_case
def test_what_lies_past_the_lengths_and_what_is_not_allowed_gets_no_gradient(name):
    potentials = tracked(case(name))
    with Enumerated():
        log_partition(**terms_of(potentials)).sum().backward()
    for term, x in potentials.items():
        if term not in SCORES:
            continue
        assert not x.grad.isnan().any(), term
        assert not x.grad[torch.isneginf(x)].any(), term
        for b, sequence in enumerate(enumerated(name)):
            if "T" in SHAPES[term][-1] and x.ndim > 2:
                assert not x.grad[b, sequence.length if sequence.count else 0 :].any(), term


def test_only_the_terms_that_want_gradients_get_them():
    potentials = case("every_term").map(torch.as_tensor)
    terms = terms_of(potentials) | {"finish": potentials.finish.clone().requires_grad_()}
    with Enumerated():
        log_partition(**terms).sum().backward()
    assert terms["finish"].grad is not None
    assert all(x.grad is None for name, x in terms.items() if name != "finish")


def test_one_scan_serves_a_value_with_its_gradient_and_the_short_one_a_value_alone():
    with_gradients, without = tracked(case("every_term")), case("every_term").map(torch.as_tensor)
    with Enumerated() as mode:
        log_partition(**terms_of(without))
        with torch.no_grad():
            log_partition(**terms_of(with_gradients))
        assert mode.called == ["log_partition", "log_partition"]
        mode.called.clear()
        log_partition(**terms_of(with_gradients)).sum().backward()
        assert mode.called == ["posteriors"]


def test_the_operator_called_by_itself_has_the_same_gradient():
    by_function, by_operator = tracked(case("ragged")), tracked(case("ragged"))
    with Enumerated() as mode:
        log_partition(**terms_of(by_function)).sum().backward()
        mode.called.clear()
        torch.ops.semicrf.log_partition(*by_operator.terms()).sum().backward()
        assert mode.called == ["log_partition", "posteriors"]
    for (_, x), (_, y) in zip(by_function.items(), by_operator.items(), strict=True):
        assert x.grad is y.grad is None or torch.equal(x.grad, y.grad)


def test_a_term_used_twice_gets_both_gradients():
    potentials = case("every_term")
    shared, start, end = (torch.tensor(potentials.start, requires_grad=True) for _ in range(3))
    terms = terms_of(potentials.map(torch.as_tensor))
    with Enumerated():
        log_partition(**terms | {"start": shared, "end": shared}).sum().backward()
        log_partition(**terms | {"start": start, "end": end}).sum().backward()
    assert_close(shared.grad, start.grad + end.grad, FLOAT64_RELATIVE)


@pytest.mark.parametrize("name", [name for name in case_names() if name != "float16"])
def test_second_derivatives_are_those_of_the_sum_over_all_segmentations(name):
    """Of each sequence that is not empty and allows something: those of the others are no sums."""
    ours, summed = tracked(case(name, 2)), tracked(case(name, 2))
    with Enumerated():
        total = log_partition(**terms_of(ours))
        found = slopes_of_slopes(total.sum(), ours)
    total = summed_by_autograd(summed)
    expected = slopes_of_slopes(total[total > -torch.inf].sum(), summed)
    for term in found:
        assert_close(found[term], expected[term], FLOAT64_POSTERIOR, term)


def slopes_of_slopes(total, potentials):
    """Of a sum over the first derivatives in which no two weigh the same."""
    wanted = {name: x for name, x in potentials.items() if x.requires_grad}
    if not total.requires_grad:  # every sequence is empty
        return {name: torch.zeros_like(x) for name, x in wanted.items()}
    inputs = list(wanted.values())
    first = torch.autograd.grad(total, inputs, create_graph=True, materialize_grads=True)
    weighted = sum((g * torch.arange(g.numel()).reshape(g.shape).sin()).sum() for g in first)
    if not weighted.requires_grad:
        return {name: torch.zeros_like(x) for name, x in wanted.items()}
    second = torch.autograd.grad(weighted, inputs, materialize_grads=True)
    return dict(zip(wanted, second, strict=True))


def test_a_third_derivative_raises_with_the_remedy_instead_of_being_wrong():
    potentials = tracked(case("every_term"))
    with Enumerated():
        (slope,) = torch.autograd.grad(
            entropy(**terms_of(potentials)).sum(), potentials.emissions, create_graph=True
        )
        with pytest.raises(RuntimeError, match=r"a third derivative was asked for: use backend='eager'"):
            slope.sin().sum().backward()


def test_the_best_segmentation_is_not_differentiable():
    potentials = tracked(case("every_term"))
    with Enumerated():
        found = viterbi(**terms_of(potentials))
    assert not found.scores.requires_grad
    assert found.labels[0, 0] != NO_LABEL


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_checks_shapes_and_types_before_the_operator_sees_them(function):
    good = case("every_term").map(torch.as_tensor)
    with Enumerated() as mode:
        with pytest.raises(
            ValueError, match=r"^start has shape \(2,\); expected \(C\) with B = 2, T = 5, C = 3, K = 3"
        ):
            function(**terms_of(good) | {"start": torch.zeros(2)})
        with pytest.raises(TypeError, match=r"^lengths has dtype torch.float32; expected an integer dtype"):
            function(**terms_of(good) | {"lengths": torch.ones(2)})
        with pytest.raises(
            TypeError, match=r"^emissions is a list; expected an array or tensor of shape \(B, T, C\)"
        ):
            function([[0.0]], good.transition, good.duration)
        with pytest.raises(TypeError, match=r"^transition is a NoneType; expected an array"):
            function(good.emissions, None, good.duration)
        with pytest.raises(TypeError, match=r"^emissions is a ndarray; expected a torch.Tensor"):
            function(**terms_of(case("every_term")))
        assert not mode.called
