import pytest
import torch

from semicrf_reference import compiled, eager
from semicrf_reference.compiled import threads
from semicrf_spec.testing import MAX_DURATIONS, case, case_names

NAMED = [(name, max_duration) for name in case_names() for max_duration in MAX_DURATIONS]


@pytest.fixture(params=NAMED, ids=lambda given: f"{given[0]}-{given[1]}")
def named(request):
    """Every named case with every K it is built for."""
    return case(*request.param)


@pytest.fixture(params=[eager, compiled], ids=["eager", "compiled"])
def backend(request):
    """Both backends of this package."""
    return request.param


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """One thread unless the test asks for more, and then more however small the work."""
    monkeypatch.setattr(threads, "SMALL_WORK", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_threads(one_thread):
    """Two threads, for the kernels to share work out."""
    torch.set_num_threads(2)
