"""What an import brings along, each in a fresh process."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import semicrf_spec
import semicrf_spec.operators
import semicrf_spec.testing

HEAVY = {
    "torch",
    "hypothesis",
    "scipy",
    "numba",
    "triton",
    "semicrf_reference",
    "semicrf_triton",
    "semicrf_nn",
}
REPORT = """
import json, sys
before = {name.partition(".")[0] for name in sys.modules}
import %s
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(after - before - set(sys.stdlib_module_names))))
"""


def imported_by(modules):
    """Top-level packages outside the standard library that a fresh process imports."""
    code = REPORT % modules
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def test_the_definition_and_its_cases_import_numpy_and_array_api_compat_alone():
    found = imported_by("semicrf_spec, semicrf_spec.cost, semicrf_spec.testing")
    assert found == {"semicrf_spec", "numpy", "array_api_compat"}


def test_the_operators_import_torch_and_no_backend():
    found = imported_by("semicrf_spec.operators")
    assert "torch" in found
    assert not found & (HEAVY - {"torch"})


def test_the_strategies_import_hypothesis_and_no_torch():
    found = imported_by("semicrf_spec.testing.strategies")
    assert "hypothesis" in found
    assert not found & (HEAVY - {"hypothesis"})


def test_the_definition_works_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from semicrf_spec import enumerate_batch\n"
        "from semicrf_spec.testing import case\n"
        "print([e.log_partition for e in enumerate_batch(case('ragged'))][0])"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "0.0", run.stderr


@pytest.mark.parametrize(
    "module", [semicrf_spec, semicrf_spec.operators, semicrf_spec.testing], ids=lambda module: module.__name__
)
def test_every_public_name_is_there_and_listed_once(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))


def test_the_package_is_typed_and_has_a_version():
    spec = find_spec("semicrf_spec")
    assert (Path(spec.origin).parent / "py.typed").exists()
    assert len([int(part) for part in semicrf_spec.__version__.split(".")]) == 3
