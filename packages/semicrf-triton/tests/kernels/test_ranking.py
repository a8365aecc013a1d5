"""The k best against the float64 oracle: the same segmentations, in the same order."""

import pytest
import torch

from semicrf_reference import eager
from semicrf_spec import Potentials
from semicrf_spec.testing import (
    FLOAT32_LOG_PARTITION,
    assert_close,
    case,
    case_names,
    random_potentials,
)
from semicrf_triton import operators

SIZES = [
    # B, T, K, C, lengths, k
    (3, 20, 1, 5, [20, 0, 17], 4),
    (2, 18, 2, 2, [18, 16], 9),
    (2, 17, 3, 1, [16, 17], 3),
    (1, 19, 33, 5, None, 2),
    (1, 9, 300, 3, None, 5),
    (1, 10, 7, 24, None, 2),
    (1, 9, 4, 33, None, 3),
    (1, 3, 2, 100, None, 32),
]
"""Labels and ranks on both sides of every block, lengths on both sides of tiles."""


def assert_ranked_as_by_the_oracle(terms, k):
    scores, labels, durations = (found.cpu() for found in operators.top_k(*terms.terms(), k))
    best = eager.top_k(**dict(terms.map(torch.Tensor.cpu).items()), k=k)
    assert_close(scores, best.scores, FLOAT32_LOG_PARTITION, "scores")
    assert torch.equal(labels, best.labels)
    assert torch.equal(durations, best.durations)
    return scores


@pytest.mark.parity
@pytest.mark.parametrize("name", case_names())
def test_every_named_case_is_ranked_as_by_the_oracle(name, on_device):
    assert_ranked_as_by_the_oracle(on_device(case(name, 3)), 3)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_is_ranked_as_by_the_oracle(size, on_device):
    *sizes, lengths, k = size
    terms = random_potentials(*sizes, seed=5, lengths=lengths, optional=sizes[-1] % 2 == 1)
    assert_ranked_as_by_the_oracle(on_device(terms), k)


@pytest.mark.parametrize("name", ["integer_ties", "one_duration_allowed"])
def test_where_there_are_fewer_than_k_all_are_there_in_their_order(name, on_device):
    scores = assert_ranked_as_by_the_oracle(on_device(case(name, 2)), 256)
    assert (scores[-1] == -torch.inf).all()


def test_the_first_is_the_best_segmentation_bit_for_bit(on_device):
    given = on_device(random_potentials(2, 20, 5, 3, seed=1, lengths=[20, 13])).terms()
    for found, expected in zip(operators.top_k(*given, 1), operators.viterbi(*given), strict=True):
        assert torch.equal(found[0], expected)


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
def test_what_is_forbidden_in_a_term_is_forbidden(name, on_device):
    terms = dict(random_potentials(1, 18, 9, 3, seed=6).items())
    forbidden = torch.rand(terms[name].shape, generator=torch.Generator().manual_seed(7)) < 0.4
    terms[name] = torch.as_tensor(terms[name]).masked_fill(forbidden, -torch.inf).numpy()
    assert_ranked_as_by_the_oracle(on_device(Potentials(**terms)), 3)


@pytest.mark.parametrize("hurdle", [0, 3, 12])
def test_no_segment_of_any_rank_lies_across_a_hurdle_however_long_ago_it_began(hurdle, on_device):
    """Long segments are preferred, and would be taken from one tile to the next but one."""
    terms = dict(random_potentials(1, 20, 20, 2, seed=19).items())
    terms["duration"] += 3.0 * torch.arange(20.0).numpy()[:, None]
    cuts = torch.zeros(1, 20, dtype=torch.bool)
    cuts[0, hurdle] = True
    assert_ranked_as_by_the_oracle(on_device(Potentials(**terms, cuts=cuts.numpy())), 2)
    terms["emissions"][0, hurdle, 1] = -torch.inf
    terms["emissions"][..., 0] -= 1.0
    assert_ranked_as_by_the_oracle(on_device(Potentials(**terms)), 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_is_read_as_it_is(dtype, on_device):
    terms = on_device(random_potentials(2, 11, 4, 3, seed=13, lengths=[11, 7]))
    assert_ranked_as_by_the_oracle(terms.map(lambda x: x.to(dtype) if x.is_floating_point() else x), 3)


@pytest.mark.parametrize("gap", [1e4, 1e8])
def test_scores_of_any_size_keep_their_order(gap, on_device):
    terms = dict(random_potentials(1, 12, 4, 3, seed=11).map(lambda term: term.round()).items())
    terms["emissions"][..., 1] += gap
    terms["end"][1] = -torch.inf
    assert_ranked_as_by_the_oracle(on_device(Potentials(**terms)), 4)


def test_scores_that_fixed_point_cannot_tell_apart_do_not_rise(device):
    """The second label is better by a hundredth of what is read of a score."""
    zeros = torch.zeros(1, 1, 2, dtype=torch.float64)
    zeros[..., 1] = 2.0**-31
    terms = Potentials(zeros, zeros[0, :1].expand(2, 2) * 0.0, zeros[0, :1] * 0.0)
    assert_ranked_as_by_the_oracle(terms.map(lambda term: term.to(device)), 2)


def test_longer_lists_than_the_kernels_hold_are_named(on_device):
    terms = on_device(random_potentials(1, 3, 2, 24, seed=17))
    with pytest.raises(ValueError, match=r"k = 129 of C = 24 labels is more .* hold, 128: use backend="):
        operators.top_k(*terms.terms(), 129)
