"""The arrows between the layers, read off the source: docs/layers.md draws them."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

PACKAGES = Path(__file__).parents[1] / "packages"

MAY_IMPORT = {
    "semicrf_spec": {"array_api_compat", "numpy"},
    "semicrf_spec/semirings/checkpoint.py": {"array_api_compat", "torch"},
    "semicrf_spec/operators": {"array_api_compat", "numpy", "torch"},
    "semicrf_spec/testing/enumerated.py": {"numpy", "torch"},
    "semicrf_spec/testing/strategies.py": {"array_api_compat", "hypothesis", "numpy"},
    "semicrf_reference": {"numpy", "semicrf_spec", "torch"},
    "semicrf_reference/scan": {"semicrf_spec", "torch"},
    "semicrf_reference/compiled": {"llvmlite", "numba", "numpy", "semicrf_spec", "torch"},
    "semicrf_triton": {"semicrf_spec", "torch", "triton"},
    "semicrf_nn": {"numpy", "semicrf_reference", "semicrf_spec", "semicrf_triton", "torch"},
    "semicrf_nn/plots.py": {"matplotlib", "torch"},
}
"""What a folder or file may import besides the standard library and its own package.

Of the entries that cover a file the longest counts.
"""

SEPARATE = {
    "semicrf_reference/eager": "semicrf_reference.compiled",
    "semicrf_reference/compiled": "semicrf_reference.eager",
}
"""Neighbours in the chain of trust: a mistake they shared would not show when they are compared."""


class Import(NamedTuple):
    """One module that a file imports, and where."""

    module: str
    line: int


def imports(file: Path, source: Path) -> Iterator[Import]:
    """Every import in a file: at any depth, for types only, relative, or by name at run time."""
    package = file.relative_to(source).parent.parts
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (Import(name.name, node.lineno) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = [*package[: len(package) + 1 - level]] if level else []
                origin = ".".join([*base, *([module] if module else [])])
                # `from package import name` may import the module `package.name`.
                yield from (Import(f"{origin}.{name.name}", node.lineno) for name in names)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield Import(module, node.lineno)


def violations(source: Path) -> list[str]:
    """Every import under a `src` folder that crosses the layers against the arrows."""
    return [
        f"{place}:{found.line} imports {found.module}"
        for file in sorted(source.rglob("*.py"))
        for place in [file.relative_to(source).as_posix()]
        for found in imports(file, source)
        if crosses(place, found.module)
    ]


def crosses(place: str, module: str) -> bool:
    """Whether a file must not import a module."""
    if any(covers(part, place) and within(module, other) for part, other in SEPARATE.items()):
        return True
    allowed = MAY_IMPORT[max((entry for entry in MAY_IMPORT if covers(entry, place)), key=len)]
    top = module.partition(".")[0]
    return top not in {*allowed, place.partition("/")[0], *sys.stdlib_module_names}


def covers(entry: str, place: str) -> bool:
    """Whether a file is the entry, or in the folder that the entry names."""
    return place == entry or place.startswith(f"{entry}/")


def within(module: str, package: str) -> bool:
    """Whether a module is the package or one of its parts."""
    return module == package or module.startswith(f"{package}.")


def loaded_by(statement: str) -> set[str]:
    """Top-level modules outside the standard library that a statement loads in a fresh process."""
    program = (
        "import sys; before = set(sys.modules); "
        f"{statement}; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    return set(done.stdout.split()) - sys.stdlib_module_names


@pytest.mark.parametrize("package", ["spec", "reference", "triton", "nn"])
def test_imports_follow_the_arrows(package: str) -> None:
    source = PACKAGES / f"semicrf-{package}" / "src"
    assert list(source.rglob("*.py"))
    assert violations(source) == []


@pytest.mark.parametrize("package", ["spec", "reference", "triton", "nn"])
def test_what_may_be_imported_is_what_the_metadata_declares(package: str) -> None:
    project = tomllib.loads((PACKAGES / f"semicrf-{package}" / "pyproject.toml").read_text("utf-8"))
    extras = project["project"].get("optional-dependencies", {}).values()
    declared = [*project["project"]["dependencies"], *(line for lines in extras for line in lines)]
    entries = [MAY_IMPORT[entry] for entry in MAY_IMPORT if covers(f"semicrf_{package}", entry)]
    assert {Requirement(line).name.replace("-", "_") for line in declared} == set().union(*entries)


@pytest.mark.parametrize(
    ("file", "planted"),
    [
        ("semicrf_spec/score.py", "import torch"),
        ("semicrf_spec/score.py", "import scipy.special as special"),
        ("semicrf_spec/semirings/scalars.py", "import torch"),
        ("semicrf_spec/testing/cases.py", "from hypothesis import strategies"),
        ("semicrf_spec/operators/calls.py", "from semicrf_nn import SemiCRF"),
        ("semicrf_reference/eager/scan.py", "import numba"),
        ("semicrf_reference/scan/tree.py", "import numpy"),
        ("semicrf_reference/eager/scan.py", "from semicrf_reference import compiled"),
        ("semicrf_reference/compiled/scan.py", "from ..eager import viterbi"),
        ("semicrf_reference/compiled/scan.py", "import semicrf_triton"),
        ("semicrf_triton/kernels/scan.py", "def late():\n    from semicrf_reference import eager"),
        ("semicrf_triton/kernels/scan.py", "import importlib\nimportlib.import_module('numba')"),
        ("semicrf_nn/head.py", "if False:\n    import numba"),
        ("semicrf_nn/head.py", "import matplotlib"),
    ],
)
def test_a_planted_import_against_the_arrows_is_found(tmp_path: Path, file: str, planted: str) -> None:
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text(planted)
    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "honest"),
    [
        ("semicrf_spec/score.py", "import math\nimport numpy as np\nfrom . import segments"),
        ("semicrf_spec/operators/calls.py", "import torch\nfrom ..score import score"),
        ("semicrf_spec/semirings/checkpoint.py", "from torch.utils.checkpoint import checkpoint"),
        ("semicrf_spec/testing/strategies.py", "from hypothesis.extra import numpy"),
        ("semicrf_nn/head.py", "from semicrf_reference import compiled"),
    ],
)
def test_imports_along_the_arrows_are_let_through(tmp_path: Path, file: str, honest: str) -> None:
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text(honest)
    assert violations(tmp_path) == []


@pytest.mark.parametrize("module", ["semicrf_spec", "semicrf_spec.testing"])
def test_the_definition_loads_numpy_and_array_api_compat_alone(module: str) -> None:
    assert loaded_by(f"import {module}") <= {"array_api_compat", "numpy", "semicrf_spec"}


def test_a_fresh_process_notices_what_is_loaded() -> None:
    assert "torch" in loaded_by("import semicrf_spec.operators")


def test_importing_the_gpu_package_loads_neither_the_reference_nor_triton() -> None:
    assert not loaded_by("import semicrf_triton") & {"semicrf_reference", "semicrf_nn", "triton"}
