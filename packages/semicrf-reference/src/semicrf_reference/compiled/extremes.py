"""`max` and `min`, of numbers and of vectors, each of which the compiler makes one instruction.

Of what Numba makes of `max` it does not: a loop that looks for one number waits for every comparison, four
cycles each.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import overload

from semicrf_reference.compiled.jit import FASTMATH
from semicrf_reference.compiled.vectors import LANES, VECTOR, in_kernels


def larger(first, second):
    """The larger of two float64, or of two in every lane; beside a NaN it may be anything."""
    return max(first, second)


def smaller(first, second):
    """The smaller of two float64, or of two in every lane; beside a NaN it may be anything."""
    return min(first, second)


def in_one_instruction(function, name):
    """In kernels the function is the instruction of LLVM's by that name."""

    @in_kernels
    def instruction(context, first, second):
        kind = VECTOR if first is VECTOR else types.float64

        def code(context, builder, signature, arguments):
            value = context.get_value_type(kind)
            suffix = f"v{LANES}f64" if kind is VECTOR else "f64"
            of_two = ir.FunctionType(value, [value, value])
            found = builder.module.declare_intrinsic(f"{name}.{suffix}", fnty=of_two)
            return builder.call(found, arguments, fastmath=("nnan", "nsz"))

        return kind(kind, kind), code

    @overload(function, jit_options={"fastmath": FASTMATH})
    def called(first, second):
        return lambda first, second: instruction(first, second)


in_one_instruction(larger, "llvm.maxnum")
in_one_instruction(smaller, "llvm.minnum")
