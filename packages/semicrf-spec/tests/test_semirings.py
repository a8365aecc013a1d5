"""The laws of every semiring, on numpy arrays and on torch tensors."""

import math
from functools import partial, reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from semicrf_spec import BOOLEAN, COUNT, LOG, MAX, REAL, SCALARS, SEMIRINGS, logsumexp
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close
from semicrf_spec.testing.strategies import scores

LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor}
ELEMENTS = {
    "log": scores(),
    "max": scores(),
    "real": st.just(0.0) | st.floats(0.0, 1e3),
    "count": st.integers(0, 1000).map(float),
    "boolean": st.sampled_from([0.0, 1.0]),
}
VALUES = st.floats(-20.0, 20.0, width=32)
INPUTS = {"expectation": (scores(), VALUES), "covariance": (scores(), VALUES, VALUES)}
"""What semirings lift that do not lift scores alone."""
SHAPE = (2, 3)
PATTERNS = {
    "finite": [[1.0, -2.0, 0.5], [3.0, 3.0, 3.0]],
    "some forbidden": [[1.0, -math.inf, 0.5], [-math.inf, -math.inf, 2.0]],
    "all forbidden": [[-math.inf, -math.inf, -math.inf], [0.0, 0.0, -math.inf]],
    "far apart": [[1e4, -1e4, 0.0], [-1e4, -1e4, -math.inf]],
    "one entry": [[-math.inf], [7.0]],
}

every_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
every_semiring = pytest.mark.parametrize("semiring", SEMIRINGS, ids=lambda semiring: semiring.name)
every_pattern = pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)


def inputs(semiring, shape=SHAPE, largest=50.0):
    """Arrays that the semiring lifts."""
    kinds = INPUTS.get(semiring.name, (scores(largest),) * semiring.arity)
    return st.tuples(*(hnp.arrays(np.float64, shape, elements=kind) for kind in kinds))


def sums_of_products(semiring, shape):
    """What elements of several numbers come from: any number of them would not be an element."""
    lifted = inputs(semiring, (2, *shape)).map(lambda given: semiring.lift(*given))
    return lifted.map(lambda x: semiring.add(x[0], semiring.mul(x[0], x[1])))


def arrays(semiring, count, shape=SHAPE):
    if semiring in SCALARS:
        one = hnp.arrays(np.float64, shape, elements=ELEMENTS[semiring.name])
    else:
        one = sums_of_products(semiring, shape)
    return st.lists(one, min_size=count, max_size=count)


def close(actual, expected):
    assert_close(actual, expected, FLOAT64_RELATIVE)


def test_every_semiring_is_listed_under_its_own_name():
    assert SCALARS == (LOG, MAX, REAL, COUNT, BOOLEAN) == SEMIRINGS[:5]
    assert [semiring.name for semiring in SEMIRINGS] == [
        *("log", "max", "real", "count", "boolean", "3_max"),
        *("entropy", "cross_entropy", "kl_divergence", "expectation", "covariance"),
    ]


@every_semiring
@every_library
@given(data=st.data())
def test_addition_and_multiplication_are_associative_and_commutative(semiring, library, data):
    a, b, c = map(library, data.draw(arrays(semiring, 3)))
    for operation in (semiring.add, semiring.mul):
        close(operation(a, b), operation(b, a))
        close(operation(operation(a, b), c), operation(a, operation(b, c)))


@every_semiring
@every_library
@given(data=st.data())
def test_multiplication_distributes_over_addition(semiring, library, data):
    a, b, c = map(library, data.draw(arrays(semiring, 3)))
    close(semiring.mul(a, semiring.add(b, c)), semiring.add(semiring.mul(a, b), semiring.mul(a, c)))
    close(semiring.mul(semiring.add(b, c), a), semiring.add(semiring.mul(b, a), semiring.mul(c, a)))


@every_semiring
@every_library
@given(data=st.data())
def test_zero_and_one_are_neutral_and_zero_annihilates(semiring, library, data):
    (a,) = map(library, data.draw(arrays(semiring, 1)))
    zero, one = semiring.zeros(SHAPE, a), semiring.ones(SHAPE, a)
    close(semiring.add(a, zero), a)
    close(semiring.mul(a, one), a)
    close(semiring.mul(a, zero), zero)
    if semiring in SCALARS:
        close(semiring.mul(a, semiring.one), a)
        close(semiring.mul(a, semiring.zero), zero)


@every_semiring
@every_library
@given(axis=st.sampled_from([0, 1, 2, -1, -3]), data=st.data())
def test_a_sum_is_repeated_addition_along_its_axis(semiring, library, axis, data):
    (a,) = map(library, data.draw(arrays(semiring, 1, (2, 3, 2))))
    slices = [library(part) for part in np.moveaxis(np.asarray(a), axis % 3, 0)]
    close(semiring.sum(a, axis), reduce(semiring.add, slices))
    close(semiring.dot(a, a[:1], axis), semiring.sum(semiring.mul(a, a[:1]), axis))


@every_semiring
@every_library
@given(data=st.data())
def test_multiplication_goes_through_a_sum(semiring, library, data):
    a, b = map(library, data.draw(arrays(semiring, 2)))
    first = b[:, :1]
    close(semiring.sum(semiring.mul(a, first), 1), semiring.mul(semiring.sum(a, 1), first[:, 0]))


@every_semiring
@every_library
def test_the_sum_of_one_entry_is_the_entry_and_of_none_is_zero(semiring, library):
    one = semiring.ones((3, 1), library(np.zeros(1)))
    close(semiring.sum(one, 1), one[:, 0])
    for none, axis, shape in ((one[:, :0], 1, (3,)), (one[:0], 0, (1,))):
        assert np.array_equal(np.asarray(semiring.sum(none, axis)), np.asarray(semiring.zeros(shape, one)))


