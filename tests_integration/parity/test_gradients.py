"""The gradient of every term, on every named case, against finite differences."""

import pytest
import torch

from semicrf_reference import compiled, eager
from semicrf_spec import Potentials
from semicrf_spec.potentials import DTYPES
from semicrf_spec.testing import MAX_DURATIONS, case, case_names

pytestmark = pytest.mark.parity

NAMES = [name for name in case_names() if name != "length_0"]  # which has nothing to perturb


@pytest.mark.parametrize("backend", [eager, compiled], ids=["eager", "compiled"])
@pytest.mark.parametrize("max_duration", MAX_DURATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_every_term_passes_gradcheck(name, max_duration, backend):
    potentials = case(name, max_duration).as_float64().masked().map(torch.from_numpy)
    names = [term for term, _ in potentials.items() if term not in DTYPES]

    def log_partitions(*terms):
        given = Potentials(
            **dict(zip(names, terms, strict=True)), lengths=potentials.lengths, cuts=potentials.cuts
        )
        found = backend.log_partition(**dict(given.items()))
        return torch.where(found > -torch.inf, found, 0.0)  # a difference of -inf is no number

    terms = [getattr(potentials, term).requires_grad_() for term in names]
    assert torch.autograd.gradcheck(log_partitions, terms, fast_mode=True)
