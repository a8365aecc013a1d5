"""The second derivative: covariances with a value against the compiled float64 scan."""

import math
from dataclasses import replace

import pytest
import torch

from semicrf_reference import compiled
from semicrf_reference.compiled import kernels
from semicrf_spec import Potentials
from semicrf_spec.operators.contracts import statistics_dtype, statistics_shapes
from semicrf_spec.testing import (
    FLOAT32_POSTERIOR,
    assert_close,
    case,
    case_names,
    random_potentials,
    with_segment_scores,
)
from semicrf_spec.testing.enumerated import STATISTICS
from semicrf_triton import operators
from semicrf_triton.launch.covariances import means_of

IN_CHAIN = ("every_term", "position_transition", "sequence_duration", "cuts")
"""Named cases of the parity chain, which has little time for the interpreter."""

SIZES = [
    # B, T, K, C, lengths
    (3, 17, 1, 5, [17, 0, 3]),
    (2, 9, 3, 1, [8, 2]),
    (1, 19, 33, 5, None),
    (1, 9, 300, 3, None),
    (1, 9, 7, 24, None),
    (1, 9, 4, 33, None),
    (1, 4, 2, 100, None),
    (1, 70, 3, 2, None),
]
"""Labels on both sides of every block, lengths on both sides of tiles and chunks."""


def random_values(terms, seed=0):
    """A value of every count, as autograd hands them to the operator."""
    generator = torch.Generator().manual_seed(seed)
    shapes = statistics_shapes(terms.terms(), True)
    return tuple(torch.randn(shape, generator=generator).to(terms.emissions.device) for shape in shapes)


def expected_of(terms, values):
    """What the compiled scan answers for the same values."""
    wide = (None if value is None else value.cpu().double() for value in values)
    return kernels.covariances(*terms.map(torch.Tensor.cpu).terms(), *wide, True)


def assert_covary_as_by_the_compiled_scan(terms, values=None):
    values = random_values(terms) if values is None else values
    found = operators.covariances(*terms.terms(), *values, True)
    for name, counts, wanted in zip(STATISTICS, found, expected_of(terms, values), strict=True):
        scale = wanted.abs().max().item() if wanted.numel() else 1.0
        assert_close(counts.cpu(), wanted, FLOAT32_POSTERIOR, name, scale=scale)
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.parity] if n in IN_CHAIN else []) for n in case_names()],
)
def test_every_named_case_has_the_covariances_of_the_compiled_scan(name, on_device):
    assert_covary_as_by_the_compiled_scan(on_device(case(name, 2)))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_has_the_covariances_of_the_compiled_scan(size, on_device):
    *sizes, lengths = size
    terms = random_potentials(*sizes, seed=5, lengths=lengths, optional=sizes[-1] % 2 == 1)
    assert_covary_as_by_the_compiled_scan(on_device(terms))


def test_segments_that_last_across_tiles_and_frames_have_the_covariances_of_the_compiled_scan(on_device):
    drawn = random_potentials(1, 52, 25, 3, seed=6, scale=0.2)
    terms = replace(drawn, transition=drawn.transition - 12.0)
    assert compiled.posteriors(**dict(terms.map(torch.as_tensor).items())).durations[:, 16:].sum() > 1.0
    assert_covary_as_by_the_compiled_scan(on_device(terms))