@every_semiring
@every_library
@given(data=st.data())
def test_lifting_turns_sums_of_scores_into_products(semiring, library, data):
    a, b = ([library(x) for x in data.draw(inputs(semiring, largest=20.0))] for _ in range(2))
    both = [x + y for x, y in zip(a, b, strict=True)]
    close(semiring.lift(*both), semiring.mul(semiring.lift(*a), semiring.lift(*b)))


@every_semiring
@every_library
def test_a_forbidden_score_lifts_to_zero_and_a_score_of_0_to_one(semiring, library):
    lifted = semiring.lift(*(library(np.array([-math.inf, 0.0])),) * semiring.arity)
    assert np.array_equal(np.asarray(lifted), [semiring.zero, semiring.one])


@every_library
@given(data=st.data())
def test_the_log_semiring_is_the_logarithm_of_the_real_one(library, data):
    one = hnp.arrays(np.float64, SHAPE, elements=scores(20.0))
    a, b = library(data.draw(one)), library(data.draw(one))
    close(REAL.lift(LOG.add(a, b)), REAL.add(REAL.lift(a), REAL.lift(b)))
    close(REAL.lift(LOG.sum(a, 1)), REAL.sum(REAL.lift(a), 1))


@every_library
@given(data=st.data())
def test_the_log_sum_lies_between_the_largest_and_the_largest_plus_log_n(library, data):
    a = library(data.draw(hnp.arrays(np.float64, SHAPE, elements=scores(1e4))))
    largest, total = np.asarray(MAX.sum(a, 1)), np.asarray(LOG.sum(a, 1))
    assert np.all(largest <= total)
    bound = largest + np.full_like(largest, math.log(SHAPE[1]))
    assert_close(np.maximum(total, bound), bound, FLOAT64_RELATIVE)


@every_library
@given(data=st.data())
def test_the_count_of_a_sum_is_how_many_scores_are_allowed(library, data):
    a = data.draw(hnp.arrays(np.float64, SHAPE, elements=scores()))
    counted = COUNT.sum(COUNT.lift(library(a)), 1)
    assert np.asarray(counted).tolist() == [sum(x > -math.inf for x in row) for row in a.tolist()]


@every_library
def test_a_score_is_counted_however_low_it_is_so_long_as_it_is_allowed(library):
    lifted = COUNT.lift(library(np.array([-1e300, -1e4, 1e300, -math.inf])))
    assert np.asarray(lifted).tolist() == [1.0, 1.0, 1.0, 0.0]


@every_semiring
@every_library
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_operation_stays_in_its_library_and_dtype(semiring, library, dtype):
    given = library(np.ones(SHAPE, dtype))
    a = semiring.lift(*(given,) * semiring.arity)
    results = (a, semiring.add(a, a), semiring.mul(a, a), semiring.sum(a, 0), semiring.zeros(SHAPE, a))
    for result in results:
        assert type(result) is type(given)
        assert result.dtype == given.dtype


@every_library
@every_pattern
def test_logsumexp_agrees_with_exact_sums_of_exponentials(library, pattern):
    for row, found in zip(
        pattern, np.asarray(logsumexp(library(np.array(pattern)), 1)).tolist(), strict=True
    ):
        peak = max(row)
        if peak == -math.inf:
            assert found == -math.inf
        else:
            assert_close(found, peak + math.log(math.fsum(math.exp(x - peak) for x in row)), FLOAT64_RELATIVE)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_logsumexp_agrees_with_the_one_of_torch(axis):
    x = torch.linspace(-5.0, 5.0, 12, dtype=torch.float64).reshape(3, 4).sin()
    close(logsumexp(x, axis), torch.logsumexp(x, axis))


@every_pattern
def test_the_first_derivative_of_logsumexp_is_the_softmax_and_0_where_nothing_is_allowed(pattern):
    x = torch.tensor(pattern, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(logsumexp(x, 1).sum(), x)
    close(gradient, torch.nan_to_num(torch.softmax(x.detach(), 1), nan=0.0))


@every_pattern
def test_the_second_derivative_of_logsumexp_is_that_of_the_softmax_and_never_nan(pattern):
    x = torch.tensor(pattern, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(logsumexp(x, 1).sum(), x, create_graph=True)
    p = torch.nan_to_num(torch.softmax(x.detach(), 1), nan=0.0)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            (second,) = torch.autograd.grad(gradient[row, column], x, retain_graph=True)
            expected = torch.zeros_like(p)
            expected[row] = -p[row] * p[row, column]
            expected[row, column] += p[row, column]
            close(second, expected)


@every_semiring
@given(data=st.data())
def test_no_derivative_of_a_sum_of_products_is_nan(semiring, data):
    given = [torch.from_numpy(x).requires_grad_() for x in data.draw(inputs(semiring))]
    lifted = semiring.lift(*given)
    total = semiring.sum(semiring.mul(lifted, lifted[:, :1]), 1)
    assert not total.isnan().any()
    if not total.requires_grad:
        assert semiring in (COUNT, BOOLEAN)  # which do not change with the scores
        return
    derive = partial(torch.autograd.grad, inputs=given, allow_unused=True, materialize_grads=True)
    first = derive(total[total.isfinite()].sum(), create_graph=True)
    assert all(x.isfinite().all() for x in first)
    whole = sum(x.sum() for x in first)
    if whole.requires_grad:
        assert all(x.isfinite().all() for x in derive(whole))
