"""`sample`: what all backends share, with draws that a test knows."""

import pytest
import torch

from semicrf_spec import Potentials
from semicrf_spec.operators import NO_LABEL, first_above, sampling, score
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, case

TERMS = dict(case("ragged").map(torch.as_tensor).items())
LENGTHS = TERMS["lengths"].tolist()


def ones(*arguments):
    """Every position a segment of label 0."""
    *terms, uniforms = arguments
    within = torch.arange(uniforms.shape[2]) < Potentials(*terms).lengths[:, None]
    durations = within.long().repeat(len(uniforms), 1, 1)
    return torch.where(durations > 0, 0, NO_LABEL), durations


def nothing(*arguments):
    """No segments."""
    shape = arguments[-1].shape[:-1]
    return torch.full(shape, NO_LABEL), torch.zeros(shape, dtype=torch.int64)


def noting(seen):
    """`ones`, its arguments kept."""

    def draw(*arguments):
        seen.append(arguments)
        return ones(*arguments)

    return sampling(draw)


@pytest.mark.parametrize(
    ("n", "shape"), [((), ()), (3, (3,)), (0, (0,)), ((2, 3), (2, 3)), (torch.Size([1]), (1,))]
)
def test_samples_come_in_the_shape_that_is_asked_for(n, shape):
    found = sampling(ones)(**TERMS, n=n)
    assert found.labels.shape == found.durations.shape == (*shape, *TERMS["emissions"].shape[:2])
    assert found.scores.shape == (*shape, len(LENGTHS))
    assert found.lengths.tolist() == LENGTHS


def test_scores_are_those_of_the_samples_whatever_the_temperature():
    found = sampling(ones)(**TERMS, n=2, temperature=0.5)
    assert_close(found.scores, score(found, **TERMS), FLOAT64_RELATIVE)
    for sample in found.unbind():
        assert_close(sample.scores, score(sample, **TERMS), FLOAT64_RELATIVE)


def test_sequences_without_segments_score_minus_infinity_unless_they_are_empty():
    found = sampling(nothing)(**TERMS, n=2)
    expected = [0.0 if length == 0 else -torch.inf for length in LENGTHS]
    assert found.scores.tolist() == [expected, expected]


def test_draws_are_given_the_terms_divided_by_the_temperature_and_uniform_numbers():
    seen = []
    noting(seen)(**TERMS, n=2, temperature=4.0)
    *terms, uniforms = seen[0]
    assert uniforms.shape == (2, *TERMS["emissions"].shape[:2], 2)
    assert uniforms.dtype == torch.float64
    assert ((uniforms >= 0) & (uniforms < 1)).all()
    for name, term in Potentials(*terms).items():
        expected = TERMS[name] if name == "lengths" else TERMS[name] / 4.0
        assert torch.equal(term, expected), name


def test_half_precision_is_not_rounded_again_by_the_temperature():
    seen = []
    terms = {name: term if name == "lengths" else term.half() for name, term in TERMS.items()}
    noting(seen)(**terms, temperature=3.0)
    assert torch.equal(seen[0][0], terms["emissions"].float() / 3.0)
    noting(seen)(**terms)
    assert seen[1][0] is terms["emissions"]


def test_the_same_seed_gives_the_same_numbers():
    seen = []
    for seed in (1, 1, 2):
        noting(seen)(**TERMS, n=3, generator=torch.Generator().manual_seed(seed))
    first, again, other = (arguments[-1] for arguments in seen)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_named_with_what_serves_at_0(temperature):
    with pytest.raises(ValueError, match=rf"^temperature is {temperature}; expected .* SemiCRF.mode"):
        sampling(ones)(**TERMS, temperature=temperature)


@pytest.mark.parametrize(("n", "error"), [(-1, ValueError), ((2, -1), ValueError), (1.5, TypeError)])
def test_a_number_of_samples_that_is_none_is_named(n, error):
    with pytest.raises(error, match=r"^n is .*; expected"):
        sampling(ones)(**TERMS, n=n)


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'number'"):
        sampling(ones)(**TERMS, number=3)


def test_samples_are_not_differentiable():
    emissions = TERMS["emissions"].clone().requires_grad_()
    assert not sampling(ones)(**TERMS | {"emissions": emissions}).scores.requires_grad


@pytest.mark.parametrize(
    ("uniform", "expected"), [(0.0, 1), (0.24, 1), (0.25, 3), (0.74, 3), (0.75, 4), (1.0 - 2.0**-53, 4)]
)
def test_the_first_share_above_a_number_is_drawn_and_never_one_of_0(uniform, expected):
    weights = torch.tensor([0.0, 1.0, 0.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    assert first_above(weights, torch.tensor(uniform, dtype=torch.float64)).item() == expected
