"""Vectors of LANES numbers, one a lane, for kernels: a type of Numba's, which it has not got itself.

They stay in the processor's registers, of whatever width those are, where loops over short arrays are left to
the compiler's good luck. `+ - * /` and comparisons are lane by lane, a plain number standing for LANES of
it; so are `larger` and `smaller` of `extremes.py`. A comparison makes a mask.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import torch
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import unpack_tuple
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from semicrf_reference.compiled.problem import Array

LANES = 8
"""Numbers side by side."""

INDEX = ir.IntType(32)
NUMBERS = ir.VectorType(ir.DoubleType(), LANES)
INTEGERS = ir.VectorType(ir.IntType(64), LANES)
BOOLEANS = ir.VectorType(ir.IntType(1), LANES)

FRACTION = 52
"""Bits of a float64 below its exponent."""

INTEGER = 2.0**FRACTION
"""Of a float64 at least as large, the lowest bits are those of an integer."""

BIAS = 1023


def empty_rows(*shape: int) -> Array:
    """`(*shape, LANES)` float64, no row across cache lines: PyTorch's memory begins at one, not numpy's."""
    found: Array = torch.empty((*shape, LANES), dtype=torch.float64, device="cpu").numpy()
    return found


def filled_rows(columns: int, *rows: int) -> tuple[Array, ...]:
    """Zeros for blocks of LANES: arrays of so many rows of float64, the columns filled up."""
    filled = -(-columns // LANES) * LANES
    found: Array = torch.zeros((sum(rows), filled), dtype=torch.float64, device="cpu").numpy()
    return tuple(found[first:last] for first, last in pairwise(accumulate(rows, initial=0)))


def in_kernels(function: Callable[..., Any]) -> Any:
    """What kernels call with the arguments behind the context: of their types it makes a type, and code."""
    return intrinsic(function)


class Vector(types.Type):
    """LANES of float64."""


class Mask(types.Type):
    """LANES of booleans."""


VECTOR, MASK = Vector("vector"), Mask("mask")


@register_model(Vector)
class _Numbers(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, NUMBERS)


@register_model(Mask)
class _Booleans(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, BOOLEANS)


def define(function, kinds, result, instruction):
    """The function of two such arguments is what `instruction` builds; of vectors, one may be a number.

    Numba asks for such definitions in every kernel of the process; for other types they have no answer.
    """

    @type_callable(function)
    def typed(context):
        def of(first, second):
            fits = all(isinstance(given, kind) for given, kind in zip((first, second), kinds, strict=True))
            return result if fits else None

        return of

    @lower_builtin(function, *kinds)
    def lowered(context, builder, signature, arguments):
        pairs = zip(arguments, signature.args, strict=True)
        return instruction(builder, *(in_every_lane(context, builder, *pair) for pair in pairs))


def in_every_lane(context, builder, value, kind):
    """The value, or that of a number in every lane."""
    if not isinstance(kind, types.Number):
        return value
    return repeated(builder, context.cast(builder, value, kind, types.float64), NUMBERS)


def repeated(builder, number, vectors):
    """LANES times the number, a vector of that type."""
    undefined = vectors(ir.Undefined)
    one = builder.insert_element(undefined, number, INDEX(0))
    return builder.shuffle_vector(one, undefined, ir.VectorType(INDEX, LANES)([0] * LANES))


def ordered(sign):
    """Comparison of numbers, none of them NaN."""
    return lambda builder, first, second: builder.fcmp_ordered(sign, first, second)


for _kinds in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
    define(operator.add, _kinds, VECTOR, ir.IRBuilder.fadd)
    define(operator.iadd, _kinds, VECTOR, ir.IRBuilder.fadd)
    define(operator.sub, _kinds, VECTOR, ir.IRBuilder.fsub)
    define(operator.mul, _kinds, VECTOR, ir.IRBuilder.fmul)
    define(operator.truediv, _kinds, VECTOR, ir.IRBuilder.fdiv)
    define(operator.eq, _kinds, MASK, ordered("=="))
    define(operator.lt, _kinds, MASK, ordered("<"))
    define(operator.gt, _kinds, MASK, ordered(">"))
define(operator.and_, (Mask, Mask), MASK, ir.IRBuilder.and_)
define(operator.or_, (Mask, Mask), MASK, ir.IRBuilder.or_)


@in_kernels
def every(context, number):
    """The number in every lane."""

    def code(context, builder, signature, arguments):
        return in_every_lane(context, builder, *arguments, *signature.args)

    return VECTOR(number), code


@in_kernels
def counted(context):
    """0, 1, 2, ...: the number of every lane."""

    def code(context, builder, signature, arguments):
        return NUMBERS([float(g) for g in range(LANES)])

    return VECTOR(), code


@in_kernels
def vector_of(context, row):
    """The numbers of a row, an array of LANES float64 that lie side by side."""

    def code(context, builder, signature, arguments):
        found = builder.load(address_of(context, builder, *signature.args, *arguments))
        found.align = 8
        return found

    return VECTOR(row), code


@in_kernels
def block(context, row, first):
    """LANES numbers of a row from the first on, in memory that goes on as far, whatever stands there."""

    def code(context, builder, signature, arguments):
        found = builder.load(address_of(context, builder, signature.args[0], *arguments))
        found.align = 8
        return found

    return VECTOR(row, types.intp), code


@in_kernels
def put_block(context, row, first, vector):
    """Write them."""

    def code(context, builder, signature, arguments):
        *where_to, value = arguments
        builder.store(value, address_of(context, builder, signature.args[0], *where_to)).align = 8
        return context.get_dummy_value()

    return types.none(row, types.intp, vector), code


@in_kernels
def within(context, first, count):
    """Which of the lanes `first, first + 1, ...` are below the count."""

    def code(context, builder, signature, arguments):
        begun, end = (repeated(builder, number, INTEGERS) for number in arguments)
        lanes = builder.add(begun, INTEGERS(list(range(LANES))))
        return builder.icmp_signed("<", lanes, end)

    return MASK(types.intp, types.intp), code


@in_kernels
def lane(context, vector, g):
    """The number of one lane."""

    def code(context, builder, signature, arguments):
        return builder.extract_element(*arguments)

    return types.float64(VECTOR, types.intp), code


@in_kernels
def put(context, row, vector):
    """Write the numbers into a row."""

    def code(context, builder, signature, arguments):
        array, value = arguments
        builder.store(value, address_of(context, builder, signature.args[0], array)).align = 8
        return context.get_dummy_value()

    return types.none(row, vector), code


def address_of(context, builder, kind, array, *first):
    """The address of a row's numbers, from the first on."""
    if kind != types.Array(types.float64, 1, "C"):
        raise TypeError(f"{kind} is no row of float64")
    begin = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(begin, first) if first else begin, NUMBERS.as_pointer())


