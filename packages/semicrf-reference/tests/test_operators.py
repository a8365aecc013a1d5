"""The kernels as PyTorch sees them: operators with schemas, shapes and gradients that hold."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from semicrf_reference import compiled
from semicrf_spec import Potentials
from semicrf_spec.operators import SCHEMAS
from semicrf_spec.operators.contracts import statistics_shapes
from semicrf_spec.testing import case, random_potentials

# PyTorch's own checker still uses what PyTorch deprecates
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

NAMES = Potentials.__dataclass_fields__
CASES = ("every_term", "required_terms_only", "ragged", "position_transition", "sequence_duration", "float16")
CASES += ("length_0", "nothing_allowed", "poisoned_padding")


def arguments(potentials, *, requires_grad=False):
    terms = dict(potentials.map(torch.from_numpy).items())
    if requires_grad:
        terms = {n: t.requires_grad_() if t.is_floating_point() else t for n, t in terms.items()}
    return tuple(terms.get(name) for name in NAMES)


def options(name, potentials):
    """What an operator takes beside the terms."""
    uniforms = torch.full((2, *potentials.shape[:2], 2), 0.3, dtype=torch.float64)
    values = [torch.ones(shape) for shape in statistics_shapes(arguments(potentials), True)]
    return {"sample": [uniforms], "top_k": [3], "covariances": [*values, True]}.get(name, [])


def operator(name):
    return getattr(torch.ops.semicrf, name).default


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("given", CASES)
def test_operators_keep_the_rules_of_custom_operators(name, given):
    opcheck(operator(name), (*arguments(case(given)), *options(name, case(given))))


@pytest.mark.parametrize("name", ["log_partition", "viterbi"])
@pytest.mark.filterwarnings("ignore:semicrf..viterbi. an autograd kernel was not registered:UserWarning")
def test_operators_keep_the_rules_where_gradients_are_asked_for(name):
    opcheck(operator(name), arguments(case("every_term"), requires_grad=True))


def test_posteriors_keep_the_rules_where_gradients_are_asked_for():
    opcheck(operator("posteriors"), arguments(case("every_term"), requires_grad=True))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_operator_has_a_kernel_for_the_cpu(name):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"semicrf::{name}", "CPU")


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("given", CASES)
def test_shapes_and_dtypes_are_as_declared(name, given):
    terms = (*arguments(case(given)), *options(name, case(given)))
    with FakeTensorMode() as mode:
        declared = operator(name)(*(mode.from_tensor(t) if isinstance(t, torch.Tensor) else t for t in terms))
    found = operator(name)(*terms)
    if name == "log_partition":
        declared, found = [declared], [found]
    for expected, actual in zip(declared, found, strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        assert actual.is_contiguous() == expected.is_contiguous()


def test_functions_and_operators_give_the_same_bits():
    potentials = random_potentials(2, 9, 4, 3, seed=110, lengths=[9, 5])
    given, terms = arguments(potentials), dict(potentials.map(torch.from_numpy).items())
    assert torch.equal(torch.ops.semicrf.log_partition(*given), compiled.log_partition(**terms))
    total, *statistics, first, last = torch.ops.semicrf.posteriors(*given)
    assert torch.equal(total, compiled.log_partition(**terms))
    for a, b in zip(statistics, compiled.posteriors(**terms), strict=True):
        assert torch.equal(a, b)
    _, begins, ends, *_ = statistics
    assert torch.equal(first, begins[:, 0])
    assert torch.equal(last, ends[[0, 1], [8, 4]])


def test_without_boundaries_everything_else_has_the_same_bits():
    given = arguments(random_potentials(2, 9, 4, 3, seed=110, lengths=[9, 5]))
    everything, less = (torch.ops.semicrf.posteriors(*given, boundaries) for boundaries in (True, False))
    for i, (a, b) in enumerate(zip(everything, less, strict=True)):
        if i in (2, 3):
            assert b.shape == (2, 0, 3)
        else:
            assert torch.equal(a, b)


def test_viterbi_and_its_operator_give_the_same():
    potentials = random_potentials(2, 9, 4, 3, seed=110, lengths=[9, 5])
    terms = dict(potentials.map(torch.from_numpy).items())
    scores, labels, durations = torch.ops.semicrf.viterbi(*arguments(potentials))
    best = compiled.viterbi(**terms)
    assert torch.equal(scores, best.scores)
    assert torch.equal(labels, best.labels)
    assert torch.equal(durations, best.durations)
