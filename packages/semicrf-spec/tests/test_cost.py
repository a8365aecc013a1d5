"""The cost formulas, against what can be counted."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semicrf_spec import segmentations
from semicrf_spec.cost import Size, inference_bytes, num_segmentations, scan_operations, training_bytes

BACKENDS = ("enumeration", "edges", "eager", "compiled", "triton")
FACTORED = ("eager", "compiled", "triton")
FORMULAS = (scan_operations, training_bytes, inference_bytes)
SIZE = Size(batch=2, time=7, max_duration=3, classes=2)

every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_formula = pytest.mark.parametrize("formula", FORMULAS)
small = st.integers(1, 6)


def brute_count(length, classes, longest):
    """Cuts before every position or not, and a label for every segment."""
    total = 0
    for cuts in product([False, True], repeat=max(length - 1, 0)):
        bounds = [0, *(t for t, cut in enumerate(cuts, 1) if cut), length]
        if all(end - start <= longest for start, end in pairwise(bounds)):
            total += classes ** (len(bounds) - 1)
    return total


@pytest.mark.parametrize("length", range(1, 7))
@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("longest", range(1, 8))
def test_the_number_of_segmentations_is_how_many_there_are(length, classes, longest):
    assert num_segmentations(length, classes, longest) == brute_count(length, classes, longest)


@pytest.mark.parametrize("length", range(6))
@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("longest", [1, 2, 3, 9])
def test_enumeration_visits_exactly_the_number_of_segmentations(length, classes, longest):
    assert sum(1 for _ in segmentations(length, classes, longest)) == num_segmentations(
        length, classes, longest
    )


@given(st.integers(1, 60), st.integers(1, 40))
def test_unbounded_durations_and_durations_of_one_have_closed_forms(length, classes):
    assert num_segmentations(length, classes, length) == classes * (1 + classes) ** (length - 1)
    assert num_segmentations(length, classes, 10 * length) == classes * (1 + classes) ** (length - 1)
    assert num_segmentations(length, classes, 1) == classes**length


def test_an_empty_sequence_has_one_segmentation():
    assert num_segmentations(0, 5, 3) == 1


def test_operations_of_a_scan_are_what_the_formulas_say():
    assert scan_operations("enumeration", SIZE) == 2 * num_segmentations(7, 2, 3)
    assert scan_operations("edges", SIZE) == 2 * 7 * 3 * 2 * 2
    for backend in FACTORED:
        assert scan_operations(backend, SIZE) == 2 * 7 * 2 * (3 + 2)


@given(st.integers(1, 10**6), st.integers(2, 500), st.integers(2, 500))
def test_the_factored_scan_never_costs_more_than_edges_and_saves_up_to_the_smaller_of_k_and_c(time, k, c):
    edges = scan_operations("edges", Size(1, time, k, c))
    factored = scan_operations("compiled", Size(1, time, k, c))
    assert factored <= edges <= min(k, c) * factored


@every_backend
@every_formula
@given(size=st.builds(Size, small, small, small, small))
def test_costs_are_positive_linear_in_the_batch_and_grow_with_every_size(backend, formula, size):
    cost = formula(backend, size)
    assert isinstance(cost, int)
    assert cost > 0
    assert formula(backend, size._replace(batch=3 * size.batch)) == 3 * cost
    for letter in size._fields:
        assert formula(backend, size._replace(**{letter: getattr(size, letter) + 1})) >= cost


@pytest.mark.parametrize("backend", FACTORED)
@given(size=st.builds(Size, small, small, small, small))
def test_the_factored_scan_is_linear_in_time_and_keeps_one_window_without_gradients(backend, size):
    longer = size._replace(time=10 * size.time)
    assert scan_operations(backend, longer) == 10 * scan_operations(backend, size)
    assert training_bytes(backend, longer) <= 10 * training_bytes(backend, size)
    assert inference_bytes(backend, longer) == inference_bytes(backend, size)


def test_closed_form_posteriors_train_in_less_memory_than_autograd_and_autograd_in_less_than_edges():
    size = Size(batch=4, time=1000, max_duration=50, classes=20)
    compiled, triton, eager, edges = (
        training_bytes(backend, size) for backend in ("compiled", "triton", "eager", "edges")
    )
    assert max(compiled, triton) < eager < edges


def test_bytes_are_what_the_formulas_say():
    b, t, k, c = SIZE
    assert training_bytes("enumeration", SIZE) == 8 * b * num_segmentations(t, c, k)
    assert training_bytes("edges", SIZE) == 8 * 2 * b * t * k * c * c
    assert training_bytes("compiled", SIZE) == 8 * b * (3 * t * c + 2 * k * c + 2 * c * c)
    assert training_bytes("triton", SIZE) == 4 * b * (6 * t * c + k * c + c * c)
    assert inference_bytes("edges", SIZE) == training_bytes("edges", SIZE)
    assert inference_bytes("compiled", SIZE) == 8 * b * (10 * k + 4 * c) * c
    assert inference_bytes("eager", SIZE) == 8 * b * (k + c) * c
    assert inference_bytes("triton", SIZE) == 4 * b * (3 * k + 2 * c) * c
