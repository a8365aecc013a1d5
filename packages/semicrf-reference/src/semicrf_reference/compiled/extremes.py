"""`max` and `min` for loops that look for one number, of which the compiler makes vector instructions.

Of what Numba makes of `max` it does not: such a loop waits for every comparison, four cycles each.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from semicrf_reference.compiled.jit import FASTMATH


def larger(first, second):
    """The larger of two float64, neither of them NaN."""
    return max(first, second)


def smaller(first, second):
    """The smaller of two float64, neither of them NaN."""
    return min(first, second)


def in_one_instruction(function, name):
    """In kernels the function is the instruction of LLVM's by that name."""

    @intrinsic
    def instruction(context, first, second):
        def code(context, builder, signature, arguments):
            number = ir.DoubleType()
            kind = ir.FunctionType(number, [number, number])
            return builder.call(builder.module.declare_intrinsic(name, fnty=kind), arguments)

        return types.float64(types.float64, types.float64), code

    @overload(function, jit_options={"fastmath": FASTMATH})
    def called(first, second):
        return lambda first, second: instruction(first, second)  # type: ignore[call-arg]  # Numba's context


in_one_instruction(larger, "llvm.maxnum.f64")
in_one_instruction(smaller, "llvm.minnum.f64")
