"""The exported functions, where there is no GPU."""

import inspect

import numpy as np
import pytest
import torch

import semicrf_triton
from semicrf_spec import operators
from semicrf_spec import score as defined_score
from semicrf_spec.operators import SCHEMAS, Segmentation
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, random_potentials

FUNCTIONS = (
    "log_partition", "posteriors", "viterbi", "top_k", "sample", "entropy", "cross_entropy", "kl_divergence",
)  # fmt: skip
POTENTIALS = random_potentials(2, 4, 3, 2, lengths=[4, 2])


@pytest.fixture
def terms():
    return dict(POTENTIALS.map(torch.from_numpy).items())


def test_it_exports_what_every_backend_exports():
    assert semicrf_triton.__all__ == ["__version__", *sorted((*FUNCTIONS, "score"))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tensors_that_are_not_on_a_gpu_are_refused_with_the_remedy(terms, name):
    with pytest.raises(ValueError, match=r"backend='triton' serves cuda tensors, .* on cpu: move them"):
        getattr(semicrf_triton, name)(**terms)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_signature_of_every_backend(name):
    shared = inspect.signature(getattr(operators, name)).parameters
    assert list(inspect.signature(getattr(semicrf_triton, name)).parameters) == list(shared)
    assert getattr(semicrf_triton, name).__doc__


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
