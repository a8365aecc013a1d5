"""Vectors in kernels: what numpy makes of as many numbers."""

import operator

import numba
import numpy as np
import pytest

from semicrf_reference.compiled.extremes import larger, smaller
from semicrf_reference.compiled.jit import OPTIONS, jit
from semicrf_reference.compiled.vectors import (
    LANES,
    block,
    counted,
    empty_rows,
    every,
    exponents_of,
    filled_rows,
    gathered,
    lane,
    largest_of,
    picked,
    powers_of_two,
    put,
    put_block,
    smallest_of,
    some,
    sum_of,
    vector_of,
    where,
    within,
)
from semicrf_reference.compiled.wide import all_powers_of_two, power_of_two

RNG = np.random.default_rng(0)
FIRST = RNG.normal(size=LANES)
SECOND = FIRST[::-1].copy()
SECOND[2] = FIRST[2]


def rows(count):
    return np.full((count, LANES), np.nan)


@pytest.mark.parametrize(
    "function", [operator.add, operator.sub, operator.mul, operator.truediv], ids=lambda f: f.__name__
)
def test_arithmetic_is_lane_by_lane(function):
    @numba.njit(**OPTIONS)
    def kernel(a, b, out):
        put(out[0], function(vector_of(a), vector_of(b)))
        put(out[1], function(vector_of(a), 3))
        put(out[2], function(0.5, vector_of(b)))

    out = rows(3)
    kernel(FIRST, SECOND, out)
    assert np.array_equal(out, [function(FIRST, SECOND), function(FIRST, 3), function(0.5, SECOND)])


