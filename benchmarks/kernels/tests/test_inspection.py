"""What the table finds: planted faults, and what machine code says."""

import dataclasses
import importlib.util
import os

import pytest

if importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("needs Triton, and its compiler", allow_module_level=True)

from benchmarks.kernels.__main__ import SPILLING, Compiled
from benchmarks.kernels.inspection import TARGETS, counted, innermost_sass, usage
from benchmarks.kernels.variants import variants

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")]

SASS = """
        /*0010*/                   FADD R1, R2, R3 ;
        /*0020*/                   DADD R4, R4, R4 ;
        /*0030*/                   IADD3 R1, R2, R3, R4 ;
        /*0040*/                   LDL R1, [R1] ;
        /*0050*/              @!P0 BRA 0x30 ;
        /*0060*/               @P1 BRA 0x10 ;
""".splitlines()


def found(name, called=None, **changed):
    variant = next(v for v in variants() if v.name.startswith(name))
    variant = dataclasses.replace(variant, **changed)
    return Compiled(called or variant.name, 32 * variant.warps, "sm_90", usage(variant, TARGETS["sm_90"]))


def test_instructions_are_counted_by_kind():
    assert counted(SASS) == {"float32": 1, "float64": 1, "integer": 1, "local": 1, "other": 2}


def test_the_innermost_loop_is_the_one_that_holds_no_other():
    (loop,) = innermost_sass(SASS)
    assert counted(loop) == {"integer": 1, "local": 1, "other": 1}


def test_a_kernel_that_is_within_its_means_has_no_faults():
    assert found("cover_kernel C = 16").faults == []


def test_float64_arithmetic_is_found():
    variant = next(v for v in variants() if v.name.startswith("scan_kernel C = 16"))
    terms = variant.types[0]._replace(emissions="*fp64")
    faults = found("scan_kernel C = 16", types=(terms, *variant.types[1:])).faults
    assert [fault for fault in faults if "float64" in fault]


def test_one_exchange_too_many_is_found():
    variant = next(v for v in variants() if v.name == "wide_kernel C = 32, all terms")
    constants = variant.constants | {"BLOCK_T": 8}  # so few positions that warps share a sum
    assert found(variant.name).faults == []
    faults = found(variant.name, constants=constants).faults
    assert [fault for fault in faults if "barriers" in fault]


def test_spilled_registers_are_found():
    faults = found(f"scan_kernel {SPILLING[0]}", "one that is not excused").faults
    assert [fault for fault in faults if "spilled" in fault]
