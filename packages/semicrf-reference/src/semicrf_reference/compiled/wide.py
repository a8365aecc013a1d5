"""Wide numbers `mantissa * 2**exponent`: what float64 holds, without its limits.

The exponent is a float64 that holds an integer, so scores of any size have one; zero is `(0, 0)`. A row of
them is two rows, or, where its numbers are near enough to one another, one row of float64 relative to a
scale: its *linear* form.
"""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import inlined, jit
from semicrf_reference.compiled.vectors import every, powers_of_two, where

FLOOR = 2.0**-500
"""Two numbers at or above it can be multiplied."""

SAFE_SUM = 2.0**-400
"""A sum at or above it has lost nothing to numbers below FLOOR."""

LN2_HIGH = 6.93147180369123816490e-01  # 32 bits, so that small multiples are exact (Cody & Waite 1980)
LN2_LOW = 1.90821492927058770002e-10
LOG2_E = 1.0 / math.log(2.0)
REMAINDER = 0.35  # a little above ln 2 / 2
LOWEST_SCORE = -1e290  # what is below it, but finite, has no exponent in float64
ROUNDER = 1.5 * 2.0**52  # adding and subtracting it rounds to an integer
TAYLOR = tuple(1.0 / math.factorial(n) for n in range(14))  # to 4e-18 within REMAINDER


@inlined
def power_of_two(exponent):
    """`2**exponent`; 0 below and `2**1023` above what float64 holds."""
    biased = np.int32(min(max(exponent, -1023.0), 1023.0)) + 1023
    return np.int64(np.int64(biased) << np.int64(52)).view(np.float64)


@inlined
def all_powers_of_two(exponents):
    """The same of the numbers of a vector."""
    return powers_of_two(larger(smaller(exponents, every(1023.0)), every(-1023.0)))


@inlined
def exponent_of(x):
    """The largest `e` with `2**e <= x`, for x > 0; -1023 for 0."""
    return np.float64(np.int32(np.float64(x).view(np.int64) >> np.int64(52)) - 1023)


@inlined
def exp_wide(x):
    """`exp(x)`, without a branch, so that loops over it use vector instructions."""
    allowed = x > -math.inf
    exponent, r = reduced(max(x, LOWEST_SCORE) if allowed else 0.0)
    r = min(max(r, -REMAINDER), REMAINDER)
    return (exp_near_zero(r) if allowed else 0.0), exponent


@inlined
def all_exp_wide(x):
    """The same of the numbers of a vector."""
    allowed = x > -math.inf
    exponent, r = reduced(where(allowed, larger(x, every(LOWEST_SCORE)), every(0.0)))
    r = smaller(larger(r, every(-REMAINDER)), every(REMAINDER))
    return where(allowed, exp_near_zero(r), every(0.0)), exponent


@inlined
def reduced(x):
    """`exponent` and `r` such that `exp(x) = exp(r) * 2**exponent`, and r is within REMAINDER."""
    exponent = (x * LOG2_E + ROUNDER) - ROUNDER
    return exponent, (x - exponent * LN2_HIGH) - exponent * LN2_LOW


@inlined
def exp_near_zero(r):
    """`exp(r)` by Taylor's series."""
    high = ((TAYLOR[13] * r + TAYLOR[12]) * r + TAYLOR[11]) * r + TAYLOR[10]
    middle = (((high * r + TAYLOR[9]) * r + TAYLOR[8]) * r + TAYLOR[7]) * r + TAYLOR[6]
    low = (((middle * r + TAYLOR[5]) * r + TAYLOR[4]) * r + TAYLOR[3]) * r + TAYLOR[2]
    return (low * r + 1.0) * r + 1.0


@jit
def log_wide(mantissa, exponent, high, low):
    """Natural logarithm of a number above 0, and `high + low` more."""
    whole, error = two_sum(exponent * LN2_HIGH, high)
    return whole + (exponent * LN2_LOW + math.log(mantissa) + error + low)


@inlined
def normal(mantissa, exponent):
    """The same number with its mantissa in [1, 2)."""
    shift = exponent_of(mantissa)
    return (mantissa * power_of_two(-shift), exponent + shift) if mantissa > 0.0 else (0.0, 0.0)


@jit
def add(mantissa, exponent, other_mantissa, other_exponent):
    """The sum of two wide numbers."""
    m, e = normal(mantissa, exponent)
    other_m, other_e = normal(other_mantissa, other_exponent)
    if other_m == 0.0:
        return m, e
    if m == 0.0 or other_e > e:
        m, e, other_m, other_e = other_m, other_e, m, e
    return m + other_m * power_of_two(other_e - e), e


@inlined
def two_sum(a, b):
    """`a + b` as its rounded value and the exact error of rounding (Knuth)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)