def test_a_vector_may_be_added_to():
    @jit
    def kernel(a, out):
        total = every(1)
        for _ in range(4):
            total += vector_of(a)
        total += 0.5
        put(out, total)

    out = np.empty(LANES)
    kernel(FIRST, out)
    assert np.allclose(out, 4 * FIRST + 1.5, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("function", [operator.lt, operator.gt, operator.eq], ids=lambda f: f.__name__)
def test_a_mask_is_a_comparison_of_every_lane(function):
    @numba.njit(**OPTIONS)
    def kernel(a, b, out):
        first, second = vector_of(a), vector_of(b)
        mask = function(first, second)
        put(out[0], where(mask, every(1.0), every(0.0)))
        put(out[1], where(mask & (first > 0), every(1.0), every(0.0)))
        put(out[2], where(mask | (first > 0), every(1.0), every(0.0)))

    out = rows(3)
    kernel(FIRST, SECOND, out)
    mask = function(FIRST, SECOND)
    assert 0 < mask.sum() < LANES
    assert np.array_equal(out, [mask, mask & (FIRST > 0), mask | (FIRST > 0)])


@pytest.mark.parametrize("g", range(LANES))
def test_some_sees_every_lane(g):
    @jit
    def kernel(a, bound):
        return some(vector_of(a) > bound)

    numbers = np.zeros(LANES)
    numbers[g] = 1.0
    assert kernel(numbers, 0.5)
    assert not kernel(numbers, 1.5)


def test_the_larger_and_the_smaller_are_those_of_every_lane():
    @jit
    def kernel(a, b, out):
        put(out[0], larger(vector_of(a), vector_of(b)))
        put(out[1], smaller(vector_of(a), vector_of(b)))

    out, far = rows(2), SECOND.copy()
    far[0], far[1] = -np.inf, np.inf
    kernel(FIRST, far, out)
    assert np.array_equal(out, [np.maximum(FIRST, far), np.minimum(FIRST, far)])


def test_a_lane_can_be_read():
    @jit
    def kernel(a, out):
        vector = vector_of(a)
        for g in range(LANES):
            out[g] = lane(vector, g)

    out = np.empty(LANES)
    kernel(FIRST, out)
    assert np.array_equal(out, FIRST)


@pytest.mark.parametrize("count", [1, 3, LANES, LANES + 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_gathered_from_any_strides_and_the_last_stands_in(count, dtype):
    @jit
    def kernel(array, t, c, out):
        put(out, gathered(array, t, c))

    array = RNG.normal(size=(5, count, 4)).astype(dtype).transpose(1, 2, 0)[:, ::-1, ::2]
    out = np.empty(LANES)
    for t, c in ((0, 0), (3, 2), (1, 1)):
        kernel(array, t, c, out)
        assert np.array_equal(out, [array[min(g, count - 1), t, c] for g in range(LANES)])


def test_every_lane_picks_from_a_row_of_its_own():
    @jit
    def kernel(matrix, chosen, i, out):
        put(out, picked(matrix, chosen, i))

    matrix, chosen, out = RNG.normal(size=(5, 3)), RNG.integers(0, 5, LANES), np.empty(LANES)
    for i in range(3):
        kernel(matrix, chosen, i, out)
        assert np.array_equal(out, matrix[chosen, i])


def test_powers_of_two_and_exponents_are_each_others_inverse():
    @jit
    def kernel(exponents, out):
        powers = powers_of_two(vector_of(exponents))
        put(out[0], powers)
        put(out[1], exponents_of(powers * 1.75))

    out = rows(2)
    for begun in range(-1022, 1023 - LANES, LANES):
        exponents = np.arange(begun, begun + LANES, dtype=np.float64)
        kernel(exponents, out)
        assert np.array_equal(out, [2.0**exponents, exponents])


def test_zero_has_the_lowest_exponent():
    @jit
    def kernel(a, out):
        put(out, exponents_of(vector_of(a)))

    out = np.empty(LANES)
    kernel(np.zeros(LANES), out)
    assert (out == -1023).all()


@pytest.mark.parametrize("first", [0, 3, LANES, 2 * LANES - 1])
def test_a_block_may_begin_anywhere_in_a_row(first):
    @jit
    def kernel(row, first, out):
        put_block(out, first, block(row, first) + 1.0)

    row = RNG.normal(size=4 * LANES)
    out = np.zeros_like(row)
    kernel(row, first, out)
    expected = np.zeros_like(row)
    expected[first : first + LANES] = row[first : first + LANES] + 1.0
    assert np.array_equal(out, expected)


def test_lanes_are_counted():
    @jit
    def kernel(out):
        put(out, counted() + 1.0)

    out = np.empty(LANES)
    kernel(out)
    assert np.array_equal(out, np.arange(1.0, LANES + 1.0))


@pytest.mark.parametrize("count", range(2 * LANES + 2))
def test_lanes_are_within_up_to_the_count(count):
    @jit
    def kernel(first, count, out):
        put(out, where(within(first, count), every(1.0), every(0.0)))

    out = np.empty(LANES)
    for first in (0, LANES):
        kernel(first, count, out)
        assert np.array_equal(out, np.arange(first, first + LANES) < count)


def test_a_vector_has_a_largest_and_a_smallest_number_and_a_sum():
    @jit
    def kernel(a, out):
        out[0], out[1] = largest_of(vector_of(a)), smallest_of(vector_of(a))
        out[2] = sum_of(vector_of(a))

    out = np.empty(3)
    for numbers in (FIRST, np.roll(FIRST, 3)):
        kernel(numbers, out)
        assert np.array_equal(out[:2], [numbers.max(), numbers.min()])
        assert np.isclose(out[2], numbers.sum(), rtol=1e-15, atol=1e-15)
    kernel(np.where(FIRST > 0.0, FIRST, -np.inf), out)
    assert np.array_equal(out, [FIRST.max(), -np.inf, -np.inf])


@pytest.mark.parametrize("exponent", [-1e300, -1100.0, -1023.0, -1022.0, -0.0, 7.0, 1023.0, 1100.0, 1e300])
def test_powers_of_two_of_any_exponent_are_those_of_single_numbers(exponent):
    @jit
    def kernel(exponent, out):
        put(out, all_powers_of_two(every(exponent)))
        return power_of_two(exponent)

    out = np.empty(LANES)
    assert (kernel(exponent, out) == out).all()


@pytest.mark.parametrize("rows", [(1,), (3, 5), (4, 1, 2)])
@pytest.mark.parametrize("columns", [1, LANES, LANES + 1])
def test_filled_rows_are_whole_blocks_of_zeros(columns, rows):
    found = filled_rows(columns, *rows)
    assert [len(array) for array in found] == list(rows)
    for array in found:
        assert array.flags.c_contiguous
        assert array.ctypes.data % (LANES * array.itemsize) == 0
        assert array.shape[1] % LANES == 0
        assert columns <= array.shape[1] < columns + LANES
        assert (array == 0.0).all()


@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 2, 9)])
def test_rows_lie_within_cache_lines(shape):
    kept = [empty_rows(*shape) for _ in range(5)]
    for found in kept:
        assert found.shape == (*shape, LANES)
        assert found.flags.c_contiguous
        assert found.ctypes.data % found[(0,) * len(shape)].nbytes == 0


@pytest.mark.parametrize(
    "wrong", [np.zeros(LANES, np.float32), np.zeros((LANES, 2))[:, 0]], ids=["dtype", "strides"]
)
def test_what_is_no_row_of_float64_does_not_compile(wrong):
    @jit
    def kernel(row, out):
        put(out, vector_of(row))

    with pytest.raises(Exception, match="is no row of float64"):
        kernel(wrong, np.empty(LANES))
