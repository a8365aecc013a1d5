"""`DensePotentials`: the same potentials with nothing left open."""

import numpy as np
import pytest
import torch
from hypothesis import given

from semicrf_spec import DensePotentials, Potentials, enumerate_batch
from semicrf_spec.testing import case, case_names, random_potentials
from semicrf_spec.testing.strategies import small_potentials

POSITIONAL = ("emissions", "transition", "begin", "finish")
LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor}
every_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
every_case = pytest.mark.parametrize("name", case_names())


def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)


@every_library
@given(potentials=small_potentials())
def test_dense_terms_have_the_widest_shapes_and_the_same_values(library, potentials):
    batch, time, classes = potentials.shape
    max_duration = potentials.max_duration
    dense = DensePotentials.of(potentials.map(library))
    shapes = {
        "emissions": (batch, time, classes),
        "transition": (batch, time, classes, classes),
        "duration": (batch, *((time,) if potentials.duration.ndim == 4 else ()), max_duration, classes),
        "start": (classes,),
        "end": (classes,),
        "begin": (batch, time, classes),
        "finish": (batch, time, classes),
        "lengths": (batch,),
    }
    for name, shape in shapes.items():
        given_term = getattr(potentials, name)
        missing = time if name == "lengths" else 0.0
        expected = np.broadcast_to(missing if given_term is None else given_term, shape)
        found = getattr(dense, name)
        assert tuple(found.shape) == shape
        assert same(found, expected), name


@every_library
def test_shared_terms_are_broadcast_and_not_copied(library):
    potentials = random_potentials(3, 4, 2, 2).map(library)
    dense = DensePotentials.of(potentials)
    for name in ("transition", "duration", "start", "begin", "emissions"):
        assert np.shares_memory(np.asarray(getattr(dense, name)), np.asarray(getattr(potentials, name))), name


@every_library
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_missing_terms_have_the_dtype_of_the_emissions(library, dtype):
    potentials = random_potentials(2, 3, 2, 2, optional=False).map(lambda x: library(x.astype(dtype)))
    dense = DensePotentials.of(potentials)
    assert dense.begin.dtype == dense.start.dtype == potentials.emissions.dtype
    assert str(dense.lengths.dtype).endswith("int64")


@every_library
@every_case
def test_masking_zeroes_what_lies_past_the_lengths_and_nothing_else(library, name):
    dense = DensePotentials.of(case(name).map(library))
    masked = dense.masked()
    for term, found in masked.items():
        expected = np.asarray(getattr(dense, term)).copy()
        if term in POSITIONAL:
            for b, length in enumerate(np.asarray(dense.lengths)):
                expected[b, length:] = 0.0
        if term == "duration" and expected.ndim == 4:
            for b, length in enumerate(np.asarray(dense.lengths)):
                for d in range(1, expected.shape[2] + 1):
                    expected[b, max(0, length - d + 1) :, d - 1] = 0.0
        assert same(found, expected), term


@every_case
def test_masking_twice_is_masking_once(name):
    once = DensePotentials.of(case(name)).masked()
    assert all(same(x, getattr(once, term)) for term, x in once.masked().items())


def test_masking_leaves_its_input_alone():
    potentials = case("poisoned_padding")
    DensePotentials.of(potentials).masked()
    assert np.isnan(potentials.emissions[1, 3:]).all()


@every_case
def test_dense_and_masked_potentials_describe_the_same_distribution(name):
    potentials = case(name)
    dense = DensePotentials.of(potentials.as_float64())
    for of_given, of_dense, of_masked in zip(
        enumerate_batch(potentials), enumerate_batch(dense), enumerate_batch(dense.masked()), strict=True
    ):
        assert same(of_given.scores, of_dense.scores)
        assert same(of_given.scores, of_masked.scores)


@every_library
def test_mapping_and_widening_keep_potentials_dense(library):
    dense = DensePotentials.of(case("float16").map(library))
    assert isinstance(dense.as_float64(), DensePotentials)
    assert isinstance(dense.map(lambda x: x), DensePotentials)
    assert isinstance(dense.masked(), DensePotentials)


def test_masked_torch_potentials_carry_gradients_only_where_positions_count():
    potentials = case("ragged").map(torch.as_tensor)
    emissions = potentials.emissions.clone().requires_grad_()
    terms = dict(potentials.items()) | {"emissions": emissions}
    DensePotentials.of(Potentials(**terms)).masked().emissions.sum().backward()
    within = torch.arange(emissions.shape[1]) < potentials.lengths[:, None]
    assert torch.equal(emissions.grad, within[:, :, None].expand_as(emissions).double())
