"""The exported functions: what they say until the kernels come."""

import inspect

import numpy as np
import pytest
import torch

import semicrf_triton
from semicrf_spec import operators
from semicrf_spec import score as defined_score
from semicrf_spec.operators import SCHEMAS, Segmentation
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, random_potentials

FUNCTIONS = ("log_partition", "posteriors", "viterbi", "entropy")
POTENTIALS = random_potentials(2, 4, 3, 2, lengths=[4, 2])
REMEDIES = r"no GPU kernels in this version: .*to the CPU.*backend='eager'"


@pytest.fixture
def terms():
    return dict(POTENTIALS.map(torch.from_numpy).items())


def test_it_exports_what_every_backend_exports():
    assert semicrf_triton.__all__ == ["__version__", *sorted((*FUNCTIONS, "score"))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_that_there_are_no_kernels_and_what_serves_instead(terms, name):
    with pytest.raises(RuntimeError, match=REMEDIES):
        getattr(semicrf_triton, name)(**terms)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_so_of_the_required_terms_alone_and_where_gradients_are_asked_for(terms, name):
    required = [terms[n].requires_grad_() for n in ("emissions", "transition", "duration")]
    with pytest.raises(RuntimeError, match=REMEDIES):
        getattr(semicrf_triton, name)(*required)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_signature_of_every_backend(name):
    shared = inspect.signature(operators.log_partition).parameters
    assert list(inspect.signature(getattr(semicrf_triton, name)).parameters) == list(shared)
    assert getattr(semicrf_triton, name).__doc__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_shapes_are_named_first(terms, name):
    with pytest.raises(ValueError, match=r"start has shape \(3,\); expected \(C\)"):
        getattr(semicrf_triton, name)(**{**terms, "start": torch.zeros(3, dtype=torch.float64)})


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_operators_of_gpu_tensors_end_up_here(name):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"semicrf::{name}", "CUDA")


def test_no_operator_of_cpu_tensors_ends_up_here():
    for name in SCHEMAS:
        table = torch._C._dispatch_dump(f"semicrf::{name}")
        assert not any("semicrf_triton" in line for line in table.splitlines() if line.startswith("CPU"))


def test_scores_need_no_kernel(terms):
    segments = [[(0, 1, 1), (1, 4, 0)], [(0, 2, 1)]]
    given = Segmentation.from_list(segments, num_positions=4)
    expected = defined_score(POTENTIALS, segments)
    assert_close(semicrf_triton.score(given, **terms), expected, FLOAT64_RELATIVE)
    assert np.isfinite(expected).all()
