"""The one call signature: of functions, of backends, and what is said where it is not served."""

import inspect
import subprocess
import sys

import pytest
import torch

from semicrf_spec import SHAPES, operators
from semicrf_spec.operators import (
    SCHEMAS,
    cross_entropy,
    entropy,
    kl_divergence,
    log_partition,
    on_device,
    over_terms,
    posteriors,
    sample,
    top_k,
    viterbi,
)
from semicrf_spec.testing import case

FUNCTIONS = (log_partition, posteriors, viterbi, entropy, sample, top_k, cross_entropy, kl_divergence)
OPTIONS = {
    "sample": ["n", "temperature", "generator"],
    "top_k": ["k"],
    "cross_entropy": ["other"],
    "kl_divergence": ["other"],
}


def dict_of(potentials):
    return dict(potentials.items())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_has_the_one_call_signature(function):
    parameters = inspect.signature(function).parameters.values()
    assert [parameter.name for parameter in parameters] == [*SHAPES, *OPTIONS.get(function.__name__, [])]
    for parameter in parameters:
        required = parameter.name in ("emissions", "transition", "duration", "other", "k")
        assert (parameter.default is inspect.Parameter.empty) == required
        by_name = not required or parameter.name in ("other", "k")
        assert (parameter.kind is inspect.Parameter.KEYWORD_ONLY) == by_name
    assert function.__doc__
    assert function.__module__.startswith("semicrf_spec.operators.")


def test_a_function_over_potentials_keeps_its_name_and_documentation():
    def summed(potentials):
        """Sums."""
        return potentials.emissions.sum()

    called = over_terms(summed)
    good = case("every_term").map(torch.as_tensor)
    assert (called.__name__, called.__doc__, called.__module__) == (
        summed.__name__,
        "Sums.",
        summed.__module__,
    )
    assert called(**dict_of(good)) == good.emissions.sum() == called.of(good)
    assert called.of.__qualname__ == f"{called.__qualname__}.of"
    with pytest.raises(TypeError, match=r"^emissions is a ndarray; expected a torch.Tensor"):
        called.of(case("every_term"))


def test_a_backend_on_the_wrong_device_says_so_with_the_remedy():
    on_meta = on_device(over_terms(lambda p: p.shape), "meta", "triton", "move the tensors")
    good = case("every_term").map(torch.as_tensor)
    expected = r"^backend='triton' serves meta tensors, and emissions are on cpu: move the tensors"
    with pytest.raises(ValueError, match=expected):
        on_meta(**dict_of(good))
    with pytest.raises(ValueError, match=expected):
        on_meta.of(good)
    there = good.map(lambda x: x.to("meta"))
    assert on_meta(**dict_of(there)) == good.shape == on_meta.of(there)
    with pytest.raises(TypeError, match=r"^emissions is a list"):
        on_meta([[0.0]], good.transition, good.duration)
    with pytest.raises(TypeError, match=r"^emissions is a ndarray; expected a torch.Tensor"):
        on_meta(**dict_of(case("every_term")))


def test_a_missing_kernel_names_the_package_to_install():
    code = (
        "import torch; from semicrf_spec import operators\n"
        "terms = torch.zeros(1, 2, 1), torch.zeros(1, 1), torch.zeros(2, 1)\n"
        "for name in filter(operators.__all__.__contains__, operators.SCHEMAS):\n"
        "    try: getattr(operators, name)(*terms, **{'k': 2} if name == 'top_k' else {})\n"
        "    except RuntimeError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    remedy = "install and import semicrf-reference, which brings the CPU kernels"
    functions = [name for name in SCHEMAS if name in operators.__all__]
    expected = [f"semicrf::{name} has no kernel for cpu tensors: {remedy}" for name in functions]
    assert run.stdout.splitlines() == expected, run.stderr
