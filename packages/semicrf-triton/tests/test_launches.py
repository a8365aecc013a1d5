"""Launches as Triton takes them, on a GPU that is not there: everything but the run itself."""

import importlib.util
import os
from math import prod

import pytest
import torch

from semicrf_spec.testing import random_potentials, with_segment_scores

if importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("needs Triton, and its compiler", allow_module_level=True)

from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from semicrf_triton import operators
from semicrf_triton.kernels.covariances import (
    boundary_covariance_kernel,
    drift_kernel,
    duration_covariance_kernel,
    transition_covariance_kernel,
)
from semicrf_triton.kernels.fixed import fixed_kernel
from semicrf_triton.kernels.means import means_kernel
from semicrf_triton.kernels.posteriors import boundary_kernel, cover_kernel, duration_kernel
from semicrf_triton.kernels.ranking import rank_kernel, walk_kernel
from semicrf_triton.kernels.sample import sample_kernel
from semicrf_triton.kernels.scan import scan_kernel, wide_kernel
from semicrf_triton.kernels.tables import tables_kernel
from semicrf_triton.kernels.terms import exp_kernel
from semicrf_triton.kernels.viterbi import traceback_kernel, viterbi_kernel

KERNELS = (
    exp_kernel, tables_kernel, scan_kernel, wide_kernel, boundary_kernel, cover_kernel, duration_kernel,
    fixed_kernel, viterbi_kernel, traceback_kernel, sample_kernel, rank_kernel, walk_kernel,
    means_kernel, boundary_covariance_kernel, drift_kernel, transition_covariance_kernel,
    duration_covariance_kernel,
)  # fmt: skip
DEVICE = 0


class Absent:
    """What Triton asks of a driver before it runs anything."""

    def get_current_device(self):
        return DEVICE

    def get_current_stream(self, device=None):
        return 0

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


@pytest.fixture
def compile_only(monkeypatch):
    """Launches that compile, as for an H100, and do not run."""
    launch = JITFunction.run

    def warm_up(self, *arguments, warmup, **options):
        return launch(self, *arguments, warmup=True, **options)

    monkeypatch.setattr(JITFunction, "run", warm_up)
    monkeypatch.setattr(driver, "_active", Absent())  # reset_active() would look for a GPU


def launch_all(size, dtype=torch.float32, *, by_segment=False):
    """Every operator on random terms."""
    batch, time, *_ = size
    given = random_potentials(*size, lengths=[time] * batch)
    given = (with_segment_scores(given, 1) if by_segment else given).map(torch.from_numpy)
    terms = given.map(lambda term: term.to(dtype) if term.is_floating_point() else term).terms()
    operators.log_partition(*terms)
    statistics = operators.posteriors(*terms, True)[1:]
    operators.covariances(*terms, *statistics, False)
    operators.viterbi(*terms)
    operators.top_k(*terms, 5 + batch % 4)  # lists of 5 to 8 are held alike
    operators.sample(*terms, torch.zeros((batch + 1, *terms[0].shape[:2], 2), dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("by_segment", [False, True])
def test_nothing_is_compiled_again_when_lengths_durations_or_batches_change(compile_only, by_segment):
    launch_all((2, 64, 16, 6), by_segment=by_segment)
    launch_all((1, 260, 257, 6), by_segment=by_segment)  # longer than a span
    before = [set(kernel.device_caches[DEVICE][0]) for kernel in KERNELS]
    assert all(before)
    for size in ((2, 65, 16, 6), (3, 48, 1, 6), (1, 1, 2, 6), (5, 529, 300, 6), (2, 63, 17, 6)):
        launch_all(size, by_segment=by_segment)
    assert [set(kernel.device_caches[DEVICE][0]) for kernel in KERNELS] == before


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_is_compiled(compile_only, dtype):
    before = set(scan_kernel.device_caches[DEVICE][0])
    launch_all((1, 4, 2, 3), dtype)
    assert len(set(scan_kernel.device_caches[DEVICE][0]) - before) == 1


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_nothing_is_compiled_again_for_labels_divisible_by_16_or_for_unaligned_views(compile_only):
    def views(offset):
        shapes = ((2, 7, 9), (9, 9), (3, 9))
        return (*(torch.zeros(1000)[offset : offset + prod(s)].view(s) for s in shapes), *(None,) * 6)

    launch_all((1, 4, 2, 9))
    operators.log_partition(*views(0))
    before = [set(kernel.device_caches[DEVICE][0]) for kernel in KERNELS]
    launch_all((1, 4, 2, 16))
    operators.log_partition(*views(1))
    assert [set(kernel.device_caches[DEVICE][0]) for kernel in KERNELS] == before


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_more_labels_are_compiled_anew(compile_only):
    launch_all((1, 4, 2, 3))
    before = set(scan_kernel.device_caches[DEVICE][0])
    launch_all((1, 4, 2, 17))
    assert len(set(scan_kernel.device_caches[DEVICE][0]) - before) == 1
