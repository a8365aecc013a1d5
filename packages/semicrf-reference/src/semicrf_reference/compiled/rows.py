"""Rows of numbers, one a label: their linear form, their products and sums."""

from __future__ import annotations

import math

import numpy as np

from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import inlined, jit, summed
from semicrf_reference.compiled.vectors import (
    LANES,
    block,
    every,
    exponents_of,
    largest_of,
    put_block,
    smallest_of,
    where,
    within,
)
from semicrf_reference.compiled.wide import FLOOR, all_powers_of_two, power_of_two

PRODUCT_EXPONENT = 1000.0
"""By exponents up to this, half of it each, two rows in linear form can be multiplied without overflow."""


@inlined
def linear_row(values, exponents, linear):
    """The row `values * 2**exponents` relative to the largest of its numbers.

    Returns: the scale, and whether the linear form is good: every number is 0 or at least FLOOR.
    """
    tops, lowest = every(-math.inf), every(math.inf)
    for c in range(0, values.size, LANES):
        value = block(values, c)
        counts = (value > 0.0) & within(c, values.size)
        tops = larger(tops, where(counts, block(exponents, c) + exponents_of(value), every(-math.inf)))
    top = largest_of(tops)
    scale = top if top > -math.inf else 0.0
    for c in range(0, values.size, LANES):
        value = block(values, c)
        counts = (value > 0.0) & within(c, values.size)
        found = value * all_powers_of_two(block(exponents, c) - scale)
        put_block(linear, c, found)
        lowest = smaller(lowest, where(counts, found, every(math.inf)))
    return scale, smallest_of(lowest) >= FLOOR


@inlined
def multiply_linear(a, b, mantissa, exponent, out):
    """`out = a * b * mantissa * 2**exponent`, probabilities, of two rows in linear form.

    Each is multiplied with half of the factor, so that nothing overflows on the way.
    """
    half = math.floor(0.5 * exponent)
    left, right = power_of_two(half), power_of_two(exponent - half) * mantissa
    for c in range(0, out.size, LANES):
        put_block(out, c, smaller((block(a, c) * left) * (block(b, c) * right), every(1.0)))


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


@inlined
def apply_matrix(row, matrix, out):
    """`out = row @ matrix`, two rows of the matrix at once."""
    for c in range(0, out.size, LANES):
        even = odd = every(0.0)
        for i in range(0, row.size - 1, 2):
            even += block(matrix[i], c) * row[i]
            odd += block(matrix[i + 1], c) * row[i + 1]
        if row.size % 2 == 1:
            even += block(matrix[row.size - 1], c) * row[row.size - 1]
        put_block(out, c, even + odd)


@inlined
def add_outer(left, right, out):
    """`out[i, c] += left[i] * right[c]`."""
    for c in range(0, right.size, LANES):
        own = block(right, c)
        for i in range(left.size):
            put_block(out[i], c, block(out[i], c) + own * left[i])


@jit
def move_to_front(tape, stop, kept):
    """Of every row, the last `kept` entries before `stop` move to the beginning."""
    for c in range(tape.shape[0]):
        for k in range(kept):
            tape[c, k] = tape[c, stop - kept + k]


@jit
def clear_past(tables, b, n):
    """Zeros from a row on, in the table of a sequence; what has one table has it for every sequence."""
    for table in tables:
        own = table[min(b, len(table) - 1)]
        for t in range(n, len(own)):
            for c in range(own.shape[1]):
                own[t, c] = 0.0


@summed
def row_sum(row):
    """Sum of a row."""
    found = 0.0
    for c in range(row.size):
        found += row[c]
    return found
