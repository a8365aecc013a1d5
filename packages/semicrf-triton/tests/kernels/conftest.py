"""Tests of the kernels: `nox -s kernels`, interpreted on a CPU or on the GPU that is there."""

import importlib.util
import os

import pytest
import torch

RUNS = torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"

if not (RUNS and importlib.util.find_spec("triton")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def device():
    """Where the kernels run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def on_device(device):
    """Potentials as the kernels are given them, in float32."""

    def moved(potentials):
        tensors = potentials.map(torch.as_tensor)
        return tensors.map(lambda term: (term.float() if term.is_floating_point() else term).to(device))

    return moved


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Memory that nobody has written holds NaN, or the largest integer."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