@pytest.mark.parametrize("max_duration", [2, 9])
def test_whole_segments_across_tiles_have_the_covariances_of_the_compiled_scan(max_duration, on_device):
    """Some are forbidden, and where one does not fit, neither score nor value counts."""
    terms = random_potentials(2, 18, max_duration, 2, seed=21, lengths=[18, 13])
    terms = with_segment_scores(terms, 22, forbidden=0.2)
    values = random_values(on_device(terms))
    values[4].masked_fill_(torch.isnan(torch.as_tensor(terms.duration)).to(values[4].device), math.nan)
    assert_covary_as_by_the_compiled_scan(on_device(terms), values)


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
def test_what_is_forbidden_in_a_term_covaries_with_nothing(name, on_device):
    terms = dict(random_potentials(1, 5, 5, 3, seed=6).items())
    forbidden = torch.rand(terms[name].shape, generator=torch.Generator().manual_seed(7)) < 0.3
    terms[name] = torch.as_tensor(terms[name]).masked_fill(forbidden, -torch.inf).numpy()
    found = assert_covary_as_by_the_compiled_scan(on_device(Potentials(**terms)))
    counts = {"emissions": 0, "transition": 3, "duration": 4, "start": 5, "end": 6, "begin": 1, "finish": 2}
    there = forbidden.reshape(found[counts[name]].shape)
    assert (found[counts[name]].cpu()[there] == 0.0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_is_read_as_it_is(dtype, on_device):
    terms = on_device(random_potentials(1, 7, 4, 3, seed=13))
    rounded = terms.map(lambda term: term.to(dtype) if term.is_floating_point() else term)
    found = assert_covary_as_by_the_compiled_scan(rounded)
    assert {counts.dtype for counts in found} == {statistics_dtype(rounded.emissions)}


@pytest.mark.parametrize("given", [(0, 3, 5), (1, 2, 4, 6)])
def test_values_that_are_missing_are_0(given, on_device):
    terms = on_device(random_potentials(1, 3, 2, 2, seed=14))
    values = list(enumerate(random_values(terms)))
    some = (value if i in given else None for i, value in values)
    zeros = (value if i in given else value * 0.0 for i, value in values)
    found, expected = (operators.covariances(*terms.terms(), *each, True) for each in (some, zeros))
    for counts, wanted in zip(found, expected, strict=True):
        assert torch.equal(counts, wanted)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_values_of_any_size_have_covariances_in_proportion(scale, on_device):
    terms = on_device(random_potentials(1, 4, 3, 2, seed=15))
    values = random_values(terms)
    found = operators.covariances(*terms.terms(), *(value * scale for value in values), True)
    for name, counts, wanted in zip(STATISTICS, found, expected_of(terms, values), strict=True):
        assert_close(counts.cpu() / scale, wanted, FLOAT32_POSTERIOR, name)


def test_what_all_segmentations_have_in_common_costs_no_digit(on_device):
    terms = on_device(random_potentials(1, 6, 5, 3, seed=12))
    values = random_values(terms)
    coarse = (values[0] * 8.0).round() / 8.0  # so that adding a level rounds nothing
    low, high = (
        operators.covariances(*terms.terms(), coarse + level, *values[1:], True) for level in (0.0, 1e4)
    )
    for found, expected in zip(high, low, strict=True):
        assert_close(found.cpu(), expected.cpu(), FLOAT32_POSTERIOR)


def test_a_drift_of_the_means_is_taken_off(on_device, monkeypatch):
    """As rounding makes of a long sequence: half a unit of the value, in every mean."""
    terms = on_device(random_potentials(2, 5, 3, 2, seed=18, lengths=[5, 4]))
    values = random_values(terms)

    def drifted(scanned, given, *posteriors):
        means = means_of(scanned, given, *posteriors)
        return means._replace(mean=means.mean + (0.5 * given.scale).long()[:, None])

    monkeypatch.setattr("semicrf_triton.launch.covariances.means_of", drifted)
    assert_covary_as_by_the_compiled_scan(terms, values)


def test_a_value_that_is_nan_or_infinite_makes_its_sequence_nan_and_no_other(on_device):
    terms = on_device(random_potentials(3, 3, 2, 2, seed=12))
    values = random_values(terms)
    clean = operators.covariances(*terms.terms(), *values, True)
    values[0][1, 2, 0], values[4][2, 0, 1] = math.nan, math.inf
    for counts, expected in zip(operators.covariances(*terms.terms(), *values, True), clean, strict=True):
        assert counts[1:].isnan().all()
        assert torch.equal(counts[0], expected[0])


def test_the_covariances_of_all_segments_of_a_sequence_are_nan_where_a_value_is(on_device):
    terms = on_device(with_segment_scores(random_potentials(2, 4, 3, 2, seed=15, lengths=[4, 2]), 16))
    values = random_values(terms)
    values[0][1, 1, 0] = math.nan
    for counts in operators.covariances(*terms.terms(), *values, True):
        assert counts[1].isnan().all()
        assert counts[0].isfinite().all()


def test_values_of_what_is_never_used_may_be_anything(on_device):
    terms = on_device(random_potentials(2, 4, 3, 2, seed=15, lengths=[4, 2]))
    by_position = random_potentials(2, 8, 1, 2, seed=16).emissions.reshape(2, 4, 2, 2)
    terms = replace(terms, transition=torch.as_tensor(by_position).to(terms.emissions))
    values = random_values(terms)
    clean = operators.covariances(*terms.terms(), *values, True)
    for i in range(3):
        values[i][1, 2:] = math.nan
    values[3][:, 0] = math.inf
    values[3][1, 2:] = math.nan
    for counts, expected in zip(operators.covariances(*terms.terms(), *values, True), clean, strict=True):
        assert torch.equal(counts, expected)


def test_views_are_read_like_copies_every_time_with_the_same_bits(on_device):
    terms = on_device(random_potentials(2, 3, 3, 2, seed=14, lengths=[3, 2]))
    values = random_values(terms)
    ones = torch.ones_like(values[1])
    given = (values[0], ones, *values[2:])
    expected = operators.covariances(*terms.terms(), *given, True)
    views = terms.map(lambda term: term.mT.contiguous().mT if term.ndim > 1 else term)
    strided = (values[0].mT.contiguous().mT, ones[:1, :1, :1].expand(ones.shape), *values[2:])
    for _ in range(2):
        found = operators.covariances(*views.terms(), *strided, True)
        for counts, wanted in zip(found, expected, strict=True):
            assert torch.equal(counts, wanted)


def test_without_boundaries_the_rest_has_the_same_bits(on_device):
    terms = on_device(random_potentials(1, 4, 3, 3, seed=11, optional=False))
    values = random_values(terms)
    everything, less = (operators.covariances(*terms.terms(), *values, asked) for asked in (True, False))
    for i, (counts, fewer) in enumerate(zip(everything, less, strict=True)):
        if i in (1, 2):
            assert fewer.shape == (1, 0, 3)
        else:
            assert torch.equal(counts, fewer)


@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_empty_problems_have_covariances(batch, time, on_device):
    terms = on_device(random_potentials(batch, time, 3, 2))
    found = operators.covariances(*terms.terms(), *random_values(terms), True)
    assert [tuple(counts.shape) for counts in found] == list(statistics_shapes(terms.terms(), True))
    assert all((counts == 0.0).all() for counts in found)
