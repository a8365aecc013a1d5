"""Rows of numbers, one a label: their linear form, their products and sums."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import inlined, jit, summed
from semicrf_reference.compiled.wide import FLOOR, exponent_of, power_of_two

PRODUCT_EXPONENT = 1000.0
"""By exponents up to this, half of it each, two rows in linear form can be multiplied without overflow."""


@inlined
def linear_row(values, exponents, linear):
    """The row `values * 2**exponents` relative to the largest of its numbers.

    Returns: the scale, and whether the linear form is good: every number is 0 or at least FLOOR.
    """
    top, lowest = -math.inf, math.inf
    for c in range(values.size):
        size = exponents[c] + exponent_of(values[c])
        top = larger(top, size if values[c] > 0.0 else -math.inf)
    scale = top if top > -math.inf else 0.0
    for c in range(values.size):
        linear[c] = values[c] * power_of_two(exponents[c] - scale)
    for c in range(values.size):
        lowest = smaller(lowest, linear[c] if values[c] > 0.0 else math.inf)
    return scale, lowest >= FLOOR


@inlined
def multiply_linear(a, b, mantissa, exponent, out):
    """`out = a * b * mantissa * 2**exponent`, probabilities, of two rows in linear form.

    Each is multiplied with half of the factor, so that nothing overflows on the way.
    """
    half = math.floor(0.5 * exponent)
    left, right = power_of_two(half), power_of_two(exponent - half) * mantissa
    for c in range(out.size):
        out[c] = min((a[c] * left) * (b[c] * right), 1.0)


@summed
def dot(a, a_first, b, b_first, count):
    """Sum of the products of `count` entries of two rows."""
    total = 0.0
    for k in range(np.uint64(count)):
        total += a[np.uint64(a_first) + k] * b[np.uint64(b_first) + k]
    return total


@inlined
def dot_wide(a, a_exponents, a_first, b, b_exponents, b_first, products):
    """`dot` of wide numbers, mantissas at most 2, as many as there are `products` to be written.

    Returns: their sum, and the exponent of the largest, to which all are relative.
    """
    a_first, b_first = np.uint64(a_first), np.uint64(b_first)
    top = -math.inf
    for k in range(np.uint64(products.size)):
        size = a_exponents[a_first + k] + b_exponents[b_first + k]
        products[k] = size if a[a_first + k] * b[b_first + k] > 0.0 else -math.inf
        top = larger(top, products[k])
    scale = top if top > -math.inf else 0.0
    for k in range(np.uint64(products.size)):
        products[k] = a[a_first + k] * b[b_first + k] * power_of_two(products[k] - scale)
    return row_sum(products), scale


@summed
def apply_matrix(matrix, row, out):
    """`out = matrix @ row`, four rows of the matrix at once."""
    columns = np.uint64(row.size)
    blocked = out.size // 4 * 4
    for c in range(0, blocked, 4):
        first, second, third, fourth = matrix[c], matrix[c + 1], matrix[c + 2], matrix[c + 3]
        a, b, d, e = 0.0, 0.0, 0.0, 0.0
        for i in range(columns):
            a += first[i] * row[i]
            b += second[i] * row[i]
            d += third[i] * row[i]
            e += fourth[i] * row[i]
        out[c], out[c + 1], out[c + 2], out[c + 3] = a, b, d, e
    for c in range(blocked, out.size):
        out[c] = dot(matrix[c], 0, row, 0, row.size)


@inlined
def add_outer(left, right, out):
    """`out[c, i] += left[c] * right[i]`."""
    columns = np.uint64(right.size)
    for c in range(left.size):
        for i in range(columns):
            out[c, i] += left[c] * right[i]


@jit
def move_to_front(tape, stop, kept):
    """Of every row, the last `kept` entries before `stop` move to the beginning."""
    for c in range(tape.shape[0]):
        for k in range(kept):
            tape[c, k] = tape[c, stop - kept + k]


@summed
def row_sum(row):
    """Sum of a row."""
    found = 0.0
    for c in range(row.size):
        found += row[c]
    return found