@in_kernels
def gathered(context, array, t, c):
    """`array[g, t, c]` for each lane g, the last there is standing in for those that are missing."""

    def code(context, builder, signature, arguments):
        given = context.make_array(signature.args[0])(context, builder, arguments[0])
        count, *_ = unpack_tuple(builder, given.shape, 3)
        last = builder.sub(count, count.type(1))
        lanes = [
            builder.select(builder.icmp_signed("<", count.type(g), count), count.type(g), last)
            for g in range(LANES)
        ]
        places = [(lane, *arguments[1:]) for lane in lanes]
        return collected(context, builder, signature.args[0], given, places)

    return VECTOR(array, types.intp, types.intp), code


@in_kernels
def picked(context, matrix, rows, i):
    """`matrix[rows[g], i]` for each lane g, the rows being an array of LANES integers."""

    def code(context, builder, signature, arguments):
        given, chosen = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(signature.args[:2], arguments[:2], strict=True)
        )
        own = [builder.load(builder.gep(chosen.data, [INDEX(g)])) for g in range(LANES)]
        places = [(row, arguments[2]) for row in own]
        return collected(context, builder, signature.args[0], given, places)

    if rows != types.Array(types.int64, 1, "C"):
        raise TypeError(f"{rows} is no row of int64")
    return VECTOR(matrix, rows, types.intp), code


def collected(context, builder, kind, array, places):
    """The elements of an array at LANES places: floats of any size and strides."""
    strides = unpack_tuple(builder, array.strides, kind.ndim)
    element = context.get_data_type(kind.dtype)
    found = ir.VectorType(element, LANES)(ir.Undefined)
    for g, indices in enumerate(places):
        address = builder.ptrtoint(array.data, ir.IntType(64))
        for stride, index in zip(strides, indices, strict=True):
            address = builder.add(address, builder.mul(stride, index))
        value = builder.load(builder.inttoptr(address, element.as_pointer()))
        found = builder.insert_element(found, value, INDEX(g))
    return found if kind.dtype == types.float64 else builder.fpext(found, NUMBERS)


@in_kernels
def where(context, mask, first, second):
    """The first where the mask is true, else the second."""

    def code(context, builder, signature, arguments):
        return builder.select(*arguments)

    return VECTOR(MASK, VECTOR, VECTOR), code


@in_kernels
def some(context, mask):
    """Whether the mask is true anywhere."""

    def code(context, builder, signature, arguments):
        bits = builder.bitcast(*arguments, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(MASK), code


def across(name, title):
    """One number of a vector's, by an instruction of LLVM's."""

    def of(context, vector):
        def code(context, builder, signature, arguments):
            kind = ir.FunctionType(ir.DoubleType(), [NUMBERS])
            function = builder.module.declare_intrinsic(f"{name}.v{LANES}f64", fnty=kind)
            return builder.call(function, arguments, fastmath=("nnan", "nsz"))

        return types.float64(VECTOR), code

    of.__name__, of.__doc__ = name, title
    return in_kernels(of)


largest_of = across("llvm.vector.reduce.fmax", "The largest number of a vector.")
smallest_of = across("llvm.vector.reduce.fmin", "The smallest.")


@in_kernels
def sum_of(context, vector):
    """The sum of a vector's numbers."""

    def code(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType(), NUMBERS])
        function = builder.module.declare_intrinsic(f"llvm.vector.reduce.fadd.v{LANES}f64", fnty=kind)
        return builder.call(function, (ir.DoubleType()(-0.0), *arguments), fastmath=("reassoc",))

    return types.float64(VECTOR), code


@in_kernels
def powers_of_two(context, exponents):
    """`2**exponent` of integers above -1023 and up to 1023."""

    def code(context, builder, signature, arguments):
        shifted = builder.fadd(*arguments, NUMBERS([1.5 * INTEGER + BIAS] * LANES))
        bits = builder.bitcast(shifted, INTEGERS)
        return builder.bitcast(builder.shl(bits, INTEGERS([FRACTION] * LANES)), NUMBERS)

    return VECTOR(VECTOR), code


@in_kernels
def exponents_of(context, numbers):
    """The largest `e` with `2**e <= x`, for x > 0; -1023 for 0."""

    def code(context, builder, signature, arguments):
        bits = builder.lshr(builder.bitcast(*arguments, INTEGERS), INTEGERS([FRACTION] * LANES))
        whole = builder.or_(bits, builder.bitcast(NUMBERS([INTEGER] * LANES), INTEGERS))
        return builder.fsub(builder.bitcast(whole, NUMBERS), NUMBERS([INTEGER + BIAS] * LANES))

    return VECTOR(VECTOR), code
