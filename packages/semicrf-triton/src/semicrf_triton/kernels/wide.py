"""Wide numbers `mantissa * 2**exponent`: float32 beside int32, for what float32 alone cannot hold.

A *normal* mantissa is in [1, 2), or 0, and then the exponent is NOTHING. A *loose* one, of a product or sum,
may be larger, and that of 0 has an exponent near NOTHING. Weights multiply by one multiplication and one
addition and are summed relative to their largest, so that only scores take an exponential, and nothing
takes a logarithm.

Scores are read as *fixed-point* logarithms to base 2, int64 in units of `2**-FRACTION_BITS`: sums of them are
exact, in any order and at any length.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

_BITS = 24  # a score is rounded by 2**-25 in its logarithm to base 2, its weight by 2e-8
FRACTION_BITS = tl.constexpr(_BITS)
FRACTION_MASK = tl.constexpr(2**_BITS - 1)
FRACTION_UNIT = tl.constexpr(2.0**-_BITS)

_PRECISION = 38  # so that the product with the 24 bits of a float32 fits into int64
LOG2_E = tl.constexpr(round(2**_PRECISION / math.log(2.0)))
ONE = tl.constexpr(2**_PRECISION)
LOG2_E_SHIFT = tl.constexpr(_PRECISION - _BITS)
LOG2_E_FLOAT64 = tl.constexpr(1.0 / math.log(2.0))
UNITS = tl.constexpr(2.0**_BITS)

LARGEST_SCORE = tl.constexpr(1e8)
"""Finite scores beyond it, of either sign, count as it."""

_BITS_OF_A_SCORE = 21
LARGEST_EXPONENT = tl.constexpr(2**_BITS_OF_A_SCORE)
"""The most that one score adds to an exponent, 1.4e6 nats: those of 16 positions stay far below NOTHING."""
LARGEST_FIXED = tl.constexpr(2 ** (_BITS_OF_A_SCORE + _BITS))

NOTHING = tl.constexpr(-(2**29))
"""The exponent of 0, below any other; three of them can be added, and compared with another."""


@triton.jit
def load_scores(ptr, place, mask):
    """Scores in float32, or in float64 where they are; 0 outside of the mask."""
    scores = tl.load(ptr + place, mask=mask, other=0.0)
    if scores.dtype != tl.float64:
        scores = scores.to(tl.float32)
    return scores


@triton.jit
def fixed_point(score, NATS: tl.constexpr = False):
    """`score * log2(e)` in fixed point, or the score itself; 0 for `-inf`, which is for the caller to see."""
    allowed = score > -float("inf")
    score = tl.where(allowed, tl.minimum(tl.maximum(score, -LARGEST_SCORE), LARGEST_SCORE), 0.0)
    if score.dtype == tl.float64:
        fixed = tl.floor(score * (1.0 if NATS else LOG2_E_FLOAT64) * UNITS + 0.5).to(tl.int64)
    else:
        bits = score.to(tl.int32, bitcast=True)
        power = (bits >> 23) & 255  # that of the last of the 24 bits, plus 150
        product = ((bits & 0x7FFFFF) | 0x800000).to(tl.int64) * (ONE if NATS else LOG2_E)
        below = tl.minimum(LOG2_E_SHIFT + 149 - power, 63).to(tl.int64)
        size = ((product >> below) + 1) >> 1
        fixed = tl.where(bits < 0, -size, size)
    return fixed


@triton.jit
def limited(logarithm):
    """A fixed-point logarithm, or the largest there is for one score."""
    return tl.minimum(tl.maximum(logarithm, -LARGEST_FIXED), LARGEST_FIXED)


@triton.jit
def power_of_fixed(logarithm):
    """`2**logarithm` of a fixed-point logarithm, of a few scores that are limited."""
    fraction = (logarithm & FRACTION_MASK).to(tl.float32) * FRACTION_UNIT
    return tl.exp2(fraction), (logarithm >> FRACTION_BITS).to(tl.int32)


@triton.jit
def exp_wide(score):
    """`exp(score)`, rounded once: by way of float64, so for scores that are read once."""
    logarithm = tl.where(score > -float("inf"), score.to(tl.float64) * LOG2_E_FLOAT64, 0.0)
    logarithm = tl.minimum(tl.maximum(logarithm, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    whole = tl.floor(logarithm)
    mantissa, exponent = normal(tl.exp2(logarithm - whole).to(tl.float32), whole.to(tl.int32))
    allowed = score > -float("inf")
    return tl.where(allowed, mantissa, 0.0), tl.where(allowed, exponent, NOTHING)


@triton.jit
def power_of_two(exponent):
    """`2**exponent` for exponents of at most 0; 0 from -127 on."""
    return (tl.maximum(exponent + 127, 0) << 23).to(tl.float32, bitcast=True)


@triton.jit
def normal(mantissa, exponent):
    """The same number, its mantissa in [1, 2)."""
    bits = mantissa.to(tl.int32, bitcast=True)
    fraction = ((bits & 0x7FFFFF) | 0x3F800000).to(tl.float32, bitcast=True)
    moved = tl.maximum(exponent + (bits >> 23) - 127, NOTHING)
    return tl.where(mantissa > 0.0, fraction, 0.0), tl.where(mantissa > 0.0, moved, NOTHING)


@triton.jit
def sum_loose(mantissa, exponent, axis: tl.constexpr):
    """The sum over an axis, of mantissas that are at least 1, or 0; its own is not brought below 2."""
    top = tl.max(exponent, axis)
    return tl.sum(mantissa * power_of_two(exponent - tl.expand_dims(top, axis)), axis), top


@triton.jit
def sum_wide(mantissa, exponent, axis: tl.constexpr):
    """The sum over an axis."""
    total, top = sum_loose(mantissa, exponent, axis)
    return normal(total, top)


@triton.jit
def add_loose(mantissa, exponent, other_mantissa, other_exponent):
    """The sum of two, as `sum_loose`."""
    top = tl.maximum(exponent, other_exponent)
    total = mantissa * power_of_two(exponent - top) + other_mantissa * power_of_two(other_exponent - top)
    return total, top


@triton.jit
def packed(mantissa, exponent):
    """Both in one int64, so that they travel between warps at once."""
    bits = mantissa.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    return (exponent.to(tl.int64) << 32) | bits


@triton.jit
def unpacked(number):
    """A mantissa and an exponent of what is packed."""
    return number.to(tl.int32).to(tl.float32, bitcast=True), (number >> 32).to(tl.int32)
