"""The scan in both directions against the float64 oracle."""

import pytest
import torch

from semicrf_reference import eager
from semicrf_spec import Potentials
from semicrf_spec.testing import (
    FLOAT32_LOG_PARTITION,
    MAX_DURATIONS,
    assert_close,
    case,
    case_names,
    random_potentials,
)
from semicrf_triton import launch

SIZES = [
    # B, T, K, C, lengths
    (3, 40, 1, 5, [40, 0, 17]),
    (2, 35, 2, 2, [35, 16]),
    (2, 33, 3, 1, [32, 33]),
    (1, 70, 33, 5, None),
    (1, 40, 300, 3, None),
    (1, 50, 7, 24, None),
    (1, 18, 4, 33, None),
    (1, 17, 2, 100, None),
]


def float32(potentials, device):
    """The potentials as the kernels are given them."""
    return potentials.map(
        lambda a: torch.as_tensor(a).to(torch.float32 if a.dtype.kind == "f" else torch.int64).to(device)
    )


def assert_both_directions_equal_the_oracle(terms):
    expected = eager.log_partition(**dict(terms.map(torch.Tensor.cpu).items()))
    found = launch.scan(terms, directions=2).cpu()
    assert_close(found, expected[:, None].expand(-1, 2), FLOAT32_LOG_PARTITION)


@pytest.mark.parity
@pytest.mark.parametrize("max_duration", MAX_DURATIONS)
@pytest.mark.parametrize("name", case_names())
def test_every_named_case_is_answered_as_by_the_oracle(name, max_duration, device):
    assert_both_directions_equal_the_oracle(float32(case(name, max_duration), device))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("optional", [True, False])
def test_every_size_is_answered_as_by_the_oracle(size, optional, device):
    *sizes, lengths = size
    terms = random_potentials(*sizes, seed=5, lengths=lengths, optional=optional)
    assert_both_directions_equal_the_oracle(float32(terms, device))


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_what_is_forbidden_in_a_term_is_forbidden(name, share, device):
    terms = dict(random_potentials(3, 37, 9, 4, seed=6, lengths=[37, 20, 1]).items())
    forbidden = torch.rand(terms[name].shape, generator=torch.Generator().manual_seed(7)) < share
    terms[name] = torch.as_tensor(terms[name]).masked_fill(forbidden, -torch.inf).numpy()
    assert_both_directions_equal_the_oracle(float32(Potentials(**terms), device))


@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
@pytest.mark.parametrize("by_position", [False, True])
def test_scores_of_any_size_are_summed_as_by_the_oracle(scale, by_position, device):
    terms = dict(random_potentials(2, 40, 6, 4, seed=8, scale=scale, lengths=[40, 33]).items())
    if by_position:
        terms["transition"] = random_potentials(2, 40 * 4, 1, 4, seed=9, scale=scale).emissions.reshape(
            2, 40, 4, 4
        )
        terms["duration"] = random_potentials(2, 6, 1, 4, seed=10, scale=scale).emissions
    assert_both_directions_equal_the_oracle(float32(Potentials(**terms), device))


@pytest.mark.parametrize("gap", [50.0, 1e4])
def test_labels_that_trail_far_behind_can_come_to_dominate(gap, device):
    """Labels differ by the gap at every position, and only the last one may end."""
    terms = dict(random_potentials(1, 60, 5, 3, seed=11).items())
    terms["emissions"] = terms["emissions"] + gap * torch.tensor([2.0, 1.0, 0.0]).numpy()
    terms["end"] = torch.tensor([-torch.inf, -torch.inf, 0.0]).numpy()
    terms["transition"] = torch.tensor([[0.0, -1.0, -torch.inf], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]).numpy()
    assert_both_directions_equal_the_oracle(float32(Potentials(**terms), device))


@pytest.mark.parametrize("level", [-1e6, 1e6])
def test_what_all_labels_share_costs_no_digit(level, device):
    terms = float32(random_potentials(1, 40, 5, 3, seed=12, optional=False), device)
    coarse = (terms.emissions * 8.0).round() / 8.0  # so that adding a level rounds nothing
    low = launch.scan(Potentials(coarse, terms.transition, terms.duration), 2)
    high = launch.scan(Potentials(coarse + level, terms.transition, terms.duration), 2)
    assert_close((high - 40.0 * level).cpu(), low.cpu(), FLOAT32_LOG_PARTITION)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_is_read_as_it_is(dtype, device):
    terms = float32(random_potentials(2, 20, 4, 3, seed=13, lengths=[20, 7]), device)
    rounded = terms.map(lambda term: term.to(dtype) if term.is_floating_point() else term)
    assert_both_directions_equal_the_oracle(rounded)


def test_views_are_read_like_copies(device):
    terms = float32(random_potentials(2, 20, 4, 3, seed=14), device)
    views = terms.map(lambda term: term.mT.contiguous().mT if term.ndim > 1 else term)
    assert not views.emissions.is_contiguous()
    assert torch.equal(launch.scan(views, 2), launch.scan(terms, 2))


def test_twenty_launches_give_the_same_bits(device):
    terms = float32(random_potentials(2, 3 if device.type == "cpu" else 500, 4, 3, seed=15), device)
    first = launch.scan(terms, 2)
    assert all(torch.equal(launch.scan(terms, 2), first) for _ in range(20))


def test_a_batch_without_positions_weighs_one(device):
    terms = float32(random_potentials(2, 0, 3, 2, seed=16), device)
    assert launch.scan(terms, 2).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_more_labels_than_the_kernels_hold_are_named(device):
    terms = float32(random_potentials(1, 3, 2, 129, seed=17), device)
    with pytest.raises(ValueError, match=r"C = 129 .* more than the GPU kernels hold, 128: use backend="):
        launch.scan(terms, 1)
