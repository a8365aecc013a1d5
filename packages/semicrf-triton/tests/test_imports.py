"""The package loads where nothing of a GPU is there."""

import os
import subprocess
import sys

import pytest

WITHOUT_TRITON = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import semicrf_triton
"""


def run(code):
    """What a fresh process prints that runs the code, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_it_imports_without_triton_and_without_a_gpu_and_without_the_other_backends():
    imported = run(WITHOUT_TRITON + "print(*sys.modules)")
    assert "semicrf_triton" in imported
    assert not {"semicrf_reference", "semicrf_nn", "numba"} & set(imported)


def test_it_imports_beside_the_cpu_kernels_in_either_order():
    pytest.importorskip("semicrf_reference")
    for first, second in (
        ("semicrf_triton", "semicrf_reference"),
        ("semicrf_reference", "semicrf_triton"),
    ):
        assert run(f"import {first}, {second}; print('both')") == ["both"]


def test_without_triton_the_operators_say_what_to_install():
    said = run(
        WITHOUT_TRITON
        + """
import torch
from semicrf_triton import operators

try:
    operators.log_partition(torch.zeros(1, 1, 1), torch.zeros(1, 1), torch.zeros(1, 1))
except RuntimeError as error:
    print(error)
"""
    )
    assert "need Triton" in " ".join(said)
    assert "backend='eager'" in " ".join(said)
